"""A rollout and the pool's scaling plan: they do not work against each other, and the plan is back on every way out."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from evergold import tags
from evergold.rollout.engine import Tick, roll_out
from simulator.kernel.faults import Fault
from simulator.scenario import HostPool, load
from tests.support.rollouts import GROUP, ME, OLD, POOL, ignore, place, world
from tests.support.scaling import TAG, assign_plan, is_enabled
from tests.support.simulated import Killed, Simulated, simulated, small_image_set

NIGHT = timedelta(hours=4).total_seconds()


async def with_plan(world: Simulated, tag: str | None = TAG, **changes: Any) -> None:
    await assign_plan(world, str(place(world).pool_id), tag, **changes)


async def until(world: Simulated, wall_clock: str) -> None:
    """Waits until it is so late where the plan's users are."""
    wanted, zone = time.fromisoformat(wall_clock), ZoneInfo("Europe/Berlin")
    now = world.azure.clock.now().astimezone(zone)
    then = datetime.combine(now.date() + timedelta(days=now.time() >= wanted), wanted, zone)
    await world.azure.clock.sleep((then.astimezone(UTC) - now).total_seconds())


def wall_clock(tick: Tick) -> time:
    return tick.at.astimezone(ZoneInfo("Europe/Berlin")).time()


def four_hosts() -> list[HostPool]:
    """The small world's pool with four hosts, and nobody who works at night."""
    (pool,) = load("small").host_pools
    return [pool.model_copy(update={"hosts": 4, "late_workers": 0.0})]


def powers(world: Simulated) -> dict[str, str]:
    """What each machine does."""
    return {machine.name: machine.power for machine in world.cloud.compute.machines()}


def test_left_to_itself_a_plan_switches_hosts_off_at_night_and_on_in_the_morning() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)
        await world.azure.clock.sleep(NIGHT)
        await world.azure.desktops.list_session_hosts(GROUP, POOL)
        assert sorted(powers(world).values()) == ["deallocated", "running"]
        await world.azure.clock.sleep(timedelta(hours=10).total_seconds())
        await world.azure.desktops.list_session_hosts(GROUP, POOL)
        assert set(powers(world).values()) == {"running"}
        assert all(host.allow_new_session for host in world.cloud.desktop.hosts())

    simulated(body, **world())


def test_a_plan_is_put_back_though_the_list_of_plans_lacks_it() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)

        async def lose_the_list(tick: Tick) -> None:
            world.cloud.gate.faults.planned = [Fault(method="GET", path="/scalingPlans$", lacks=".", times=1000)]

        await roll_out(place(world), ME, lose_the_list)
        assert await is_enabled(world)
        assert all(tags.SCALING not in pool.tags for pool in world.cloud.desktop.pools.values())

    simulated(body, **world())


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "assigned to others"])
def test_a_plan_that_is_not_the_pools_any_more_is_let_go(is_deleted: bool) -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)

        async def take_it(tick: Tick) -> None:
            if is_deleted:
                world.cloud.scaling.plans.clear()
            for plan in world.cloud.scaling.plans.values():
                plan.properties["hostPoolReferences"] = []

        await roll_out(place(world), ME, take_it)
        assert all(tags.SCALING not in pool.tags for pool in world.cloud.desktop.pools.values())

    simulated(body, **world())


def test_left_to_itself_a_plan_overwrites_drain_mode_but_not_on_a_host_that_bears_its_tag() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)
        await world.azure.clock.sleep(timedelta(hours=16).total_seconds())
        await world.azure.compute.update_vm_tags(GROUP, "pil-002", {TAG: "yes"})
        for name in ("pil-001", "pil-002"):
            await world.azure.desktops.set_allow_new_session(GROUP, POOL, name, False)
        await world.azure.clock.sleep(600)
        await world.azure.desktops.list_session_hosts(GROUP, POOL)
        assert {host.name: host.allow_new_session for host in world.cloud.desktop.hosts()} == {
            "pil-001": True,
            "pil-002": False,
        }

    simulated(body, **world())


def test_a_rollout_suspends_the_plan_and_puts_it_back_when_it_is_done() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)
        enabled: list[bool] = []

        async def look(_: Tick) -> None:
            enabled.append(await is_enabled(world))

        last = await roll_out(place(world), ME, look)
        assert last.plan.done
        assert not any(enabled)
        assert await is_enabled(world)
        assert tags.SCALING not in pool_tags(world)
        assert TAG not in tags_of_hosts(world)
        assert world.cloud.truth.report()["cut_off"] == 0

    simulated(body, **world())


