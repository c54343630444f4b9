"""The checks of a canary: what passes, what does not, and that what could not be seen never passes."""

from __future__ import annotations

import pytest

from evergold.azure import Azure
from evergold.validation.checks import (
    AGENT,
    AGENT_LOG,
    HEARTBEAT,
    PATCHES,
    Canary,
    check_agent_log,
    check_canary,
    check_heartbeat,
)
from evergold.validation.verdicts import Check
from simulator.kernel.faults import Fault
from tests.support.simulated import Simulated, simulated, small_image_set
from tests.support.tiny_azure import SECRET_VARIABLE, TinyAzure, refusal, with_azure

HOST = "pil-001"


def canary(world: Simulated, host: str = HOST) -> Canary:
    return Canary(world.image_set.rings[0].pools[0], host)


def patched(world: Simulated) -> None:
    for machine in world.cloud.compute.machines():
        machine.change(missing_patches=())


async def checked(world: Simulated, host: str = HOST) -> dict[str, Check]:
    return {check.name: check for check in await check_canary(world.azure, world.image_set, canary(world, host))}


def test_a_healthy_patched_host_passes_every_check() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        await world.azure.clock.sleep(1800)
        found = await checked(world)
        assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(
            [AGENT, HEARTBEAT, AGENT_LOG, PATCHES], "pass"
        )

    simulated(body)


def test_a_missing_security_update_fails_by_name() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(1800)
        found = (await checked(world))[PATCHES]
        assert found.verdict == "fail"
        assert len(found.facts) == 1
        assert "KB5103388" in found.facts[0]

    simulated(body)


def test_a_recent_assessment_that_found_nothing_is_not_made_again() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        await world.azure.clock.sleep(1800)
        assert [(await checked(world))[PATCHES].verdict for _ in range(2)] == ["pass", "pass"]
        assert world.wire.sent("POST", "/assessPatches") == 1

    simulated(body)


def test_a_host_that_is_off_passes_neither_as_an_agent_nor_by_its_heartbeat() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        await world.azure.compute.deallocate("rg-avd-pilot", HOST)
        await world.azure.clock.sleep(3600)
        found = await checked(world)
        assert (found[AGENT].verdict, found[HEARTBEAT].verdict) == ("fail", "fail")
        assert "last heard of" in found[AGENT].measured

    simulated(body)


def test_logs_that_may_not_be_read_are_unknown() -> None:
    async def body(world: Simulated) -> None:
        patched(world)
        await world.azure.clock.sleep(1800)
        found = await checked(world)
        assert (found[AGENT].verdict, found[HEARTBEAT].verdict, found[AGENT_LOG].verdict) == (
            "pass",
            "unknown",
            "unknown",
        )
        assert "InsufficientAccessError" in found[HEARTBEAT].measured

    denied = Fault(path="/query", times=99, status=403, code="InsufficientAccessError", message="No.")
    simulated(body, faults=[denied])


# Against scripted answers: what the simulated workspace does not do

TABLE = {"name": "PrimaryResult", "columns": [{"name": "LastSeen", "type": "datetime"}], "rows": []}


@pytest.fixture
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")


@pytest.mark.usefixtures("_secret")
def test_an_answer_in_part_is_unknown() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> None:
        partial = {"tables": [TABLE], "error": {"code": "PartialError", "message": "a shard did not answer"}}
        tiny.on("POST", "/query", partial)
        image_set = small_image_set()
        found = await check_heartbeat(azure, image_set, Canary(image_set.rings[0].pools[0], HOST))
        assert found.verdict == "unknown"
        assert "a shard did not answer" in found.measured

    with_azure(body)


@pytest.mark.usefixtures("_secret")
def test_a_workspace_that_nobody_sends_agent_health_to_is_a_warning() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> None:
        words = "Failed to resolve table or column expression named 'WVDAgentHealthStatus'"
        tiny.on("POST", "/query", refusal(400, "BadArgumentError", words))
        image_set = small_image_set()
        found = await check_agent_log(azure, image_set, Canary(image_set.rings[0].pools[0], HOST))
        assert (found.verdict, found.name) == ("warn", AGENT_LOG)

    with_azure(body)
