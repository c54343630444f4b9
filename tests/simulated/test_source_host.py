"""A session host as the source: it is copied, and serves as before; nobody is harmed, and no death on the way leaves it out of service."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.config.models import Checks, ImageSet, RolloutPolicy
from evergold.images import build, publish
from evergold.images.publish import Candidate
from evergold.images.refresh import Refresh, begin_refresh, definition_of
from evergold.images.source import NoSourceHostError, SourceHost
from evergold.images.source_host import (
    SourceHostError,
    ensure_source_copied,
    ensure_source_returned,
    return_left_hosts,
    snapshot_name,
)
from evergold.rollout import lease
from evergold.rollout.lease import LeaseHeldError
from simulator.scenario import load
from simulator.session_hosts import SessionHost
from tests.support.simulated import Killed, Simulated, customised, simulated, small_image_set

GROUP, POOL = "rg-avd-pilot", "hp-pilot"
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
# A death after each write of a copy takes a while: a third of them here, all of them with EVERGOLD_SOAK (make soak).
EVERY_WRITE = 6
NOON = timedelta(hours=18, minutes=30)  # from the world's start to the middle of the next working day


def from_host(**source: Any) -> ImageSet:
    """The small image set, made from a host of its pool."""
    where = {"pool": POOL, "resource_group": GROUP, "hosts_resource_group": GROUP}
    return small_image_set(source={"kind": "session_host", **where, **source})


def quick() -> ImageSet:
    """As above, with little patience: for tests that copy a host many times."""
    patience = RolloutPolicy(min_drain_minutes=1, settle_minutes=1)
    return from_host().model_copy(update={"rollout": patience, "customise": ()})


def world(**changes: Any) -> dict[str, Any]:
    """The small world with five hosts: of so many, one can be done without."""
    pool = load("small").host_pools[0].model_copy(update={"hosts": 5, **changes})
    return {"host_pools": [pool]}


def run(body: Callable[[Simulated], Awaitable[Any]], image_set: ImageSet | None = None, **changes: Any) -> Any:
    return simulated(body, image_set or from_host(), **{**world(), **changes})


async def begun(world: Simulated) -> Refresh:
    return await begin_refresh(world.azure, world.image_set, world.azure.clock.now())


async def copied(world: Simulated) -> Refresh:
    refresh = await begun(world)
    await ensure_source_copied(world.azure, world.image_set, refresh)
    return refresh


async def whole_build(world: Simulated) -> Candidate:
    """What the flow does from its top, at every start."""
    refresh = await begun(world)
    candidate = await publish.find_candidate(world.azure, world.image_set, refresh)
    if candidate is None:
        await ensure_source_copied(world.azure, world.image_set, refresh)
        for ensure in STEPS:
            await ensure(world.azure, world.image_set, refresh)
        candidate = await publish.ensure_version_published(world.azure, world.image_set, refresh)
    await build.ensure_build_cleaned(world.azure, world.image_set, refresh)
    return candidate


def host(world: Simulated, name: str) -> SessionHost:
    return next(each for each in world.cloud.desktop.hosts() if each.name == name)


def assert_as_before(world: Simulated, *, drained: tuple[str, ...] = ()) -> None:
    """All hosts serve, with their drain mode as it was and no note of a copy; nobody was harmed; no lease is held."""
    for each in world.cloud.desktop.hosts():
        machine = world.cloud.compute.find(each.vm)
        assert machine is not None
        assert (machine.power, each.status) == ("running", "Available"), each.name
        assert each.allow_new_session is (each.name not in drained), each.name
        assert machine.tags == {}, each.name
    assert tags.LEASE not in next(iter(world.cloud.desktop.pools.values())).tags
    assert world.cloud.truth.report()["violations"] == []


def left_over(world: Simulated) -> list[str]:
    names = [machine.name for machine in world.cloud.compute.machines()]
    names += [disk.name for disk in world.cloud.disks.all()]
    names += [nic.name for nic in world.cloud.network.nics()]
    return [name for name in names if name.startswith("evg-") and not name.endswith("-before-sysprep")]


# The straight path


def test_an_image_is_made_from_a_copy_of_a_host_that_serves_again_as_before() -> None:
    async def body(world: Simulated) -> None:
        before = {disk.name for disk in world.cloud.disks.all()}
        candidate = await whole_build(world)
        assert (candidate.version, candidate.state) == ("1.1.0", "candidate")
        assert candidate.manifest is not None
        assert candidate.manifest.os.build == "26200.9060", "what the host had, not the newest of the marketplace"
        new = {disk.name for disk in world.cloud.disks.all()} - before
        assert [name for name in new if not name.endswith("-before-sysprep")] == []
        assert left_over(world) == []
        assert_as_before(world)
        assert world.wire.sent("POST", "/generalize") == 1

    run(body)


def test_the_snapshot_is_incremental_and_tagged_and_taken_once_while_the_host_was_off() -> None:
    async def body(world: Simulated) -> None:
        refresh = await copied(world)
        snapshot = await world.azure.disks.get_snapshot("rg-images-build", snapshot_name(refresh))
        assert snapshot is not None
        assert snapshot.properties is not None
        assert snapshot.properties.incremental
        assert snapshot.tags == {**refresh.tags, tags.PURPOSE: "source-host"}
        order = [path.rpartition("/")[2] for method, path in world.wire.calls if method in ("POST", "PUT")]
        wanted = ["deallocate", snapshot_name(refresh), "start"]
        assert [each for each in order if each in wanted] == wanted

    run(body)


def test_copying_twice_is_copying_once() -> None:
    async def body(world: Simulated) -> None:
        refresh = await copied(world)
        writes = [call for call in world.wire.calls if call[0] != "GET"]
        await ensure_source_copied(world.azure, world.image_set, refresh)
        await ensure_source_returned(world.azure, world.image_set, refresh)
        assert [call for call in world.wire.calls if call[0] != "GET"] == writes

    run(body)


# Choosing


def test_the_host_with_the_fewest_sessions_is_chosen_and_frozen() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(NOON.total_seconds())
        refresh = await begun(world)
        assert world.cloud.people.signed_in() > 0
        least = min(world.cloud.desktop.hosts(), key=lambda each: (len(each.sessions), each.name))
        assert refresh.source == f"{least.vm}@{least.vm_id}"
        await world.azure.compute.update_vm_tags(GROUP, least.name, {tags.KEEP: "somebody"})
        assert (await begun(world)).source == refresh.source, "what was chosen stays chosen"

    run(body)


def test_a_host_that_is_kept_or_in_drain_mode_is_not_chosen() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.update_vm_tags(GROUP, "pil-001", {tags.KEEP: "Ada"})
        await world.azure.desktops.set_allow_new_session(GROUP, POOL, "pil-002", False)
        source = SourceHost.parse((await begun(world)).source)
        assert source is not None
        assert source.name == "pil-003"

    run(body)


def test_a_named_host_that_is_missing_or_kept_is_refused_in_words() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(NoSourceHostError, match=r"no session host pil-009 \(it has: pil-001, "):
            await begun(world)

    run(body, from_host(host="pil-009"))

    async def kept(world: Simulated) -> None:
        await world.azure.compute.update_vm_tags(GROUP, "pil-002", {tags.KEEP: "Ada"})
        with pytest.raises(NoSourceHostError, match="tagged pil-002 evergold-keep"):
            await begun(world)

    run(kept, from_host(host="pil-002"))


# As it was


def test_a_host_that_was_in_drain_mode_stays_in_drain_mode() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.desktops.set_allow_new_session(GROUP, POOL, "pil-002", False)
        await copied(world)
        assert_as_before(world, drained=("pil-002",))

    run(body, from_host(host="pil-002"))


def test_a_host_that_was_switched_off_is_copied_and_stays_so() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.deallocate(GROUP, "pil-002")
        await copied(world)
        machine = world.cloud.compute.find(host(world, "pil-002").vm)
        assert machine is not None
        assert (machine.power, machine.tags) == ("deallocated", {})
        assert world.wire.sent("POST", "/start") == 0

    run(body, from_host(host="pil-002"))


# Its users


def test_opportunistic_release_waits_for_its_users_and_brings_it_back_when_they_do_not_leave_in_time() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(timedelta(hours=15, minutes=45).total_seconds())
        with pytest.raises(SourceHostError, match=r"After 1 hours .* still waits for .* users to leave"):
            await copied(world)
        assert world.cloud.people.signed_in() > 0
        assert_as_before(world)
        assert world.cloud.truth.report()["moved"] == 0
        assert world.wire.sent("POST", "/deallocate") == 0

    run(body, from_host(wait_hours=1), **world(people=19))


def test_immediate_release_warns_its_users_and_moves_them() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(NOON.total_seconds())
        await copied(world)
        assert_as_before(world)
        report = world.cloud.truth.report()
        assert report["moved"] + report["left_when_warned"] > 0
        assert report["moved_without_warning"] == 0

    run(body, from_host(release_method="immediate"), **world(people=14))


def test_a_pool_that_cannot_do_without_the_host_is_left_alone() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(
            SourceHostError, match="without it the pool has 12 open session slots, and its capacity floor is 13"
        ):
            await copied(world)
        assert world.wire.sent("PATCH", "/sessionHosts/pil-001") == 0
        assert_as_before(world)

    run(body, from_host(wait_hours=1), **world(hosts=4))


def test_a_hold_on_the_pool_is_waited_for() -> None:
    async def body(world: Simulated) -> None:
        async def held(pool: str) -> str | None:
            return f"{pool}: month end"

        refresh = await begun(world)
        with pytest.raises(SourceHostError, match="waits for the hold to be lifted: hp-pilot: month end"):
            await ensure_source_copied(world.azure, world.image_set, refresh, held)
        assert all(each.allow_new_session for each in world.cloud.desktop.hosts())
        assert_as_before(world)

    run(body, from_host(wait_hours=1))


# What goes wrong


def test_a_rollout_that_has_the_pool_comes_first() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        pool = world.cloud.desktop.hosts()[0].pool
        pool.tags[tags.LEASE] = str(
            lease.Lease("office-0", "somebody", world.azure.clock.now() + timedelta(minutes=10))
        )
        with pytest.raises(LeaseHeldError, match="office-0"):
            await ensure_source_copied(world.azure, world.image_set, refresh)
        assert all(each.allow_new_session for each in world.cloud.desktop.hosts())

    run(body)


def test_a_host_that_cannot_be_started_at_once_is_started_again() -> None:
    async def body(world: Simulated) -> None:
        await copied(world)
        assert world.wire.sent("POST", "/start") == 2
        assert_as_before(world)

    run(body, guest_failures={"start": "1:AllocationFailed"})


def test_a_host_that_does_not_come_back_keeps_its_note_and_the_daily_run_brings_it_back() -> None:
    failures = ",".join(f"{number}:AllocationFailed" for number in range(1, 12))

    async def body(world: Simulated) -> None:
        with pytest.raises(SourceHostError, match=r"does not serve again.* Drain mode is as it was\."):
            await copied(world)
        assert host(world, "pil-001").allow_new_session
        world.cloud.scenario.guest_failures.clear()
        assert await return_left_hosts(world.azure, world.image_set) == ["pil-001"]
        assert_as_before(world)

    hurried = from_host(host="pil-001").model_copy(update={"checks": Checks(settle_timeout_minutes=10)})
    run(body, hurried, guest_failures={"start": failures})


def test_the_daily_run_leaves_a_host_alone_whose_copy_is_under_way() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        chosen = SourceHost.parse(refresh.source)
        assert chosen is not None
        world.wire.dies_after_writes = 5
        with pytest.raises(Killed):
            await ensure_source_copied(world.azure, world.image_set, refresh)
        assert await return_left_hosts(world.azure, world.image_set) == []
        await world.azure.clock.sleep(lease.LEASE_MINUTES * 60 + 1)
        assert await return_left_hosts(world.azure, world.image_set) == [chosen.name]
        assert_as_before(world)

    run(body)


def test_another_machine_under_the_hosts_name_is_never_touched() -> None:
    async def body(world: Simulated) -> None:
        refresh = await begun(world)
        machine = world.cloud.compute.find(host(world, "pil-001").vm)
        assert machine is not None
        machine.vm_id = host(world, "pil-001").vm_id = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(SourceHostError, match="another machine"):
            await ensure_source_copied(world.azure, world.image_set, refresh)
        assert (machine.power, machine.tags) == ("running", {})

    run(body, from_host(host="pil-001"))


# Dying anywhere


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else 3))
def test_a_build_from_a_host_that_dies_after_any_of_its_writes_comes_to_the_same_end(first: int) -> None:
    async def writes(world: Simulated) -> int:
        await whole_build(world)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        world.wire.dies_after_writes = after
        with pytest.raises(Killed):
            await whole_build(world)
        world.wire.dies_after_writes = None
        await whole_build(world)
        versions = await world.azure.galleries.list_versions(definition_of(world.image_set))
        assert sorted(version.name or "" for version in versions) == ["1.0.0", "1.1.0"]
        assert world.wire.sent("PUT", "/versions/1.1.0") == 1
        assert world.wire.sent("PUT", "-before-sysprep") == 1
        assert len([disk for disk in world.cloud.disks.all() if disk.kind == "snapshots"]) == 1
        assert left_over(world) == []
        assert_as_before(world)

    for after in range(1 + first, run(writes, quick()) + 1, EVERY_WRITE):
        run(partial(killed, after=after), quick())


def test_a_run_that_fails_or_is_cancelled_at_any_write_of_the_copy_leaves_the_host_serving() -> None:
    class BrokenOffError(Exception):
        """Something went wrong in the process, and it lives on to clean up."""

    async def body(world: Simulated, after: int) -> bool:
        refresh = await begun(world)
        world.wire.dies_after_writes, world.wire.dies_of = after, BrokenOffError
        try:
            await ensure_source_copied(world.azure, world.image_set, refresh)
        except BrokenOffError:
            assert_as_before(world)
            return True
        return False

    after = 1
    while run(partial(body, after=after), quick()):
        after += 1
    assert after > 6, "a copy makes more writes than that"
