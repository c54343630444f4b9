"""The checks of a host against the simulated Azure: what is said of a good one, and of each way in which one is not good."""

from __future__ import annotations

from evergold.validation.checks import (
    AGENT,
    AGENT_LOG,
    HEARTBEAT,
    PATCHES,
    Canary,
    check_agent,
    check_canary,
    check_heartbeat,
    check_patches,
    settle_canary,
)
from evergold.validation.verdicts import Check, worst
from simulator.machines import Machine
from tests.support.simulated import Simulated, simulated, small_image_set


def canary(world: Simulated, host: str = "") -> Canary:
    """The pool's first host, or the one of this name."""
    return Canary(world.image_set.rings[0].pools[0], host or machine(world).name)


def machine(world: Simulated) -> Machine:
    return min(world.cloud.compute.machines(), key=lambda each: each.name)


async def patched(world: Simulated) -> None:
    """The host has every update; the small world's hosts lack one."""
    machine(world).change(missing_patches=(), reboot_pending=False)


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_good_host_passes_every_check() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        checks = by_name(await check_canary(world.azure, world.image_set, canary(world)))
        assert {name: check.verdict for name, check in checks.items()} == {
            AGENT: "pass",
            HEARTBEAT: "pass",
            AGENT_LOG: "pass",
            PATCHES: "pass",
        }

    simulated(body)


def test_a_missing_security_update_fails_the_host_and_is_named() -> None:
    async def body(world: Simulated) -> None:
        found = await check_patches(world.azure, world.image_set, canary(world))
        assert found.verdict == "fail"
        assert "KB5103388" in found.measured
        assert found.facts != ()

    simulated(body)


def test_a_host_that_waits_for_a_restart_fails_though_no_update_is_missing() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        machine(world).change(reboot_pending=True)
        found = await check_patches(world.azure, world.image_set, canary(world))
        assert (found.verdict, found.facts) == ("fail", ("restart pending",))

    simulated(body)


def test_a_recent_clean_assessment_is_not_made_again() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        for _ in range(2):
            found = await check_patches(world.azure, world.image_set, canary(world))
            assert found.verdict == "pass"
        assert world.wire.sent("POST", "/assessPatches") == 1

    simulated(body)


def test_an_assessment_that_is_too_old_is_made_again() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        await check_patches(world.azure, world.image_set, canary(world))
        await world.azure.clock.sleep(61 * 60)
        await check_patches(world.azure, world.image_set, canary(world))
        assert world.wire.sent("POST", "/assessPatches") == 2

    simulated(body, small_image_set(checks={"patch_assessment_max_age_minutes": 60}))


def test_a_host_that_no_pool_knows_fails() -> None:
    async def body(world: Simulated) -> None:
        found = await check_agent(world.azure, world.image_set, canary(world, "pil-0099"))
        assert found.verdict == "fail"
        assert "not registered in hp-pilot" in found.measured

    simulated(body)


def test_a_host_without_a_heartbeat_in_the_logs_fails() -> None:
    async def body(world: Simulated) -> None:
        found = await check_heartbeat(world.azure, world.image_set, canary(world, "pil-0099"))
        assert (found.verdict, found.measured) == ("fail", "None from pil-0099.")

    simulated(body)


def test_a_host_that_went_silent_fails_by_the_broker_and_by_the_logs() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        name = machine(world).name
        await world.azure.compute.deallocate("rg-avd-pilot", name)
        await world.azure.clock.sleep(3600)
        assert (await check_agent(world.azure, world.image_set, canary(world))).verdict == "fail"
        assert (await check_heartbeat(world.azure, world.image_set, canary(world))).verdict == "fail"

    simulated(body)


def test_logs_that_are_cut_off_say_nothing_and_do_not_pass() -> None:
    async def body(world: Simulated) -> None:
        world.cloud.logs.row_limit = 0
        found = await check_heartbeat(world.azure, world.image_set, canary(world))
        assert found.verdict == "unknown"
        assert "in part" in found.measured

    simulated(body)


def test_a_check_that_azure_refuses_is_unknown_and_the_others_are_still_made() -> None:
    async def body(world: Simulated) -> None:
        name = machine(world).name
        await patched(world)
        await world.azure.compute.deallocate("rg-avd-pilot", name)
        checks = by_name(await check_canary(world.azure, world.image_set, canary(world)))
        assert checks[PATCHES].verdict == "unknown", "updates cannot be assessed on a machine that is off"
        assert checks[PATCHES].remedy
        assert len(checks) == 4

    simulated(body)


def test_a_canary_that_never_becomes_good_is_given_up_in_its_time_and_shown_as_it_is() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        before = world.azure.clock.now()
        checks = await settle_canary(world.azure, world.image_set, canary(world, "pil-0099"))
        waited = (world.azure.clock.now() - before).total_seconds() / 60
        assert worst(checks) == "fail"
        assert 30 <= waited < 40

    simulated(body, small_image_set(checks={"settle_timeout_minutes": 30}))


def test_a_canary_that_is_good_is_not_waited_for() -> None:
    async def body(world: Simulated) -> None:
        await patched(world)
        before = world.azure.clock.now()
        assert worst(await settle_canary(world.azure, world.image_set, canary(world))) == "pass"
        assert (world.azure.clock.now() - before).total_seconds() < 900

    simulated(body)
