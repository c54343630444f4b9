"""The way back: retained hosts serve again before anything is made, and the version that was left is nobody's latest any more."""

import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.images.publish import ensure_withdrawn, find_version
from evergold.rollout.act import Place
from evergold.rollout.back import NoWayBackError, way_back
from evergold.rollout.engine import RolloutHalted, Tick, roll_out, watch_of
from simulator.scenario import load
from tests.support.rollouts import GROUP, ME, NEW, OLD, ignore, place, world
from tests.support.simulated import Killed, Simulated, dies_after, simulated

BACK = "office-back-to-1.0.0-20261112-2000"
# A death after each write of a roll back takes minutes: a few of them here, all of them with EVERGOLD_SOAK (make soak).
EVERY_WRITE = 6
# From "start" to a desktop: a boot, the agent's registration, two minutes of health, and the ticks between them.
ONE_BOOT = timedelta(minutes=12)


def there(world: Simulated) -> Place:
    """The roll back to the old version."""
    return place(world, BACK, OLD, rollback=True)


def quick(place: Place) -> Place:
    """The same, without waiting for what these tests are not about."""
    policy = replace(place.policy, surge=2, waves=(100,), settle_minutes=0, min_drain_minutes=0, min_ready_minutes=0)
    return replace(place, policy=policy)


def moved(hosts: int = 2, retained: int = 2, people: int = 5) -> dict[str, Any]:
    """A pool whose hosts are on the new version, and the hosts that it had before, in a pool of their own."""
    (pool,) = load("small").host_pools
    now = {"hosts": hosts, "people": people, "image_version": f"gal_evergold/office/{NEW}"}
    before = {"hosts": retained, "people": 0, "name": "hp-before", "host_prefix": "old"}
    return world(host_pools=[pool.model_copy(update=now), pool.model_copy(update=before)])


async def retire(world: Simulated) -> None:
    """What the rollout to the new version has left of the hosts before."""
    tagged = {tags.RETIRED_AT: tags.format_time(world.azure.clock.now()), tags.POOL: str(place(world).pool_id)}
    for host in [each for each in world.cloud.desktop.hosts() if each.pool.name == "hp-before"]:
        await world.azure.desktops.delete_session_host(GROUP, "hp-before", host.name)
        await world.azure.compute.begin_deallocate(GROUP, host.name)
        kept = {
            tags.RETAIN_UNTIL: "2026-11-15T00:00:00Z",
            tags.REPLACE: "office-1/x",
            tags.DRAINED_AT: "2026-11-12T00:00:00Z",
        }
        await world.azure.compute.update_vm_tags(GROUP, host.name, tagged | kept)


def serving(world: Simulated, version: str) -> set[str]:
    """Names of the hosts on a version that take new sessions."""
    found = set()
    for host in world.cloud.desktop.hosts():
        machine = world.cloud.compute.find(host.vm)
        if machine is not None and machine.image_reference["id"].endswith(version) and host.usable:
            found.add(host.name)
    return found


def assert_back(world: Simulated) -> None:
    """The old hosts serve, the new ones are off and kept, nothing was made and nobody was harmed."""
    assert serving(world, OLD) == {"old-001", "old-002"}
    assert {host.name for host in world.cloud.desktop.hosts()} == {"old-001", "old-002"}
    machines = {machine.name: machine for machine in world.cloud.compute.machines()}
    assert sorted(machines) == ["old-001", "old-002", "pil-001", "pil-002"]
    for name in ("pil-001", "pil-002"):
        assert machines[name].power == "deallocated"
        assert tags.RETAIN_UNTIL in machines[name].tags
    assert all(tags.RETAIN_UNTIL not in machines[name].tags for name in ("old-001", "old-002"))
    assert all(tags.LEASE not in pool.tags for pool in world.cloud.desktop.pools.values())
    violations = world.cloud.truth.report()["violations"]
    assert [each for each in violations if "hp-before" not in each] == []


def test_retained_hosts_serve_again_and_no_host_is_made() -> None:
    async def body(world: Simulated) -> None:
        await retire(world)
        last = await roll_out(there(world), ME, ignore)
        assert (last.plan.done, last.plan.replaced) == (True, 2)
        assert_back(world)

    simulated(body, **moved())


def test_ten_retained_hosts_are_back_in_the_time_of_one_boot() -> None:
    async def body(world: Simulated) -> None:
        await retire(world)
        begun = world.azure.clock.now()
        took: list[timedelta] = []

        async def look(tick: Tick) -> None:
            if not took and len(serving(world, OLD)) == 10:
                took.append(tick.at - begun)

        await roll_out(there(world), ME, look)
        assert took[0] < ONE_BOOT

    simulated(body, **moved(hosts=10, retained=10, people=0))


