"""A template VM that lends its hardware: it has its own disk again after any build, and is never generalised nor deleted."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.azure.compute import MarketplaceImage, VmSpec
from evergold.config.models import ImageSet, RolloutPolicy
from evergold.images import build, publish
from evergold.images.guest import ADMINISTRATOR, StepFailure, new_password
from evergold.images.leftovers import remove_leftovers
from evergold.images.refresh import begin_refresh, definition_of, end_refresh
from evergold.images.source_host import ensure_source_copied
from evergold.validation.preflight import check_image_set
from simulator.machines import Machine
from simulator.scenario import load
from tests.support.simulated import NETWORKS, Killed, Simulated, customised, simulated, small_image_set

GROUP, POOL, BUILD, TEMPLATE = "rg-avd-pilot", "hp-pilot", "rg-images-build", "tmpl-office"
STEPS = (
    ensure_source_copied,
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
# As in test_source_host: a sample of the writes here, all of them with EVERGOLD_SOAK.
EVERY_WRITE = 8


def image_set() -> ImageSet:
    where = {"pool": POOL, "resource_group": GROUP, "hosts_resource_group": GROUP}
    swapped = {"disk": "swap_into_template", "template_vm": TEMPLATE}
    plain = small_image_set(source={"kind": "session_host", **where, **swapped}, customise=[])
    return plain.model_copy(update={"rollout": RolloutPolicy(min_drain_minutes=1, settle_minutes=1)})


def run(body: Callable[[Simulated], Awaitable[Any]], **changes: Any) -> Any:
    """Run a body in the small world with five hosts and a template that is switched off."""
    pools = [load("small").host_pools[0].model_copy(update={"hosts": 5})]

    async def with_template(world: Simulated) -> Any:
        image = MarketplaceImage("microsoftwindowsdesktop", "office-365", "win11-25h2-avd-m365", "26200.9231.261110")
        subnet = f"{NETWORKS}/vnet-build/subnets/snet-build"
        await world.azure.compute.create_vm(
            VmSpec(TEMPLATE, BUILD, "westeurope", "Standard_D4s_v5", subnet, image, ADMINISTRATOR, new_password())
        )
        await world.azure.compute.deallocate(BUILD, TEMPLATE)
        return await body(world)

    return simulated(with_template, image_set(), host_pools=pools, **changes)


def template(world: Simulated) -> Machine:
    return next(each for each in world.cloud.compute.machines() if each.name == TEMPLATE)


async def whole_build(world: Simulated) -> str:
    """What the flow does from its top, at every start."""
    refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
    candidate = await publish.find_candidate(world.azure, world.image_set, refresh)
    if candidate is None:
        for ensure in STEPS:
            await ensure(world.azure, world.image_set, refresh)
        candidate = await publish.ensure_version_published(world.azure, world.image_set, refresh)
    await build.ensure_build_cleaned(world.azure, world.image_set, refresh)
    return candidate.version


def assert_as_before(world: Simulated) -> None:
    """The template is as it was, and nothing of the build is left but the snapshot that retention keeps."""
    found = template(world)
    assert (found.power, found.disk.name, found.generalized, found.tags) == (
        "deallocated",
        f"{TEMPLATE}-os",
        False,
        {},
    )
    assert found.disk.managed_by == found.id
    left = [disk.name for disk in world.cloud.disks.all() if disk.name.startswith("evg-")]
    assert [name for name in left if not name.endswith("-before-sysprep")] == []
    assert world.cloud.truth.report()["violations"] == []


def test_the_copy_is_built_on_the_templates_hardware_twice_and_the_template_is_as_it_was() -> None:
    async def body(world: Simulated) -> None:
        for version in ("1.1.0", "1.2.0"):
            assert await whole_build(world) == version
            assert_as_before(world)
            refresh = await begin_refresh(world.azure, world.image_set, world.azure.clock.now())
            await end_refresh(world.azure, world.image_set, refresh)
            await world.azure.clock.sleep(3600)
        assert world.wire.sent("PUT", "/runCommands/sysprep") == 2
        assert world.wire.sent("POST", "/generalize") == 0

    run(body)


def test_a_template_that_somebody_uses_is_left_alone() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.start(BUILD, TEMPLATE)
        checks = {check.name: check for check in await check_image_set(world.azure, world.image_set)}
        assert checks["template VM"].measured == f"{TEMPLATE}: It is running: somebody may be using it."
        with pytest.raises(StepFailure, match="somebody may be using it"):
            await whole_build(world)
        assert (template(world).power, template(world).tags) == ("running", {})

    run(body)


@pytest.mark.parametrize("given", [{"disk": "swap_into_template"}, {"template_vm": TEMPLATE}])
def test_a_template_is_named_where_a_disk_is_swapped_into_it_and_only_there(given: dict[str, str]) -> None:
    where = {"pool": POOL, "resource_group": GROUP, "hosts_resource_group": GROUP}
    with pytest.raises(ValueError, match="do not belong together"):
        small_image_set(source={"kind": "session_host", **where, **given})


def test_preflight_passes_a_template_that_is_free() -> None:
    async def body(world: Simulated) -> None:
        checks = {check.name: check for check in await check_image_set(world.azure, world.image_set)}
        assert checks["template VM"].verdict == "pass"

    run(body)


def test_a_failed_build_gives_the_template_back_when_its_time_is_up() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(StepFailure, match="prepare"):
            await whole_build(world)
        assert tags.TEMPLATE_DISK in template(world).tags
        await world.azure.clock.sleep(build.lifetime(world.image_set).total_seconds() + 1)
        await remove_leftovers(world.azure, world.image_set)
        assert_as_before(world)

    run(body, guest_failures={"prepare": "exit:1"})


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else EVERY_WRITE))
def test_a_build_on_a_template_that_dies_after_any_of_its_writes_comes_to_the_same_end(first: int) -> None:
    async def writes(world: Simulated) -> int:
        before = world.wire.writes
        await whole_build(world)
        return world.wire.writes - before

    async def killed(world: Simulated, after: int) -> None:
        world.wire.dies_after_writes = after
        with pytest.raises(Killed):
            await whole_build(world)
        world.wire.dies_after_writes = None
        await whole_build(world)
        versions = await world.azure.galleries.list_versions(definition_of(world.image_set))
        assert sorted(version.name or "" for version in versions) == ["1.0.0", "1.1.0"]
        assert_as_before(world)

    for after in range(1 + first, run(writes) + 1, EVERY_WRITE):
        run(partial(killed, after=after))
