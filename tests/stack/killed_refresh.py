"""Runs a refresh whose processes are killed (-9) in the build, while it is suspended, and in the rollout, and started again each time."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectHTTPStatusError

from evergold.clock import RealClock
from evergold.stack import Stack
from tests.stack.browser import approve_in_browser, picture_of
from tests.stack.receiver import Received
from tests.support.mail import Mailbox

LIMIT_S = 240
MAIL = """
  - name: mail
    kind: smtp
    secret_variable: EVERGOLD_MAIL_SERVER
    sender: evergold@example.com
    to: [ada@example.com]
"""
CHROMIUM = shutil.which("chromium")


@dataclass
class KilledRefresh:
    """What came of it."""

    stack: Stack
    told: Received
    mailbox: Mailbox
    run: UUID
    killed: list[str] = field(default_factory=list)
    question: str = ""
    seen_after_resume: str = ""
    final_state: str = ""
    report: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    tries_of_rollouts: dict[str, int] = field(default_factory=dict)
    beside: list[Any] = field(default_factory=list)


async def run_killed_refresh(
    stack: Stack, told: Received, mailbox: Mailbox, beside: Callable[[KilledRefresh], Awaitable[list[Any]]]
) -> KilledRefresh:
    """The whole story; everything is still up when it returns. `beside` begins with the approval; what comes of its parts is kept."""
    await stack.start()
    with (stack.state / "deployments/automations/channels.yaml").open("a") as channels:
        channels.write(MAIL)
    async with stack.prefect() as client:
        deployment = await client.read_deployment_by_name("refresh-image/refresh-image")
        run = await client.create_flow_run_from_deployment(deployment.id, parameters={"image_set": "office"})
        story = KilledRefresh(stack, told, mailbox, run.id)

        # The automations are there before anything happens that somebody has to be told of.
        await evergold(stack, "automations", EVERGOLD_WEBHOOK=told.url, EVERGOLD_MAIL_SERVER=mailbox.url)
        await until(stack, lambda: has_logged(client, run.id, "customise-install-apps done"))
        story.killed.append(await _kill_process_of(client, stack, run.id))
        await _start_crashed_again(client)

        await until(stack, lambda: _is_suspended(client, run.id))
        stack.kill("worker")
        story.killed.append("worker")
        stack.start_worker()
        others = asyncio.ensure_future(beside(story))
        story.question = await until(stack, lambda: _question(client, run.id))
        if CHROMIUM:
            story.seen_after_resume = await approve_in_browser(stack, run.id, CHROMIUM)
        else:
            answer = {"decision": "approve", "name": "Ada", "reason": ""}
            await client.resume_flow_run(run.id, run_input=answer)

        child = await until(stack, lambda: _rollout_that_drains(client))
        if CHROMIUM:
            await picture_of(stack, f"{stack.simulator_url}/", "simulator", CHROMIUM)
        story.killed.append(await _kill_process_of(client, stack, child))
        await until(stack, lambda: _has_ended(client, run.id))
        if CHROMIUM:
            await picture_of(stack, f"{stack.prefect_url}/v2/runs/flow-run/{run.id}", "run-graph", CHROMIUM)
        await _look_at_the_end(client, story)
        story.beside = await others
    return story


async def evergold(stack: Stack, *arguments: str, **environment: str) -> str:
    """Runs the command line against the stack, and returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evergold", *arguments),
        env=stack.environment | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def _start_crashed_again(client: PrefectClient) -> None:
    """What the schedule of restart-crashed does every five minutes."""
    deployment = await client.read_deployment_by_name("restart-crashed/restart-crashed")
    await client.create_flow_run_from_deployment(deployment.id, parameters={"quiet_s": 0})


async def _look_at_the_end(client: PrefectClient, story: KilledRefresh) -> None:
    run = await client.read_flow_run(story.run)
    story.final_state = f"{run.state.name}: {run.state.message}" if run.state else "none"
    for each in await client.read_flow_runs():
        pool = each.parameters.get("pool")
        if pool:
            story.tries_of_rollouts[pool] = story.tries_of_rollouts.get(pool, 0) + 1
    artifacts = await client.read_artifacts()
    story.report = next((str(a.data) for a in artifacts if a.key == "refresh-office"), "")
    async with story.stack.simulator_client() as world:
        story.state = (await world.get("/state")).json()
        story.truth = (await world.get("/truth")).json()


async def until(stack: Stack, look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds, once it finds something."""
    clock = RealClock()
    started = clock.now()
    while not (found := await look()):
        stack.fail_if_dead()
        waited = (clock.now() - started).total_seconds()
        assert waited < LIMIT_S, f"Nothing came of it within {LIMIT_S} s; logs in {stack.state}"
        await clock.sleep(0.6)
    return found


async def _logs(client: PrefectClient, run: UUID) -> list[str]:
    logs = await client.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": [run]}}), limit=200)
    return [log.message for log in logs]


async def has_logged(client: PrefectClient, run: UUID, text: str) -> bool:
    """Whether a run has logged a line with this text; one that has failed will not log it any more."""
    state = (await client.read_flow_run(run)).state
    assert state is None or not state.is_failed(), state.message
    return any(text in message for message in await _logs(client, run))


async def _is_suspended(client: PrefectClient, run: UUID) -> bool:
    state = (await client.read_flow_run(run)).state
    assert state is None or not state.is_failed(), state.message if state else ""
    return state is not None and state.is_paused()


async def _has_ended(client: PrefectClient, run: UUID) -> bool:
    state = (await client.read_flow_run(run)).state
    return state is not None and state.is_final()


async def _rollout_that_drains(client: PrefectClient) -> UUID | None:
    runs: list[FlowRun] = await client.read_flow_runs()
    for run in runs:
        if run.parameters.get("pool") and await has_logged(client, run.id, "removed from the pool"):
            return run.id
    return None


async def _question(client: PrefectClient, run: UUID) -> str:
    state = (await client.read_flow_run(run)).state
    keys = state.state_details.run_input_keyset if state else None
    try:
        return await client.read_flow_run_input(run, keys["description"]) if keys else ""
    except PrefectHTTPStatusError:
        return ""  # a run is suspended a moment before its question is written down


async def _kill_process_of(client: PrefectClient, stack: Stack, run: UUID) -> str:
    """Kills the process that a flow run runs in, as a power cut would, and waits until the worker has reported it.

    The run is Crashed some seconds before that report, which makes it Crashed once more: whoever starts it again in between
    has it Crashed under its new process (Prefect 3.9.1).
    """
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run):  # the engine, and what supervises it
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue

    await until(stack, lambda: has_logged(client, run, "exceeded its memory allocation"))
    return (await client.read_flow_run(run)).name