def test_a_rollout_at_night_lets_hosts_sleep_and_wakes_them_ahead_of_ramp_up() -> None:
    """One of four is on at night, and the second wave begins after sunrise. The world's own watch has nothing against it at any moment."""
    ticks: list[Tick] = []

    async def body(world: Simulated) -> None:
        await with_plan(world, least=25)
        await until(world, "02:00")
        await world.azure.desktops.list_session_hosts(GROUP, POOL)
        slept = {name for name, power in powers(world).items() if power == "deallocated"}
        assert len(slept) == 3

        async def look(tick: Tick) -> None:
            ticks.append(tick)

        last = await roll_out(place(world), ME, look)
        assert (last.plan.done, last.plan.replaced) == (True, 4)
        assert world.cloud.watch.broken == []
        for tick in ticks:
            running = {h.name for h in tick.snapshot.hosts if h.registered and h.power in ("running", "starting")}
            gone = {name for name, note in tick.plan.notes.items() if note.state in ("emptying", "removed", "retired")}
            if wall_clock(tick) < time(6, 30):
                assert not running & slept
            elif wall_clock(tick) > time(6, 45):
                assert slept - gone <= running | {h.name for h in tick.snapshot.hosts if not h.registered}
            if wall_clock(tick) > time(6, 45):
                assert tick.plan.capacity_percent >= 80
        assert {"emptying", "asleep"} <= {note.state for tick in ticks for note in tick.plan.notes.values()}

    simulated(body, small_image_set(rollout={"wave_bake_minutes": 240}), **world(host_pools=four_hosts()))
    hours = {wall_clock(tick).hour: tick.plan.quiet_until is not None for tick in ticks}
    assert (hours[2], hours[6], hours[7], hours[12]) == (True, True, False, False)


def test_a_rollout_that_fits_into_the_night_wakes_nobody() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world, least=25)
        await until(world, "02:00")
        woken: set[str] = set()

        async def look(tick: Tick) -> None:
            woken.update(tick.plan.to_wake)

        last = await roll_out(place(world), ME, look)
        assert (last.plan.done, last.plan.replaced, woken) == (True, 4, set())
        assert wall_clock(last) < time(6, 30)
        assert world.cloud.watch.broken == []
        assert tags.LOWEST_CAPACITY not in pool_tags(world)

    simulated(body, small_image_set(rollout={"wave_bake_minutes": 5}), **world(host_pools=four_hosts()))


def test_a_rollout_by_day_wakes_what_the_plan_had_off_at_once() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world, least=25)
        await until(world, "06:50")  # before the plan itself wakes them
        ticks: list[Tick] = []

        async def look(tick: Tick) -> None:
            ticks.append(tick)

        await roll_out(place(world), ME, look)
        assert len(ticks[0].plan.to_wake) >= 1
        assert world.cloud.watch.broken == []

    simulated(body, **world(host_pools=four_hosts()))


def test_new_hosts_that_slept_between_two_runs_are_woken_and_have_not_failed() -> None:
    """The rollout is cancelled in the evening, the plan takes over for the night, and in the morning somebody starts it again."""

    async def body(world: Simulated) -> None:
        await with_plan(world)
        await until(world, "16:00")
        first = asyncio.create_task(roll_out(place(world), ME, ignore))
        while not [m for m in world.cloud.compute.machines() if m.name == "pil-003" and TAG not in m.tags]:
            await world.azure.clock.sleep(30)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await world.azure.compute.update_vm_tags(GROUP, "pil-001", {TAG: "is on for the night"})
        await world.azure.compute.update_vm_tags(GROUP, "pil-002", {TAG: "too"})
        await until(world, "02:00")
        await world.azure.desktops.list_session_hosts(GROUP, POOL)
        assert powers(world)["pil-003"] == "deallocated"
        last = await roll_out(place(world), ME, ignore)
        assert (last.plan.done, last.plan.replaced, tags.FAILURES in pool_tags(world)) == (True, 2, False)

    simulated(body, **world())


def test_a_rollout_that_is_cancelled_puts_the_plan_back() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)
        rollout = asyncio.create_task(roll_out(place(world), ME, ignore))
        await world.azure.clock.sleep(600)
        assert not await is_enabled(world)
        rollout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rollout
        assert await is_enabled(world)
        assert tags.SCALING not in pool_tags(world)

    simulated(body, **world())


def test_what_a_rollout_that_died_has_suspended_is_put_back_by_the_next_run() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)
        world.wire.dies_after_writes = 3  # lease, note, suspension
        with pytest.raises(Killed):
            await roll_out(place(world), ME, ignore)
        await roll_out(place(world, "office-1", OLD), ME, ignore)
        assert await is_enabled(world)
        assert tags.SCALING not in pool_tags(world)

    simulated(body, **world())


def test_a_canary_bears_the_plans_exclusion_tag_and_the_plan_goes_on() -> None:
    async def body(world: Simulated) -> None:
        await with_plan(world)
        await roll_out(place(world, canary_only=True), ME, ignore)
        await world.azure.clock.sleep(timedelta(days=1).total_seconds())
        await world.azure.desktops.list_session_hosts(GROUP, POOL)
        assert await is_enabled(world)
        canary = next(machine for machine in world.cloud.compute.machines() if machine.name == "pil-003")
        assert TAG in canary.tags
        assert {h.name: h.allow_new_session for h in world.cloud.desktop.hosts()}["pil-003"] is False

    simulated(body, **world())


def pool_tags(world: Simulated) -> dict[str, str]:
    return next(iter(world.cloud.desktop.pools.values())).tags


def tags_of_hosts(world: Simulated) -> set[str]:
    """Every tag of every host in the pool."""
    machines = [world.cloud.compute.find(host.vm) for host in world.cloud.desktop.hosts()]
    return {tag for machine in machines if machine is not None for tag in machine.tags}
