"""Hosts replaced in place, under their names, in the small world of two: whole, after each death, and where it is refused."""

import os
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.rollout.engine import RolloutHalted, Tick, roll_out
from simulator.scenario import load
from simulator.session_hosts import Pool
from tests.support.rollouts import ME, NEW, OLD, ignore, place, world
from tests.support.simulated import Killed, Simulated, simulated, small_image_set

IN_PLACE = {"strategy": "in_place", "capacity_floor_percent": 50, "settle_minutes": 1, "min_drain_minutes": 1}
SOAK = bool(os.environ.get("EVERGOLD_SOAK"))
# A death after each write takes a minute: two of them here (a deletion and a creation were sent), all with EVERGOLD_SOAK (make soak).
EVERY_WRITE = 25
FIRST = 11


async def rolled_out(world: Simulated, **target: Any) -> Tick:
    return await roll_out(place(world, **target), ME, ignore)


def three() -> dict[str, Any]:
    """The pool has three hosts, on which nobody is."""
    pool = load("small").host_pools[0]
    return {"host_pools": [pool.model_copy(update={"hosts": 3, "people": 0})]}


def run(body: Any, **changes: Any) -> Any:
    return simulated(body, small_image_set(rollout=IN_PLACE), **world(**changes))


def assert_replaced(world: Simulated, version: str = NEW) -> None:
    """The same two names, each on the version and open; nothing is left of what they were; nobody was harmed."""
    assert sorted((host.name, host.allow_new_session) for host in world.cloud.desktop.hosts()) == [
        ("pil-001", True),
        ("pil-002", True),
    ]
    machines = world.cloud.compute.machines()
    assert sorted(machine.name for machine in machines) == ["pil-001", "pil-002"]
    assert all(machine.image_reference["id"].endswith(version) for machine in machines)
    assert len(world.cloud.network.nics()) == 2
    # The world asks for 80 %; this image set, of two hosts of which one is away, for 50.
    assert world.cloud.truth.report()["violations"] == ["capacity of hp-pilot fell to 50 %"]


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if SOAK else EVERY_WRITE))
def test_each_host_goes_before_its_successor_comes_under_its_name_and_whenever_the_run_dies_the_end_is_the_same(
    first: int,
) -> None:
    async def writes(world: Simulated) -> int:
        most = 0

        async def report(tick: Tick) -> None:
            nonlocal most
            most = max(most, len(tick.snapshot.hosts))

        last = await roll_out(place(world), ME, report)
        assert (last.plan.done, last.plan.replaced, last.plan.total, most) == (True, 2, 2, 2)
        assert_replaced(world)
        return sum(method != "GET" and path.startswith("/subscriptions") for method, path in world.wire.calls)

    async def killed(world: Simulated, after: int) -> None:
        world.wire.dies_after_writes, world.wire.dies_for_good = after, True
        with pytest.raises(Killed):
            await rolled_out(world)
        world.wire.dead = False
        await rolled_out(world)
        assert_replaced(world)

    for after in range(1 + (first + FIRST) % EVERY_WRITE, run(writes) + 1, EVERY_WRITE):
        run(partial(killed, after=after))


def test_a_roll_back_makes_the_hosts_anew_on_the_earlier_version() -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        await roll_out(place(world, "office-1-back", OLD, rollback=True), ME, ignore)
        assert_replaced(world, OLD)

    run(body)


def personal(world: Simulated) -> Pool:
    """The world's pool as a personal one, whose first host is Ada's."""
    (pool,) = world.cloud.desktop.pools.values()
    pool.host_pool_type, pool.load_balancer = "Personal", "Persistent"
    pool.hosts["pil-001"].assigned_user = "ada@contoso.com"
    return pool


def versions(world: Simulated) -> dict[str, str]:
    """The version that each host of the pool was made from."""
    vms = {machine.id: machine for machine in world.cloud.compute.machines()}
    return {host.name: vms[host.vm].image_reference["id"].rpartition("/")[2] for host in world.cloud.desktop.hosts()}


def test_in_a_personal_pool_hosts_that_are_nobodys_are_replaced_and_those_that_people_own_stay() -> None:
    async def body(world: Simulated) -> None:
        pool = personal(world)
        last = await rolled_out(world)
        assert (last.plan.done, last.plan.replaced) == (True, 2)
        assert versions(world) == {"pil-001": OLD, "pil-002": NEW, "pil-003": NEW}
        assert all(host.allow_new_session for host in pool.hosts.values())
        assert world.cloud.desktop.sign_in(pool, "ada@contoso.com") is not None

    run(body, **three())


def test_a_host_that_becomes_somebodys_own_while_it_drains_is_opened_for_them_and_stays() -> None:
    async def body(world: Simulated) -> None:
        pool = personal(world)

        async def report(tick: Tick) -> None:
            drained = [host for host in pool.hosts.values() if not host.allow_new_session and not host.assigned_user]
            if not given and drained and tags.DRAINED_AT in world.cloud.compute.find(drained[0].vm).tags:  # type: ignore[union-attr]  # it stands
                drained[0].assigned_user = "grace@contoso.com"
                given.append(drained[0].name)

        given: list[str] = []
        await roll_out(place(world), ME, report)
        (graces,) = given
        assert {name for name, version in versions(world).items() if version == OLD} == {"pil-001", graces}
        assert world.cloud.desktop.sign_in(pool, "grace@contoso.com") is not None

    run(body, **three())


@pytest.mark.parametrize("left", ["keeps_disk", "keeps_nic"])
def test_a_host_of_which_something_would_stay_behind_is_refused_before_anything_changes(left: str) -> None:
    async def body(world: Simulated) -> None:
        setattr(world.cloud.compute.machines()[0], left, True)
        with pytest.raises(RolloutHalted, match=r"pil-001 .*would stay behind.*Nothing was changed"):
            await rolled_out(world)
        assert not any(tags.REPLACE in machine.tags for machine in world.cloud.compute.machines())

    run(body)
