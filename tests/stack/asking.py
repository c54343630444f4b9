"""A flow that only asks, for the ways in which a question can be answered."""

import hashlib
from datetime import timedelta

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.variables import Variable

from evergold.clock import RealClock
from evergold.config.models import Approval
from tasks.approval import Question, ask

ANSWER = "what-was-answered"
FOUND = "what_was_found"  # a Prefect variable: what the evidence is, which may change while nobody looks


@flow(name="asking", persist_result=False)
async def asking() -> None:
    """Asks, and notes the answer that counted."""
    rules = Approval(approvers=("Ada", "Grace"), four_eyes=True)
    found = str(await Variable.aget(FOUND, "nothing"))
    digest = hashlib.sha256(found.encode()).hexdigest()
    question = Question(digest, f"# The evidence: {found}", rules, requested_by="Grace")
    answer = await ask(question, RealClock().now())
    in_days = (answer.not_before - RealClock().now()) // timedelta(days=1) if answer.not_before else 0
    row = {"approved": answer.approved, "name": answer.name, "in_days": in_days, "from": answer.given_from}
    await acreate_table_artifact([row], key=ANSWER)
