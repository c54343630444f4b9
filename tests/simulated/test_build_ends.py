"""How a build ends: a snapshot and perhaps a managed image stay, the machine goes, and a failed one goes when its time is up."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.azure import AzureFailure
from evergold.config.models import ImageSet
from evergold.images import build
from evergold.images.guest import StepFailure
from evergold.images.leftovers import remove_leftovers
from evergold.images.managed_image import ensure_managed_image, ensure_managed_image_removed
from evergold.images.refresh import Refresh, begin_refresh
from evergold.validation.preflight import PreflightError, check_image_set, refuse_unless_passed
from simulator.scenario import load
from tests.support.simulated import Killed, Simulated, customised, simulated, small_image_set

GROUP = "rg-images-build"
STEPS = (
    build.ensure_build_vm,
    customised,
    build.ensure_snapshot_taken,
    build.ensure_prepared,
    build.ensure_manifest,
    build.ensure_sysprepped,
    build.ensure_state_proven,
    build.ensure_deallocated,
    build.ensure_generalized,
)


async def begun(world: Simulated) -> Refresh:
    return await begin_refresh(world.azure, world.image_set, world.azure.clock.now())


async def built(world: Simulated) -> Refresh:
    refresh = await begun(world)
    for ensure in STEPS:
        await ensure(world.azure, world.image_set, refresh)
    return refresh


def image_set(security_type: str = "TrustedLaunch", *, managed: bool = False, **changes: Any) -> ImageSet:
    """The small image set without customise scripts; `changes` are of the build."""
    plain = small_image_set()
    publish = plain.publish.model_dump(exclude_none=True)
    publish |= {"managed_image": {"resource_group": "rg-images"}} if managed else {}
    build_part = {**plain.build.model_dump(exclude_none=True), "security_type": security_type, **changes}
    return small_image_set(customise=[], build=build_part, publish=publish)


def standard() -> dict[str, Any]:
    """The small world with an image definition for machines of security type Standard."""
    return {"definitions": [load("small").definitions[0].model_copy(update={"security_type": "Standard"})]}


def names(world: Simulated) -> list[str]:
    """What builds have left, by name."""
    found = [machine.name for machine in world.cloud.compute.machines()]
    found += [disk.name for disk in world.cloud.disks.all()]
    found += [nic.name for nic in world.cloud.network.nics()]
    return [name for name in found if name.startswith("evg-")]


# The snapshot before sysprep


def test_the_customised_machine_is_copied_before_it_is_cleaned_and_the_copy_outlives_it() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        await build.ensure_build_cleaned(world.azure, world.image_set, refresh)
        name = f"{refresh.vm_name}-before-sysprep"
        assert names(world) == [name]
        snapshot = await world.azure.disks.get_snapshot(GROUP, name)
        assert snapshot is not None
        kept = {tags.PURPOSE: "before-sysprep", tags.IMAGE_VERSION: "1.1.0"}
        assert snapshot.tags == {**refresh.tags, **kept}
        made = next(disk for disk in world.cloud.disks.all() if disk.name == name)
        assert made.contents.image_state == "IMAGE_STATE_COMPLETE"

    simulated(body, image_set())


def test_the_snapshot_is_taken_once_though_sysprep_is_tried_again() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure, match="sysprep"):
            await built(world)
        await built(world)
        assert world.wire.sent("PUT", "-before-sysprep") == 1

    simulated(body, image_set(), guest_failures={"sysprep": "once:exit:1"})


def test_a_refresh_that_is_given_up_leaves_no_snapshot() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        await build.ensure_build_cleaned(world.azure, world.image_set, refresh)
        await build.ensure_snapshot_removed(world.azure, world.image_set, refresh)
        assert names(world) == []

    simulated(body, image_set())


# The managed image


def test_a_managed_image_is_made_where_it_is_asked_for_and_once() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        first = await ensure_managed_image(world.azure, world.image_set, refresh)
        assert await ensure_managed_image(world.azure, world.image_set, refresh) == first
        assert world.wire.sent("PUT", "/images/office-1.1.0") == 1
        (image,) = await world.azure.images.list_images("rg-images")
        assert (image.id, image.name) == (first, "office-1.1.0")
        assert image.tags == {**refresh.tags, tags.SOURCE: refresh.source, tags.IMAGE_VERSION: "1.1.0"}
        assert image.properties is not None
        assert image.properties.hyper_v_generation == "V2"
        await ensure_managed_image_removed(world.azure, world.image_set, refresh)
        assert await world.azure.images.list_images("rg-images") == []

    simulated(body, image_set("Standard", managed=True), **standard())


def test_no_managed_image_is_made_where_nobody_asks() -> None:
    async def body(world: Simulated) -> None:
        assert await ensure_managed_image(world.azure, world.image_set, await begun(world)) is None

    simulated(body, image_set())


def test_no_managed_image_is_made_without_the_proof() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        with pytest.raises(StepFailure, match="not proven"):
            await ensure_managed_image(world.azure, world.image_set, refresh)

    simulated(body, image_set("Standard", managed=True), **standard())


def test_a_managed_image_of_that_name_that_is_not_ours_is_left_alone() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        machine = await build.publishable_vm_id(world.azure, world.image_set, refresh)
        await world.azure.images.create_image_from_vm("rg-images", "office-1.1.0", "westeurope", machine, {"by": "Eve"})
        with pytest.raises(AzureFailure, match="made by somebody else"):
            await ensure_managed_image(world.azure, world.image_set, refresh)
        await ensure_managed_image_removed(world.azure, world.image_set, refresh)
        assert world.wire.sent("DELETE", "/images/office-1.1.0") == 0

    simulated(body, image_set("Standard", managed=True), **standard())


def test_a_death_after_asking_for_the_managed_image_makes_no_second_one() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        world.wire.dies_after_writes = 1
        with pytest.raises(Killed):
            await ensure_managed_image(world.azure, world.image_set, refresh)
        await ensure_managed_image(world.azure, world.image_set, refresh)
        assert len(await world.azure.images.list_images("rg-images")) == 1

    simulated(body, image_set("Standard", managed=True), **standard())


def test_a_managed_image_of_a_trusted_launch_machine_is_refused_before_anything_is_done() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(
            PreflightError, match=r"publish\.managed_image asks for one, and the build makes a TrustedLaunch machine"
        ):
            refuse_unless_passed(await check_image_set(world.azure, world.image_set), "The refresh")
        refresh = await built(world)
        with pytest.raises(AzureFailure, match="not supported for virtual machine with TrustedLaunch"):
            await ensure_managed_image(world.azure, world.image_set, refresh)

    simulated(body, image_set(managed=True))


def test_preflight_passes_where_a_managed_image_can_be_made() -> None:
    async def body(world: Simulated) -> None:
        checks = await check_image_set(world.azure, world.image_set)
        assert {check.verdict for check in checks} == {"pass"}

    simulated(body, image_set("Standard", managed=True), **standard())


# What a failed build leaves


async def outcomes(world: Simulated) -> list[str]:
    return [outcome for _, outcome in await remove_leftovers(world.azure, world.image_set)]


def test_a_failed_build_stays_for_its_time_and_then_goes_whole() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        until = await build.ensure_kept_for_a_look(world.azure, world.image_set, refresh)
        assert until == world.azure.clock.now() + timedelta(hours=5)
        assert await outcomes(world) == [f"kept until {tags.format_time(until)}"]
        await world.azure.clock.sleep(timedelta(hours=5).total_seconds() + 1)
        assert len(names(world)) == 3
        assert [outcome for _, outcome in await remove_leftovers(world.azure, world.image_set, dry_run=True)] == [
            "would be deleted: its time is up"
        ]
        assert await outcomes(world) == ["deleted: its time was up"]
        assert names(world) == []
        assert await outcomes(world) == []

    simulated(body, image_set(keep_failed_hours=5))


def test_a_build_whose_run_was_killed_goes_too() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        world.wire.dies_after_writes = 1
        with pytest.raises(Killed):
            await build.ensure_build_vm(world.azure, world.image_set, refresh)
        assert "kept until" in (await outcomes(world))[0]
        await world.azure.clock.sleep(build.lifetime(world.image_set).total_seconds() + 1)
        assert await outcomes(world) == ["deleted: its time was up"]
        assert names(world) == []

    simulated(body, image_set())


def test_every_step_that_is_done_lets_the_machine_stay_longer() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        await world.azure.clock.sleep(build.lifetime(world.image_set).total_seconds() - 60)
        await build.ensure_snapshot_taken(world.azure, world.image_set, refresh)
        await world.azure.clock.sleep(3600)
        assert "kept until" in (await outcomes(world))[0]

    simulated(body, image_set())


def test_where_nothing_is_to_be_kept_a_failed_build_goes_at_once() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        assert await build.ensure_kept_for_a_look(world.azure, world.image_set, refresh) is None
        assert names(world) == []

    simulated(body, image_set(keep_failed_hours=0))


@pytest.mark.parametrize("named", [{tags.KEEP: "Ada"}, {tags.IMAGE_SET: "another"}])
def test_what_somebody_keeps_or_another_image_set_made_is_left_alone(named: dict[str, str]) -> None:
    async def body(world: Simulated, named: dict[str, str]) -> None:
        refresh = await begun(world)
        await build.ensure_build_vm(world.azure, world.image_set, refresh)
        await world.azure.compute.update_vm_tags(GROUP, refresh.vm_name, named)
        for disk in world.cloud.disks.all():
            disk.tags.update(named if disk.name.startswith("evg-") else {})
        await world.azure.clock.sleep(timedelta(days=30).total_seconds())
        await remove_leftovers(world.azure, world.image_set)
        assert len(names(world)) == 3

    simulated(partial(body, named=named), image_set())
