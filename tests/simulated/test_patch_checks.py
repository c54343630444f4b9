"""The check of Windows updates on a host: what an assessment must have found, and how long it counts."""

from __future__ import annotations

from evergold.validation.patched import check_patches
from evergold.validation.subject import Subject
from simulator.machines import Machine
from tests.support.simulated import Simulated, simulated, small_image_set


def machine(world: Simulated) -> Machine:
    """The pool's first host."""
    return min(world.cloud.compute.machines(), key=lambda each: each.name)


def host(world: Simulated) -> Subject:
    return Subject(world.image_set.rings[0].pools[0], machine(world).name)


def test_a_host_that_waits_for_a_restart_fails_though_no_update_is_missing() -> None:
    async def body(world: Simulated) -> None:
        machine(world).change(missing_patches=(), reboot_pending=True)
        found = await check_patches(world.azure, world.image_set, host(world))
        assert (found.verdict, found.facts) == ("fail", ("restart pending",))

    simulated(body)


def test_a_clean_assessment_that_saw_a_restart_pending_is_made_again_after_it() -> None:
    async def body(world: Simulated) -> None:
        machine(world).change(missing_patches=(), reboot_pending=True)
        await check_patches(world.azure, world.image_set, host(world))
        await world.azure.compute.restart("rg-avd-pilot", machine(world).name)
        await world.azure.clock.sleep(600)
        assert (await check_patches(world.azure, world.image_set, host(world))).verdict == "pass"

    simulated(body)


def test_an_assessment_that_is_too_old_is_made_again() -> None:
    async def body(world: Simulated) -> None:
        machine(world).change(missing_patches=())
        await check_patches(world.azure, world.image_set, host(world))
        await world.azure.clock.sleep(61 * 60)
        await check_patches(world.azure, world.image_set, host(world))
        assert world.wire.sent("POST", "/assessPatches") == 2

    simulated(body, small_image_set(checks={"patch_assessment_max_age_minutes": 60}))
