"""The demo: a whole refresh on this machine, against the simulated Azure, with everything else real.

It starts the stack and a refresh of the image set `office`, shows what the run logs, waits for the approval as a user would meet
it, prints the report, and compares it with what the simulator saw. With a terminal it asks there as well and stays up at the
end; without one, or with --yes, it approves through Prefect's API and ends. It promises a non-zero exit with the reason on any
failure.
"""

import asyncio
import select
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    LogFilter,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.sorting import LogSort

from evergold.approve import ApproveError, answer, from_here, waiting_runs
from evergold.clock import RealClock, ScaledClock
from evergold.stack import Stack, StackError

IMAGE_SET = "office"
DEPLOYMENT = "refresh-image/refresh-image"
STATE = Path(".evergold/demo")
LOOK_EVERY_S = 1.0
# What a host's own task run logs repeats, host by host, what the rollout logs.
HOST_LOGGER = "evergold.host"
# Logs reach the server a little after they were written, and not always in order.
LOGS_MAY_BE_LATE = timedelta(seconds=6)


class DemoError(Exception):
    """The refresh did not end as it should; says how it ended."""


@dataclass
class Watch:
    """Follows one refresh: what was already shown, and the time in the simulated world."""

    stack: Stack
    client: PrefectClient
    clock: ScaledClock
    refresh: UUID
    shown: set[UUID] = field(default_factory=set)
    since: datetime = field(default_factory=RealClock().now)


async def run(*, approve: bool, speed: float) -> None:
    """Runs the demo. `approve`: do not ask a person. Raises DemoError or StackError."""
    with Stack(STATE.resolve(), speed=speed) as stack:
        print("Starting a simulated Azure, a Prefect server and a worker ...", flush=True)
        await stack.start()
        async with stack.prefect() as client:
            deployment = await client.read_deployment_by_name(DEPLOYMENT)
            started = await client.create_flow_run_from_deployment(
                deployment.id, parameters={"image_set": IMAGE_SET, "notes": "Started by the demo."}
            )
            watch = Watch(stack, client, stack.clock(), started.id)
            _print_addresses(stack, started.id)
            await _follow(watch, approve=approve)
            await _print_report(watch)
            await _compare_with_world(stack)
        if sys.stdin.isatty() and not approve:
            await _stay(stack)


def _print_addresses(stack: Stack, run: UUID) -> None:
    print(f"\n  The refresh in Prefect   {stack.prefect_url}/v2/runs/flow-run/{run}")
    print(
        f"  The simulated Azure      {stack.simulator_url}/  (its certificate was made on the spot: the browser will ask)"
    )
    print(
        f"\n  One second here is {stack.speed / 60:.0f} minutes there. Times below are the simulated world's.\n",
        flush=True,
    )


async def _follow(watch: Watch, *, approve: bool) -> None:
    """Shows the logs until the refresh has ended; sees to the approval on the way."""
    asked = False
    async for state in _states(watch):
        await _show_logs(watch)
        if state.is_paused():
            asked = await _decide(watch, approve=approve, first=not asked) or asked
        elif state.is_final():
            await _show_logs(watch)
            if not state.is_completed():
                raise DemoError(f"The refresh ended as {state.name}: {state.message}")
            return


async def _states(watch: Watch) -> AsyncIterator[Any]:
    while True:
        watch.stack.fail_if_dead()
        run: FlowRun = await watch.client.read_flow_run(watch.refresh)
        if run.state is not None:
            yield run.state
        await RealClock().sleep(LOOK_EVERY_S)


async def _show_logs(watch: Watch) -> None:
    logs: list[Log] = await watch.client.read_logs(
        LogFilter(timestamp=LogFilterTimestamp(after_=watch.since - LOGS_MAY_BE_LATE)),
        limit=200,
        sort=LogSort.TIMESTAMP_ASC,
    )
    for log in logs:
        if log.id in watch.shown:
            continue
        watch.shown.add(log.id)
        if not log.name.startswith("evergold") or log.name == HOST_LOGGER:
            continue
        watch.since = max(watch.since, log.timestamp)
        for line in log.message.splitlines():
            print(f"  {watch.clock.at(log.timestamp):%a %H:%M}  {line}", flush=True)


async def _decide(watch: Watch, *, approve: bool, first: bool) -> bool:
    """Answers the approval, where it is answered here: at once with `approve`, or by `y` in the terminal. Whether it was shown."""
    waiting = [each for each in await waiting_runs(watch.client) if each.run == watch.refresh]
    if not waiting:
        return False
    if first:
        print(f"\n{waiting[0].question}\n", flush=True)
    if approve:
        print("  Nobody is here to ask: approving through Prefect's API.\n", flush=True)
    elif first:
        where = "Approve it in the Prefect UI (the run's menu at the top right: Resume)"
        print(f"  {where}, or type y and Enter here: ", end="", flush=True)
    if approve or _said_yes():
        form = {"decision": "approve", "name": "demo", "reason": "Approved in the demo."}
        await answer(watch.client, waiting[0], form, from_here("evergold demo"))
    return True


def _said_yes() -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and sys.stdin.readline().strip().lower() in ("y", "yes")


async def _print_report(watch: Watch) -> None:
    found = await watch.client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[f"refresh-{IMAGE_SET}"])),
        flow_run_filter=FlowRunFilter(id={"any_": [watch.refresh]}),
    )
    if not found:
        raise DemoError("The refresh completed but left no report.")
    text = str(found[-1].data).partition("![")[0]  # without its picture, which is for the UI
    print(f"\n{text}\n", flush=True)


async def _compare_with_world(stack: Stack) -> None:
    """Asks the simulator, which saw everything, whether anybody was harmed. Raises DemoError."""
    async with stack.simulator_client() as world:
        truth = (await world.get("/truth")).json()
    print(f"The simulator, which saw everything: {truth['summary']}")
    if truth["violations"]:
        raise DemoError("The world does not agree with the report:\n  " + "\n  ".join(truth["violations"]))


async def _stay(stack: Stack) -> None:
    print("\nEverything stays up to look around. Ctrl-C ends it.", flush=True)
    with suppress(asyncio.CancelledError):
        while True:
            stack.fail_if_dead()
            await RealClock().sleep(1)


def main(*, approve: bool, speed: float) -> int:
    """Runs the demo and returns its exit code."""
    try:
        asyncio.run(run(approve=approve, speed=speed))
    except (ApproveError, DemoError, StackError) as error:
        print(f"\nThe demo failed. {error}\nLogs: {STATE.resolve()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnded.")
        return 0
    return 0
