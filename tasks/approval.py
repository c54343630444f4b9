"""The gate at which a person decides.

The flow run is suspended: its process ends and nothing is held while people sleep. After an answer the run starts from the top,
comes here again and gets the answer back. The question's key carries the evidence's digest, so an answer only ever counts for the
evidence that it was given on: when the evidence has changed, the question is a new one. An answer that cannot count (an unknown
approver, whoever asked for the refresh where two people are wanted, a rejection without a reason, a time that is none) brings the form
back with the reason above it. It is never an approval, and never a failed run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import aread_flow_run_input
from prefect.runtime import flow_run
from pydantic import Field, ValidationError

from evergold.approve import APPROVAL, ORIGIN_KEY
from evergold.config.models import Approval, ReleaseMethod

SECONDS_A_DAY = 86_400
AS_PLANNED: Final = "as planned"
LONGEST_DELAY = timedelta(days=60)

Form = TypeVar("Form", bound=RunInput)


class ApprovalForm(RunInput):
    """Decides whether the candidate is rolled out."""

    decision: Literal["approve", "reject", "approve for later"] = Field(
        title="Decision",
        description="approve: roll it out to every ring. approve for later: the same, from the time below. "
        "reject: nobody gets it, and what was made for it is removed.",
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
    not_before: str = Field(
        default="",
        title="Not before",
        max_length=40,
        description="For later only: such as 2026-11-28 22:00 (UTC), or with an offset: 2026-11-28 22:00+01:00.",
    )
    release_method: Literal["as planned", "opportunistic", "immediate", "scheduled"] = Field(
        default=AS_PLANNED,
        title="Release method",
        description="as planned: what the image set says. opportunistic: nobody is signed out.",
    )


@dataclass(frozen=True)
class Question:
    """What is to be decided.

    Attributes:
        digest: names the evidence in `markdown`.
        markdown: is shown above the form.
        rules: who may answer, and what they may choose.
        requested_by: who asked for the refresh; "" where nobody said so.

    """

    digest: str
    markdown: str
    rules: Approval
    requested_by: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer that counts."""

    approved: bool
    name: str
    reason: str
    not_before: datetime | None
    release_method: ReleaseMethod | Literal[""]
    given_from: str


async def ask(question: Question, now: datetime) -> Answer:
    """Suspends the run until somebody gives an answer that counts. To be called from the flow itself, not from a task.

    The run fails when nobody answers within the rules' `expires_days`; it can be started again and asks again.
    """
    form, given_from = await fill_in(ApprovalForm, question, lambda form: objection_to(form, question, now))
    return _answer(form, given_from)


async def fill_in(
    form: type[Form], question: Question, objection_to: Callable[[Form], str | None], about: str = ""
) -> tuple[Form, str]:
    """The form as somebody filled it in so that it counts, and where they did. Suspends the run, as `ask` does.

    `objection_to` says why an answer cannot count; `about` keeps questions of one run apart that have the same digest.
    """
    objection, attempt = "", 0
    while True:
        key = f"{APPROVAL}{about}{question.digest[:12]}-{attempt}"
        try:
            filled = await asuspend_flow_run(
                wait_for_input=form.with_initial_data(description=objection + question.markdown),
                timeout=question.rules.expires_days * SECONDS_A_DAY,
                key=key,
            )
            problem = objection_to(filled)
        except ValidationError as wrong:
            problem = f"it cannot be read ({wrong.errors()[0]['msg']})."
        if problem is None:
            # The form in the Prefect UI cannot say where it was filled in.
            return filled, await aread_flow_run_input(ORIGIN_KEY + key) or "the Prefect UI or API"
        objection, attempt = f"**The last answer did not count: {problem}**\n\n", attempt + 1


def objection_to(form: ApprovalForm, question: Question, now: datetime) -> str | None:
    """Why an answer cannot count, in words for the person who gave it; None when it can."""
    objections = (
        objection_to_name(form.name, form.decision, question),
        _to_content(form, question.rules),
        _to_time(form, now),
    )
    return next((objection for objection in objections if objection), None)


def objection_to_name(given: str, decision: str, question: Question) -> str | None:
    """Why somebody of this name cannot decide so; None when they can."""
    name, rules = given.strip(), question.rules
    if not name:
        return "it carries no name."
    if rules.approvers and not _is_among(name, rules.approvers):
        return f"{name} is not among the approvers of this image set ({', '.join(rules.approvers)})."
    if rules.four_eyes and not question.requested_by:
        return (
            "this image set wants two people, and nobody said who asked for the refresh. Reject it, or cancel this run and start "
            "another with `started_by` filled in."
        )
    if rules.four_eyes and _is_among(name, (question.requested_by,)) and decision != "reject":
        return f"{name} asked for this refresh, and this image set wants somebody else to approve it."
    return None


def _to_content(form: ApprovalForm, rules: Approval) -> str | None:
    if form.decision == "reject" and not form.reason.strip():
        return "to reject, please give the reason; it is kept with the image version."
    if form.release_method not in (AS_PLANNED, *rules.release_methods):
        allowed = ", ".join((AS_PLANNED, *rules.release_methods))
        return f"{form.release_method} may not be chosen for this image set (only: {allowed})."
    return None


def _to_time(form: ApprovalForm, now: datetime) -> str | None:
    if form.decision != "approve for later":
        return "a time was given, and the decision is not for later." if form.not_before.strip() else None
    moment = _moment(form.not_before)
    if moment is None:
        return f"{form.not_before.strip() or 'an empty text'} is no time; write it as 2026-11-28 22:00 (UTC) or with an offset."
    if not now < moment <= now + LONGEST_DELAY:
        return f"{moment:%Y-%m-%d %H:%M} UTC is not within the next {LONGEST_DELAY.days} days."
    return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _is_among(name: str, names: tuple[str, ...]) -> bool:
    return name.casefold() in {each.strip().casefold() for each in names}


def _answer(form: ApprovalForm, given_from: str) -> Answer:
    return Answer(
        approved=form.decision != "reject",
        name=form.name.strip(),
        reason=form.reason.strip(),
        not_before=_moment(form.not_before) if form.decision == "approve for later" else None,
        release_method=form.release_method if form.release_method != "as planned" else "",
        given_from=given_from,
    )


async def requester(started_by: str) -> str:
    """Who asked for this run: as they said, or as Prefect knows it; "" where nobody knows."""
    if started_by.strip():
        return started_by.strip()
    async with get_client() as client:
        return requester_of(await client.read_flow_run(flow_run.id))


def requester_of(run: FlowRun) -> str:
    """Who started a run, as Prefect knows it: a schedule, or (where Prefect has users at all: in its cloud) somebody's name."""
    if run.auto_scheduled:
        return "the schedule"
    made = run.created_by
    return made.display_value or "" if made is not None and (made.type or "").upper() == "USER" else ""
