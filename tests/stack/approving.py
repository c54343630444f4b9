"""Each way in which an approval is answered, through Prefect's API and the command line, on a running server and worker."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import PrefectHTTPStatusError

from evergold.clock import RealClock
from evergold.stack import REPOSITORY
from tests.stack.asking import ANSWER, FOUND
from tests.stack.killed_refresh import KilledRefresh, evergold, until


async def asked(client: PrefectClient, refresh: KilledRefresh) -> UUID:
    """A run of the asking flow, on the stack's worker."""
    flow = await client.create_flow_from_name("asking")
    deployment = await client.create_deployment(
        flow,
        "asking",
        entrypoint="tests/stack/asking.py:asking",
        path=str(REPOSITORY),
        work_pool_name="evergold",
    )
    return (await client.create_flow_run_from_deployment(deployment)).id


async def question(refresh: KilledRefresh, client: PrefectClient, run: UUID, attempt: int, of: str = "") -> str:
    """What the form shows above its fields, at this attempt, where it shows these words."""

    async def look() -> str | None:
        state = (await client.read_flow_run(run)).state
        assert state is None or not state.is_final(), state.message if state else ""
        details = state.state_details if state and state.is_paused() else None
        if details is None or not (details.pause_key or "").endswith(f"-{attempt}") or not details.run_input_keyset:
            return None
        try:
            shown = str(json.loads(await client.read_flow_run_input(run, details.run_input_keyset["description"])))
            return shown if of in shown else None
        except PrefectHTTPStatusError:
            return None  # a run is suspended a moment before its question is written down

    return str(await until(refresh.stack, look))


async def answer(client: PrefectClient, run: UUID, **form: Any) -> str:
    """How Prefect takes an answer: ACCEPT or REJECT."""
    return (await client.resume_flow_run(run, run_input=form)).status.value


async def answer_in_every_way(killed_refresh: KilledRefresh) -> dict[str, Any]:
    """Answers a question wrongly, too late, by the wrong person, and at last on the command line; returns what was noted."""
    later = f"{RealClock().now() + timedelta(days=3, hours=1):%Y-%m-%d %H:%M}"
    async with killed_refresh.stack.prefect() as client:
        run = await asked(client, killed_refresh)
        assert "did not count" not in await question(killed_refresh, client, run, 0)
        assert await answer(client, run, decision="approve") == "REJECT", "without a name"
        assert await answer(client, run, decision="perhaps", name="Ada") == "REJECT", "no such decision"
        await client.create_variable(VariableCreate(name=FOUND, value="an update is missing"))
        assert await answer(client, run, decision="approve", name="Ada") == "ACCEPT"
        again = await question(killed_refresh, client, run, 0, "an update is missing")
        assert "did not count" not in again, "it was fine, and for other evidence"
        assert await answer(client, run, decision="approve", name="Grace") == "ACCEPT"
        assert "wants somebody else to approve it" in await question(killed_refresh, client, run, 1)
        arguments = ("approve", str(run)[:8], "--name", "Ada", "--not-before", later, "--yes")
        assert "goes on" in await evergold(killed_refresh.stack, *arguments)
        await until(killed_refresh.stack, lambda: _ended(client, run))
        artifacts = [a for a in await client.read_artifacts() if a.key == ANSWER]
        return dict(json.loads(str(artifacts[-1].data))[0])


async def _ended(client: PrefectClient, run: UUID) -> bool:
    state = (await client.read_flow_run(run)).state
    return state is not None and state.is_final()
