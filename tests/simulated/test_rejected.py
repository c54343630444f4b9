"""A candidate that was rejected leaves no host behind, and no device: but nothing goes that somebody may need, or that cannot be seen."""

from __future__ import annotations

import pytest

from evergold import tags
from evergold.images.refresh import Refresh
from evergold.rollout.engine import roll_out
from simulator.kernel.faults import Fault
from tasks.rollout import CanaryLeftError, remove_canary
from tests.support.rollouts import GROUP, ME, NEW, ignore, place, world
from tests.support.simulated import Simulated, simulated

OLD_HOSTS = {"pil-001", "pil-002"}
REFRESH = Refresh(id="office-1", image_set="office", version=NEW, source="a source")


async def with_canary(world: Simulated) -> str:
    """A canary waits in drain mode for a decision; its name."""
    await roll_out(place(world, canary_only=True), ME, ignore)
    (canary,) = {machine.name for machine in world.cloud.compute.machines()} - OLD_HOSTS
    return canary


def left(world: Simulated) -> tuple[set[str], set[str], set[str]]:
    """The names of machines, of session hosts and of devices."""
    return (
        {machine.name for machine in world.cloud.compute.machines()},
        {host.name for host in world.cloud.desktop.hosts()},
        {device.name for device in world.cloud.devices.devices.values()},
    )


def test_after_a_rejection_the_canary_is_gone_from_azure_the_pool_and_the_directory_and_nothing_else_is() -> None:
    async def body(world: Simulated) -> None:
        canary = await with_canary(world)
        assert all(canary in names for names in left(world))
        await remove_canary.fn(world.azure, world.image_set, REFRESH)
        assert left(world) == (OLD_HOSTS, OLD_HOSTS, OLD_HOSTS)
        assert len(world.cloud.network.nics()) == len(OLD_HOSTS)
        await remove_canary.fn(world.azure, world.image_set, REFRESH)

    simulated(body, **world())


def test_a_canary_that_a_person_keeps_or_has_opened_is_left_to_them() -> None:
    async def body(world: Simulated) -> None:
        canary = await with_canary(world)
        await world.azure.compute.update_vm_tags(GROUP, canary, {tags.KEEP: "Ada looks at it"})
        await remove_canary.fn(world.azure, world.image_set, REFRESH)
        assert all(canary in names for names in left(world))
        await world.azure.compute.update_vm_tags(GROUP, canary, {}, (tags.KEEP,))
        await world.azure.desktops.set_allow_new_session(GROUP, "hp-pilot", canary, True)
        await remove_canary.fn(world.azure, world.image_set, REFRESH)
        assert all(canary in names for names in left(world))

    simulated(body, **world())


def test_where_azure_does_not_list_every_host_nothing_is_deleted_and_the_run_says_so() -> None:
    async def body(world: Simulated) -> None:
        await with_canary(world)
        before = left(world)
        world.cloud.faults.planned.append(Fault(path="/virtualMachines$", method="GET", times=99))
        with pytest.raises(CanaryLeftError, match=r"did not list every host of hp-pilot.*the decision stands"):
            await remove_canary.fn(world.azure, world.image_set, REFRESH)
        assert left(world) == before

    simulated(body, **world())
