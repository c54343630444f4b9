"""The demo: two whole refreshes on this machine, against the simulated Azure, with everything else real.

It starts the stack and, side by side, a refresh of the image set `office` (host pools) and one of `cloud-pcs` (ten Cloud PCs of Windows
365), shows what they log, waits for their approvals as a user would meet them, prints both reports, and compares them with what the
simulator saw. With a terminal it asks there as well and stays up at the
end; without one, or with --yes, it approves through Prefect's API and ends. It promises a non-zero exit with the reason on any
failure.
"""

import asyncio
import select
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
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
from prefect.client.schemas.sorting import ArtifactSort, LogSort

from evergold.approve import ApproveError, answer, from_here, waiting_runs
from evergold.clock import RealClock, ScaledClock
from evergold.stack import Stack, StackError

IMAGE_SETS = ("office", "cloud-pcs")
SERVES = {
    "office": "Two host pools          ",
    "cloud-pcs": "Ten Cloud PCs           ",
}  # what each is called beside its address
WINDOWS_365 = "Windows 365 | "  # stands before what the second refresh logs
DEPLOYMENT = "refresh-image/refresh-image"
STATE = Path(".evergold/demo")
LOOK_EVERY_S = 1.0
# What a host's own task run logs repeats, host by host, what the rollout logs.
HOST_LOGGER = "evergold.host"
# Logs reach the server a little after they were written, and not always in order.
LOGS_MAY_BE_LATE = timedelta(seconds=6)


class DemoError(Exception):
    """A refresh did not end as it should; says how it ended."""


@dataclass
class Watch:
    """Follows the refreshes, image set to run: who was asked, what was already shown, and the time in the simulated world."""

    stack: Stack
    client: PrefectClient
    clock: ScaledClock
    deployment: UUID
    refreshes: dict[str, UUID] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)  # keys of questions
    shown: set[UUID] = field(default_factory=set)
    heard: bool = False  # something of what is shown was ours
    since: datetime = field(default_factory=RealClock().now)


async def run(*, approve: bool, speed: float) -> None:
    """Runs the demo. `approve`: do not ask a person. Raises DemoError or StackError."""
    with Stack(STATE.resolve(), speed=speed) as stack:
        print("Starting a simulated Azure, a Prefect server and a worker ...", flush=True)
        await stack.start()
        async with stack.prefect() as client:
            deployment = await client.read_deployment_by_name(DEPLOYMENT)
            watch = Watch(stack, client, stack.clock(), deployment.id)
            _print_addresses(stack)
            await _start(watch, IMAGE_SETS[0])
            await _follow(watch, approve=approve)
            for image_set in IMAGE_SETS:
                await _print_report(watch, image_set)
            await _compare_with_world(stack)
        if sys.stdin.isatty() and not approve:
            await _stay(stack)


async def _start(watch: Watch, image_set: str) -> None:
    parameters = {"image_set": image_set, "notes": "Started by the demo."}
    run = await watch.client.create_flow_run_from_deployment(watch.deployment, parameters=parameters)
    watch.refreshes[image_set] = run.id
    print(f"  {SERVES[image_set]} {watch.stack.prefect_url}/v2/runs/flow-run/{run.id}\n", flush=True)


def _print_addresses(stack: Stack) -> None:
    print(f"\n  In Prefect               {stack.prefect_url}")
    print(
        f"  The simulated Azure      {stack.simulator_url}/  (its certificate was made on the spot: the browser will ask)"
    )
    print(
        f"\n  One second here is {stack.speed / 60:.0f} minutes there. Times below are the simulated world's.\n",
        flush=True,
    )


async def _follow(watch: Watch, *, approve: bool) -> None:
    """Shows the logs until every refresh has ended; sees to the approvals on the way."""
    while len(watch.ended) < len(IMAGE_SETS):
        watch.stack.fail_if_dead()
        # One after the other: two runs that start at the same moment make each other's first steps slow.
        if watch.heard and IMAGE_SETS[1] not in watch.refreshes:
            await _start(watch, IMAGE_SETS[1])
        runs = [await watch.client.read_flow_run(run) for run in watch.refreshes.values()]
        await _show_logs(watch)
        for image_set, run in zip(watch.refreshes, runs, strict=True):
            _note_end(watch, image_set, run)
        if any(run.state is not None and run.state.is_paused() for run in runs):
            await _decide(watch, approve=approve)
        await RealClock().sleep(LOOK_EVERY_S)
    await _show_logs(watch)


def _note_end(watch: Watch, image_set: str, run: FlowRun) -> None:
    state = run.state
    if state is None or not state.is_final():
        return
    if not state.is_completed():
        raise DemoError(f"The refresh of {image_set} ended as {state.name}: {state.message}")
    watch.ended.add(image_set)


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
        watch.since, watch.heard = max(watch.since, log.timestamp), True
        whose = WINDOWS_365 if log.flow_run_id == watch.refreshes.get("cloud-pcs") else ""
        for line in log.message.splitlines():
            print(f"  {watch.clock.at(log.timestamp):%a %H:%M}  {whose}{line}", flush=True)


async def _decide(watch: Watch, *, approve: bool) -> None:
    """Answers the approval that waits, where it is answered here: at once with `approve`, or by `y` in the terminal. One at a time."""
    waiting = next((each for each in await waiting_runs(watch.client) if each.run in watch.refreshes.values()), None)
    if waiting is None:
        return
    first = waiting.key not in watch.asked
    watch.asked.add(waiting.key)
    if first:
        print(f"\n{waiting.question}\n", flush=True)
    if approve:
        print(f"  Nobody is here to ask: approving {waiting.name} through Prefect's API.\n", flush=True)
    elif first:
        where = "Approve it in the Prefect UI (the run's menu at the top right: Resume)"
        print(f"  {waiting.name}: {where}, or type y and Enter here: ", end="", flush=True)
    if approve or _said_yes():
        form = {"decision": "approve", "name": "demo", "reason": "Approved in the demo."}
        await answer(watch.client, waiting, form, from_here("evergold demo"))


def _said_yes() -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and sys.stdin.readline().strip().lower() in ("y", "yes")


async def _print_report(watch: Watch, image_set: str) -> None:
    found = await watch.client.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[f"refresh-{image_set}"])),
        flow_run_filter=FlowRunFilter(id={"any_": [watch.refreshes[image_set]]}),
        sort=ArtifactSort.CREATED_DESC,
    )
    if not found:
        raise DemoError(f"The refresh of {image_set} completed but left no report.")
    text = str(found[0].data).partition("![")[0]  # without its picture, which is for the UI
    print(f"\n{text}\n", flush=True)


async def _compare_with_world(stack: Stack) -> None:
    """Asks the simulator, which saw everything, whether anybody was harmed. Raises DemoError."""
    async with stack.simulator_client() as world:
        truth = (await world.get("/truth")).json()
    print(f"The simulator, which saw everything: {truth['summary']}")
    lost = len(truth["cloud_pcs_that_lost_work"])
    print(f"Cloud PCs set up anew: {truth['cloud_pcs_reprovisioned']}; with work lost for good: {lost}.")
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