def test_a_roll_back_of_a_rollout_that_is_half_done_ends_on_the_old_version_too() -> None:
    async def body(world: Simulated) -> None:
        async def until_one_is_retired(tick: Tick) -> None:
            if tick.plan.replaced:
                raise Killed

        with pytest.raises(Killed):
            await roll_out(place(world), ME, until_one_is_retired)
        await roll_out(there(world), ME, ignore)
        assert serving(world, OLD) == {"pil-001", "pil-002"}
        assert not serving(world, NEW)
        assert world.cloud.truth.report()["violations"] == []

    simulated(body, **world())


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else 3))
def test_a_roll_back_of_a_rollout_that_died_after_any_of_its_writes_has_every_host_serve(first: int) -> None:
    async def writes(world: Simulated) -> int:
        await roll_out(quick(place(world)), ME, ignore)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        await dies_after(world, after, lambda: roll_out(quick(place(world)), ME, ignore))
        await roll_out(quick(there(world)), ME, ignore)
        assert serving(world, OLD) == {"pil-001", "pil-002"}, f"after {after} writes"
        assert not serving(world, NEW)
        assert world.cloud.truth.report()["violations"] == []

    for after in range(1 + first, simulated(writes, **world()) + 1, EVERY_WRITE):
        simulated(partial(killed, after=after), **world())


def test_going_to_a_lower_version_without_saying_roll_back_is_refused() -> None:
    async def body(world: Simulated) -> None:
        await retire(world)
        with pytest.raises(RolloutHalted, match="this rollout is no roll back"):
            await roll_out(place(world, "office-2", OLD), ME, ignore)
        assert serving(world, NEW) == {"pil-001", "pil-002"}

    simulated(body, **moved())


def test_a_retained_host_that_does_not_register_again_is_kept_and_another_is_made() -> None:
    async def body(world: Simulated) -> None:
        await retire(world)
        world.cloud.scenario.guest_failures["register-host"] = "once:exit:1"
        await roll_out(there(world), ME, ignore)
        machines = {machine.name: machine for machine in world.cloud.compute.machines()}
        given_up = [name for name in ("old-001", "old-002") if tags.FAILED in machines[name].tags]
        assert len(given_up) == 1
        assert machines[given_up[0]].power == "deallocated"
        assert len(serving(world, OLD)) == 2

    simulated(body, **moved())


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else 6))
def test_a_roll_back_that_dies_after_any_of_its_writes_comes_to_the_same_end(first: int) -> None:
    async def writes(world: Simulated) -> int:
        await retire(world)
        before = world.wire.writes
        await roll_out(quick(there(world)), ME, ignore)
        return world.wire.writes - before

    async def killed(world: Simulated, after: int) -> None:
        await retire(world)
        await dies_after(world, after, lambda: roll_out(quick(there(world)), ME, ignore))
        await roll_out(quick(there(world)), ME, ignore)
        assert_back(world)

    for after in range(1 + first, simulated(writes, **moved()) + 1, EVERY_WRITE):
        simulated(partial(killed, after=after), **moved())


def test_the_way_back_is_read_from_the_pool() -> None:
    async def body(world: Simulated) -> None:
        definition = place(world).target.image_version_id.rpartition("/versions/")[0]
        with pytest.raises(NoWayBackError, match="No host is retained"):
            way_back(await watch_of(place(world)).look(), definition)
        await retire(world)
        found = way_back(await watch_of(place(world)).look(), definition)
        assert (found.version_id.rpartition("/")[2], found.left) == (OLD, (NEW,))
        assert found.retained == ("old-001", "old-002")
        await roll_out(there(world), ME, ignore)
        again = way_back(await watch_of(place(world)).look(), definition)
        assert again.version_id == found.version_id, "what was retired on the way back is no way back"
        with pytest.raises(NoWayBackError, match="would be no way back"):
            way_back(await watch_of(place(world)).look(), definition, "1.2.0")

    simulated(body, **moved())


def test_the_version_that_was_left_is_nobodys_latest_and_says_who_left_it_and_why() -> None:
    async def body(world: Simulated) -> None:
        await ensure_withdrawn(world.azure, world.image_set, NEW, "Ada", "Teams does not start")
        found = await find_version(world.azure, world.image_set, NEW)
        assert found is not None
        assert (found.excluded, found.state) == (True, "rejected")
        assert found.tags[tags.WITHDRAWN].endswith("|Ada|Teams does not start")
        before = world.wire.writes
        await ensure_withdrawn(world.azure, world.image_set, NEW, "Ada", "Teams does not start")
        assert world.wire.writes == before, "once is enough"

    simulated(body, **world())
