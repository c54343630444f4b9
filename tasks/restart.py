"""Starting crashed runs again. A crash is the end of a process, not of the work: every step is an ensure, so a run goes on where it was.

Left alone: runs that crashed too often (a person should look), runs whose parent starts them again by itself, and a crash so fresh that the
worker may still report it: its word would end the run that was just started (Prefect 3.9.1).
"""

import logging
from datetime import timedelta

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Scheduled

from evergold.clock import RealClock

log = logging.getLogger("evergold.restart")

TAG = "evergold"
# Older ones were left by somebody who knows of them.
CRASHED_WITHIN = timedelta(days=1)


async def restart_crashed_runs(tries: int, quiet_s: float) -> list[dict[str, str]]:
    """Starts again what may be; returns a row for each crashed run, with what was done and why."""
    crashed = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        tags=FlowRunFilterTags(all_=[TAG]),
    )
    rows = []
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=crashed):
            reason = _why_not(run, await client.read_flow_run_states(run.id), tries, quiet_s)
            if reason is None:
                await _restart(client, run)
            else:
                log.info("%s is left as it is: %s", run.name, reason)
            rows.append({"run": run.name, "id": str(run.id), "what": reason or "started again"})
    return rows


def _why_not(run: FlowRun, states: list[State], tries: int, quiet_s: float) -> str | None:
    """Why a crashed run is not started again; None where it is."""
    crashes = crash_count(states)
    age = RealClock().now() - run.state.timestamp if run.state else timedelta(0)
    if run.parent_task_run_id is not None:
        return "the run that began it starts it again"
    if run.deployment_id is None:
        return "it has no deployment to be started from"
    if age > CRASHED_WITHIN:
        return "it crashed more than a day ago"
    if age.total_seconds() < quiet_s:
        return "it crashed just now: the next look starts it again"
    if crashes >= tries:
        return f"it crashed {crashes} times; look at the worker, then start it again by hand"
    return None


def crash_count(states: list[State]) -> int:
    """How often a run crashed. Two crashes with nothing between them are one that was reported twice."""
    count, before = 0, None
    for state in sorted(states, key=lambda state: state.timestamp):
        if state.type == StateType.CRASHED and before != StateType.CRASHED:
            count += 1
        before = state.type
    return count


async def _restart(client: PrefectClient, run: FlowRun) -> None:
    await client.set_flow_run_state(run.id, Scheduled(message="Started again after a crash."), force=True)
    log.info("%s is started again where it was", run.name)
