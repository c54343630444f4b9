"""A new session host against the simulated Azure: how it comes up, what happens when it does not, and that nothing is sent twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from evergold import tags
from evergold.azure.compute import image_version_of, status_of
from evergold.azure.ids import image_version_id
from evergold.images.guest import StepFailure
from evergold.rollout.arrive import advance_host, host_spec
from evergold.rollout.observe import PoolWatch
from tests.support.simulated import Killed, Simulated, simulated

REFRESH = "office-20261112-1630"
NAME = "pil-0007"
GROUP = "rg-avd-pilot"
LONGEST_MINUTES = 60


def version_id(world: Simulated) -> str:
    subscription = str(world.azure.environment.subscription_id)
    return image_version_id(subscription, "rg-images", "gal_evergold", "office", "1.0.0")


async def create(world: Simulated) -> bool:
    pool = world.image_set.rings[0].pools[0]
    spec = host_spec(world.azure, world.image_set, pool, NAME, version_id(world), REFRESH)
    return await world.azure.compute.begin_create_vm(spec)


async def advance(world: Simulated) -> None:
    """What the engine does at each look with a host that is not in its pool yet."""
    pool = world.image_set.rings[0].pools[0]
    snapshot = await PoolWatch(world.azure, GROUP, "hp-pilot", GROUP).look()
    for host in snapshot.hosts:
        if host.name == NAME:
            await advance_host(world.azure, world.image_set, pool, host, REFRESH)


async def is_listed(world: Simulated) -> bool:
    return await world.azure.desktops.get_session_host(GROUP, "hp-pilot", NAME) is not None


async def bring_up(world: Simulated) -> None:
    """One step a minute, until it is in its pool."""
    for _ in range(LONGEST_MINUTES):
        if await is_listed(world):
            return
        await advance(world)
        await world.azure.clock.sleep(60)
    raise AssertionError(f"{NAME} is not in its pool after {LONGEST_MINUTES} minutes")


def test_a_new_host_ends_in_its_pool_and_bears_the_tags_by_which_it_is_found() -> None:
    async def body(world: Simulated) -> None:
        assert await create(world)
        await bring_up(world)
        vm = await world.azure.compute.get_vm(GROUP, NAME)
        assert vm is not None
        named = vm.tags or {}
        assert (named[tags.REFRESH], named[tags.IMAGE_SET]) == (REFRESH, "office")
        assert named[tags.POOL].endswith("/hostPools/hp-pilot")
        assert (image_version_of(vm) or "").endswith("/versions/1.0.0")
        host = await world.azure.desktops.get_session_host(GROUP, "hp-pilot", NAME)
        assert host is not None
        assert host.virtual_machine_id == (vm.properties.vm_id if vm.properties else None)

    simulated(body)


def test_a_host_whose_name_is_taken_is_not_created_and_the_other_is_left_as_it_is() -> None:
    async def body(world: Simulated) -> None:
        assert await create(world)
        await bring_up(world)
        before = await world.azure.compute.get_vm(GROUP, NAME)
        assert not await create(world)
        assert await world.azure.compute.get_vm(GROUP, NAME) == before

    simulated(body)


def test_a_host_that_is_up_is_asked_for_nothing_more() -> None:
    async def body(world: Simulated) -> None:
        await create(world)
        await bring_up(world)
        writes = [call for call in world.wire.calls if call[0] != "GET"]
        await advance(world)
        assert [call for call in world.wire.calls if call[0] != "GET"] == writes

    simulated(body)


def test_a_host_that_is_gone_is_asked_for_nothing() -> None:
    async def body(world: Simulated) -> None:
        await advance(world)
        assert world.wire.sent("PUT") == 0

    simulated(body)


def test_a_host_comes_up_once_though_the_run_dies_after_any_of_its_writes() -> None:
    async def body(world: Simulated, last_write: int) -> bool:
        world.wire.dies_after_writes = last_write
        for attempt in (create, bring_up):
            await again_if_killed(world, attempt)
        assert await is_listed(world)
        assert world.wire.sent("PUT", "/extensions/AADLoginForWindows") == 1
        assert world.wire.sent("PUT", "/runCommands/register-host") == 1
        return world.wire.dies_after_writes is None

    last_write = 1
    while simulated(lambda world, n=last_write: body(world, n)):  # type: ignore[misc]
        last_write += 1
    assert last_write > 4, "network card, machine, join, token, registration"


async def again_if_killed(world: Simulated, attempt: Callable[[Simulated], Awaitable[object]]) -> None:
    try:
        await attempt(world)
    except Killed:
        await attempt(world)


@pytest.mark.parametrize(
    ("failures", "step", "says"),
    [
        ({"extension": "AADLoginForWindows"}, "join", "-2145648639"),
        ({"register-host": "exit:1"}, "register-host", "failed with 1"),
    ],
)
def test_a_host_that_will_not_come_up_says_at_which_step_and_why(
    failures: dict[str, str], step: str, says: str
) -> None:
    async def body(world: Simulated) -> None:
        await create(world)
        with pytest.raises(StepFailure) as raised:
            await bring_up(world)
        assert (raised.value.step, raised.value.machine) == (step, NAME)
        assert says in str(raised.value)

    simulated(body, guest_failures=failures)


def test_the_registration_token_is_readable_nowhere_after_it_was_sent() -> None:
    async def body(world: Simulated) -> None:
        await create(world)
        await bring_up(world)
        token = await world.azure.desktops.registration_token(GROUP, "hp-pilot")
        path = f"/subscriptions/{world.azure.environment.subscription_id}/resourceGroups/{GROUP}/providers"
        command = await world.azure.arm.get(
            f"{path}/Microsoft.Compute/virtualMachines/{NAME}/runCommands/register-host", "2024-07-01"
        )
        assert command is not None
        assert token.token.get_secret_value() not in str(command)

    simulated(body)


def test_a_new_host_is_running_with_an_agent_that_answers_when_it_is_listed() -> None:
    async def body(world: Simulated) -> None:
        await create(world)
        await bring_up(world)
        vm = await world.azure.compute.get_vm(GROUP, NAME)
        assert vm is not None
        status = status_of(vm)
        assert (status.power, status.agent_ready) == ("running", True)

    simulated(body)
