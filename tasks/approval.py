"""The gate at which a person decides.

The flow run is suspended: its process ends and nothing is held while people sleep. After an answer the run starts from the top,
comes here again and gets the answer back. The question's key carries the evidence's digest, so an answer only ever counts for the
evidence that it was given on: when the evidence has changed, the question is a new one. An answer that cannot count (an
unknown approver, a rejection without a reason) brings the form back with the reason above it.
"""

from dataclasses import dataclass
from typing import Literal

from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from pydantic import Field

SECONDS_A_DAY = 86_400


class ApprovalForm(RunInput):
    """Decides whether the candidate is rolled out."""

    decision: Literal["approve", "reject"] = Field(
        title="Decision",
        description="approve: roll it out to every ring. reject: nobody gets it, and what was made for it is removed.",
    )
    name: str = Field(
        title="Your name",
        min_length=2,
        max_length=100,
        description="It is written to the image version, with the time.",
    )
    reason: str = Field(
        default="", title="Reason", max_length=200, description="Needed to reject; kept with the decision."
    )


@dataclass(frozen=True)
class Question:
    """What is to be decided: `markdown` is shown above the form, `digest` names the evidence in it."""

    digest: str
    markdown: str
    approvers: tuple[str, ...]
    expires_days: int


async def ask(question: Question) -> ApprovalForm:
    """Suspends the run until somebody gives an answer that counts. To be called from the flow itself, not from a task.

    The run fails when nobody answers within `expires_days`; it can be started again and asks again.
    """
    objection, attempt = "", 0
    while True:
        answer: ApprovalForm = await asuspend_flow_run(
            wait_for_input=ApprovalForm.with_initial_data(description=objection + question.markdown),
            timeout=question.expires_days * SECONDS_A_DAY,
            key=f"approval-{question.digest[:12]}-{attempt}",
        )
        problem = objection_to(answer, question.approvers)
        if problem is None:
            return answer
        objection, attempt = f"**The last answer did not count: {problem}**\n\n", attempt + 1


def objection_to(answer: ApprovalForm, approvers: tuple[str, ...]) -> str | None:
    """Why an answer cannot count, in words for the person who gave it; None when it can."""
    name = answer.name.strip()
    if not name:
        return "it carries no name."
    if approvers and name.casefold() not in {approver.casefold() for approver in approvers}:
        return f"{name} is not among the approvers of this image set ({', '.join(approvers)})."
    if answer.decision == "reject" and not answer.reason.strip():
        return "to reject, please give the reason; it is kept with the image version."
    return None
