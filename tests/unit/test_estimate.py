"""A rollout run ahead: how long it takes, who goes in which order, and who is moved."""

from dataclasses import replace
from datetime import time
from typing import Any

import pytest

from evergold.rollout.estimate import ACTS, Estimate, Ranges, estimate, run_ahead
from evergold.rollout.model import Host, Kind, Policy, Snapshot
from evergold.rollout.quiet import Schedule
from evergold.rollout.windows import Window
from tests.support.moments import EPOCH
from tests.support.pools import host, look, old, target, way_back

EXACT = Ranges(come_up=(20, 20), come_back=(5, 5), stay=(60, 60))
AT_ONCE = Policy(surge=4, waves=(100,))
IMMEDIATE = Policy(release_method="immediate", surge=4, waves=(100,))


def occupied(name: str, users: int) -> Host:
    return replace(old(name, users=users), tags={})


def expected(*hosts: Host, policy: Policy = AT_ONCE, ranges: Ranges = EXACT, **aim: Any) -> Estimate:
    return estimate(look(*hosts), target(0, **aim), policy, EPOCH, ranges)


def test_it_ends_after_the_canary_the_other_hosts_and_the_time_that_old_ones_drain() -> None:
    result = expected(host("a"), host("b"), host("c"))
    assert result.hosts == ("a", "b", "c")
    assert 50 <= result.low_minutes == result.high_minutes <= 75
    assert result.words == f"about {result.low_minutes} minutes"


def test_it_can_be_had_in_small_steps_so_that_nothing_waits_seconds_for_it() -> None:
    pool = look(host("a"), host("b"))
    *before, last = run_ahead(pool, target(0), AT_ONCE, EPOCH, EXACT)
    assert len(before) > 10
    assert not any(before)
    assert last == expected(host("a"), host("b"))


def test_the_more_may_stand_beside_the_pool_the_sooner_it_ends() -> None:
    hosts = [host(f"h{n}") for n in range(8)]
    assert (
        expected(*hosts, policy=replace(AT_ONCE, surge=8)).high_minutes
        < expected(*hosts, policy=replace(AT_ONCE, surge=1)).low_minutes
    )


def test_users_who_are_waited_for_make_it_longer_and_are_not_moved() -> None:
    result = expected(occupied("a", 3), host("b"), ranges=replace(EXACT, stay=(120, 120)))
    assert result.users_moved == 0
    assert result.hosts == ("b", "a")
    assert result.high_minutes > 120


def test_under_immediate_release_users_are_moved_instead() -> None:
    result = expected(occupied("a", 3), host("b"), policy=IMMEDIATE, ranges=replace(EXACT, stay=(900, 900)))
    assert result.users_moved == 3
    assert result.high_minutes < 120


def test_a_range_of_times_gives_a_range_and_the_same_each_time() -> None:
    hosts = [occupied(f"h{n}", 2) for n in range(5)]
    result = expected(*hosts, ranges=Ranges())
    assert result.low_minutes < result.high_minutes
    assert result == expected(*hosts, ranges=Ranges())
    assert " to " in result.words


def test_a_rollout_with_windows_takes_the_nights_that_it_needs() -> None:
    night = Window(frozenset(range(7)), EPOCH.time(), 60, "UTC")
    policy = replace(IMMEDIATE, release_method="scheduled", surge=1, windows=(night,))
    assert expected(*(host(f"h{n}") for n in range(4)), policy=policy).high_minutes > 24 * 60


def test_in_place_each_host_goes_before_its_successor_comes() -> None:
    hosts = [host(name) for name in "abc"]
    in_place = replace(AT_ONCE, strategy="in_place", surge=0, floor_percent=0)
    one_at_a_time = expected(*hosts, policy=replace(in_place, floor_percent=60))
    assert len(one_at_a_time.hosts) == 3
    assert 0 < expected(*hosts, policy=in_place).high_minutes < one_at_a_time.high_minutes < 24 * 60


def test_a_roll_back_to_retained_hosts_is_short() -> None:
    there = replace(look(host("a", image_version_id="/images/pilot/versions/2.0.0"), way_back("r")))
    result = estimate(there, target(0, rollback=True), AT_ONCE, EPOCH, EXACT)
    assert (result.hosts, result.high_minutes < 40) == (("a",), True)


def test_one_that_cannot_end_says_what_it_would_wait_for() -> None:
    result = expected(occupied("a", 1), policy=AT_ONCE, ranges=replace(EXACT, stay=(99_999, 99_999)))
    assert result.words == "no end in sight; it would wait for 1 users of a to leave"


def test_a_pool_that_is_up_to_date_takes_nothing() -> None:
    current = host("a", image_version_id=target(0).image_version_id)
    assert expected(current).words == "nothing to do"


@pytest.mark.parametrize("seen", [Snapshot.incomplete(EPOCH, "Azure answered 503"), look()])
def test_a_look_that_cannot_be_relied_on_gives_no_figure(seen: Snapshot) -> None:
    result = estimate(seen, target(1), AT_ONCE, EPOCH)
    assert (result.hosts, bool(result.problem)) == ((), True)


def test_every_kind_of_action_has_its_effect() -> None:
    assert set(ACTS) == set(Kind)


def test_hosts_that_a_scaling_plan_has_switched_off_are_drained_asleep_at_night_and_woken_for_the_day() -> None:
    """Three of four sleep, and the floor needs three by day: at night they go one by one as new ones come, and none is woken."""
    asleep = [host(f"s{n}", power="deallocated", status="Shutdown", allow_new_session=False) for n in range(3)]
    hosts, days = (host("a"), *asleep), frozenset(range(7))
    night = Schedule(days, time(7), time(18), 25, 100, "UTC")
    policy = Policy(surge=1, waves=(100,), floor_percent=75, schedules=(night,))
    by_night = expected(*hosts, policy=policy)
    assert sorted(by_night.hosts) == ["a", "s0", "s1", "s2"]
    assert by_night.high_minutes < 8 * 60
    dawn = replace(night, ramp_up=time(20, 31))
    by_day = expected(*hosts, policy=replace(policy, schedules=(dawn,)))
    assert sorted(by_day.hosts) == ["a", "s0", "s1", "s2"]
    assert by_day.problem == ""
