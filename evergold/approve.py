"""Answering an approval from the command line: the same question as in the Prefect UI, the same rules, the same record.

The answer goes through Prefect's own resume, which checks it as it checks the form's; what else makes an answer count is judged by the run
itself when it goes on. Where it was given is noted beside it, for the audit line on the image version.
"""

import getpass
import json
import platform
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectHTTPStatusError

from evergold.clock import RealClock

APPROVAL = "approval-"
ORIGIN_KEY = "answered-from-"
# A run is suspended a moment before its question is written down (Prefect 3.9.1).
QUESTION_TRIES = 20


class ApproveError(Exception):
    """The answer was not given; says why, and what to do."""


@dataclass(frozen=True)
class Waiting:
    """A run that waits for an approval. `question`: the evidence, as the form shows it; `key` names the question."""

    run: UUID
    name: str
    key: str
    question: str


async def waiting_runs(client: PrefectClient) -> list[Waiting]:
    """Every run that waits for an approval, the oldest first."""
    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    runs = await client.read_flow_runs(flow_run_filter=paused)
    asking = [run for run in runs if _key(run).startswith(APPROVAL)]
    return [await _waiting(client, run) for run in sorted(asking, key=lambda run: run.created or RealClock().now())]


def choose(runs: list[Waiting], wanted: str) -> Waiting:
    """The run of this id, beginning of an id, or name; the only one where none is named. Raises ApproveError."""
    found = [each for each in runs if not wanted or str(each.run).startswith(wanted) or each.name == wanted]
    if len(found) == 1:
        return found[0]
    listed = "\n".join(f"  {each.run}  {each.name}" for each in runs) or "  none"
    problem = "Several runs wait for an approval" if found else f"No run waits for an approval under {wanted!r}"
    if not runs:
        problem = "No run waits for an approval"
    raise ApproveError(f"{problem}. Nothing was answered. Those that wait:\n{listed}")


def from_here(command: str) -> str:
    """Where an answer is given, for the audit line: the command, the user and the machine."""
    return f"{command}, by {getpass.getuser()} on {platform.node()}"


async def answer(client: PrefectClient, waiting: Waiting, form: dict[str, str], given_from: str) -> None:
    """Gives the answer. Raises ApproveError where Prefect does not take it; the run then waits on."""
    if await _input(client, waiting.run, ORIGIN_KEY + waiting.key) is None:
        await client.create_flow_run_input(waiting.run, ORIGIN_KEY + waiting.key, json.dumps(given_from))
    result = await client.resume_flow_run(waiting.run, run_input=form)
    if result.status.value != "ACCEPT":
        reason = getattr(result.details, "reason", "") or "no reason was given"
        raise ApproveError(f"Prefect did not take the answer for {waiting.name}: {reason}. The run waits on.")


async def _waiting(client: PrefectClient, run: FlowRun) -> Waiting:
    keys = run.state.state_details.run_input_keyset if run.state else None
    clock = RealClock()
    for _ in range(QUESTION_TRIES):
        question = await _input(client, run.id, keys["description"]) if keys else ""
        if question is not None:
            return Waiting(run.id, run.name, _key(run), question)
        await clock.sleep(0.25)
    raise ApproveError(f"The question of {run.name} cannot be read. Try again, or answer it in the Prefect UI.")


async def _input(client: PrefectClient, run: UUID, key: str) -> str | None:
    try:
        return str(json.loads(await client.read_flow_run_input(run, key)))
    except PrefectHTTPStatusError as answered:
        if answered.response.status_code != 404:
            raise
        return None


def _key(run: FlowRun) -> str:
    return (run.state.state_details.pause_key if run.state else None) or ""
