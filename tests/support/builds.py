"""Whole builds in the small world, as the flow does them."""

from __future__ import annotations

from evergold.images import build, publish
from evergold.images.publish import Candidate
from evergold.images.refresh import Refresh, begin_refresh, definition_of
from tests.support.simulated import Simulated, customised

STEPS = (
    build.ensure_build_vm,
    customised,
    build.ensure_prepared,
    build.ensure_manifest,
    build.ensure_sysprepped,
    build.ensure_state_proven,
    build.ensure_deallocated,
    build.ensure_generalized,
)


async def begun(world: Simulated) -> Refresh:
    return await begin_refresh(world.azure, world.image_set, world.azure.clock.now())


async def whole_build(world: Simulated) -> Candidate:
    """What the flow does from its top, at every start."""
    refresh = await begun(world)
    candidate = await publish.find_candidate(world.azure, world.image_set, refresh)
    if candidate is None:
        for ensure in STEPS:
            await ensure(world.azure, world.image_set, refresh)
        candidate = await publish.ensure_version_published(world.azure, world.image_set, refresh, notes="November")
    await build.ensure_build_cleaned(world.azure, world.image_set, refresh)
    return candidate


def left_of_builds(world: Simulated) -> list[str]:
    """Machines, disks and network cards that bear a build machine's name."""
    names = [machine.name for machine in world.cloud.compute.machines()]
    names += [disk.id.rsplit("/", 1)[-1] for disk in world.cloud.disks.all()]
    names += [nic.id.rsplit("/", 1)[-1] for nic in world.cloud.network.nics()]
    return [name for name in names if name.startswith("evg-")]


async def versions(world: Simulated) -> list[str]:
    return sorted(v.name or "" for v in await world.azure.galleries.list_versions(definition_of(world.image_set)))
