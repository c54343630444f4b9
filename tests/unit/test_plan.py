"""The planner's rules, one example each. Times are minutes before the tests' present; a host has ten session slots."""

from dataclasses import replace
from datetime import time, timedelta
from typing import Any

import pytest

from evergold import tags
from evergold.rollout.frozen import hosts_to_freeze, pool_size
from evergold.rollout.hosts import is_lower, wakes_anew
from evergold.rollout.model import Frozen, Host, Kind, Plan, Policy, Pool, Session, Snapshot, Target
from evergold.rollout.plan import next_names, plan, put_back, why_unfit
from evergold.rollout.quiet import Schedule
from evergold.rollout.windows import Window
from tests.support.moments import EPOCH
from tests.support.pools import (
    LIMIT,
    NEW_VERSION,
    REFRESH,
    ago,
    drained,
    host,
    look,
    new,
    old,
    retired,
    serving,
    stamp,
    target,
    vacated,
    way_back,
)

IMMEDIATE = Policy(release_method="immediate", floor_percent=0)
FOUR_OLD = (old("a"), old("b"), old("c"), old("d"))
DESTRUCTIVE = {Kind.DRAIN, Kind.SIGN_OUT, Kind.REMOVE_FROM_POOL, Kind.DEALLOCATE, Kind.DELETE_FAILED}


def decide(
    *hosts: Host, size: int | None = None, policy: Policy | None = None, seen: dict[str, Any] | None = None, **aim: Any
) -> Plan:
    """The plan for these hosts; the pool's size is the number of those that are not new, unless it is given.

    Sign-in was seen to go well on all of them, unless it is said otherwise.
    """
    snapshot = look(*hosts, **(seen or {}))
    aim = {"sign_in_seen": frozenset(each.name for each in hosts), **aim}
    wanted = size if size is not None else sum(1 for each in hosts if tags.REFRESH not in each.tags)
    return plan(snapshot, target(wanted, **aim), policy or Policy(), EPOCH)


def told(result: Plan, kind: Kind) -> list[str]:
    """The hosts to which the plan does this, in its order."""
    return [action.host for action in result.actions if action.kind == kind]


def kinds(result: Plan) -> set[Kind]:
    return {action.kind for action in result.actions}


# What one host's state leads to: the table in the planner's docstring, row by row, each beside a serving canary.
ROWS = [
    ("an outdated host that serves is drained", old("a"), Kind.DRAIN, "serving"),
    ("one that drains with users on it is left alone", drained("a", users=2), None, "draining"),
    ("one that is empty for the first time gets a note of it", drained("a"), Kind.NOTE_EMPTY, "emptying"),
    ("one that is out of the pool is switched off", vacated("a", registered=False), Kind.DEALLOCATE, "removed"),
    (
        "one that is about to be off is waited for",
        vacated("a", registered=False, power="deallocating"),
        None,
        "removed",
    ),
    (
        "one that is out of the pool and off is marked",
        vacated("a", registered=False, power="deallocated"),
        Kind.MARK_RETIRED,
        "removed",
    ),
    ("one that is retired is left alone", retired("a"), None, "retired"),
    (
        "a new host in creation is waited for",
        new("n", registered=False, provisioning_state="Creating"),
        None,
        "creating",
    ),
    ("a new host that joins is waited for", new("n", registered=False), None, "joining"),
    ("a new host that updates its agent is waited for", new("n", status="Upgrading"), None, "settling"),
    ("a new host with an old heartbeat is waited for", new("n", last_heartbeat=ago(20)), None, "settling"),
    (
        "a new host that a fault keeps from serving is waited for",
        new("n", status="NeedsAssistance", health_checks=("UrlsAccessibleCheck",)),
        None,
        "settling",
    ),
    (
        "a new host that the broker opened is shut until it is checked",
        new("n", allow_new_session=True),
        Kind.SHUT,
        "ready",
    ),
    ("a healthy new host is checked", new("n"), Kind.CHECK, "ready"),
    ("a new host checked just now is waited for", new("n", tagged={tags.CHECKED_AT: stamp(1)}), None, "checked"),
    (
        "a new host that has stayed healthy since its checks is opened",
        new("n", tagged={tags.CHECKED_AT: stamp(2)}),
        Kind.ALLOW_SESSIONS,
        "checked",
    ),
    (
        "a checked new host that falls ill before it is opened gets a note of it",
        new("n", status="Upgrading", tagged={tags.CHECKED_AT: stamp(5)}),
        Kind.NOTE_UNWELL,
        "settling",
    ),
    (
        "a checked new host that was ill a moment ago is waited for",
        new("n", tagged={tags.CHECKED_AT: stamp(9), tags.UNWELL_AT: stamp(1)}),
        None,
        "checked",
    ),
    ("a new host that serves is left alone", serving("n"), None, "serving"),
    (
        "a new host that Azure could not make is deleted",
        new("n", provisioning_state="Failed"),
        Kind.DELETE_FAILED,
        "failed",
    ),
    (
        "a new host that never registered is deleted",
        new("n", registered=False, created_at=ago(91)),
        Kind.DELETE_FAILED,
        "failed",
    ),
    (
        "a new host whose checks found a fault is deleted",
        new("n", tagged={tags.FAILED: "no patches"}),
        Kind.DELETE_FAILED,
        "failed",
    ),
    ("a new host whose checks never end is deleted", new("n", created_at=ago(151)), Kind.DELETE_FAILED, "failed"),
    (
        "a new host that fell silent long ago is shut",
        serving("n", last_heartbeat=ago(91)),
        Kind.SHUT,
        "failed",
    ),
    ("a new host that is being deleted is waited for", new("n", provisioning_state="Deleting"), None, "deleting"),
    ("a host that somebody keeps is left alone", old("a", tagged={tags.KEEP: "mine"}), None, "kept"),
    ("a host that was not frozen is left alone", host("a"), None, "not part of this"),
    ("a host on the target version is left alone", host("a", image_version_id=NEW_VERSION), None, "up to date"),
    ("a retained host of an earlier rollout is left alone", host("a", registered=False), None, "not in the pool"),
    (
        "a VM made anew under a frozen host's name is left alone",
        replace(old("a"), vm_id="another"),
        None,
        "not part of this",
    ),
    (
        "a name in the pool without a VM is left alone",
        host("a", provisioning_state="Unknown", last_heartbeat=ago(90)),
        None,
        "no VM",
    ),
]


@pytest.mark.parametrize(("subject", "kind", "state"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_state_of_a_host_has_one_way_on(subject: Host, kind: Kind | None, state: str) -> None:
    result = decide(subject, old("z", users=9), serving("canary"), serving("other"), size=2, policy=Policy(surge=3))
    about_it = [action.kind for action in result.actions if action.host == subject.name]
    assert (about_it, result.notes[subject.name].state) == ([kind] if kind else [], state)
    assert result.notes[subject.name].reason


def test_a_host_that_has_drained_and_settled_is_removed_from_the_pool_and_then_switched_off() -> None:
    result = decide(vacated("a"), old("z", users=9), serving("canary"), serving("other"), size=2)
    about_it = [action.kind for action in result.actions if action.host == "a"]
    assert about_it == [Kind.REMOVE_FROM_POOL, Kind.DEALLOCATE]
    assert result.notes["a"].state == "emptying"


def test_one_that_a_scaling_plan_had_switched_off_is_marked_when_it_has_been_removed() -> None:
    asleep = vacated("a", power="deallocated", status="Unavailable")
    result = decide(asleep, old("z", users=9), serving("canary"), serving("other"), size=2)
    about_it = [action.kind for action in result.actions if action.host == "a"]
    assert about_it == [Kind.REMOVE_FROM_POOL, Kind.MARK_RETIRED]


# --- What follows from no look at all -----------------------------------------------------------------------------------

UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("a failed look", {"complete": False, "problem": "Azure answered 503"}, "Azure answered 503"),
    ("a look of ten minutes ago", {"taken_at": ago(10)}, "fresh look"),
    ("a look from the future", {"taken_at": ago(-10)}, "fresh look"),
    ("a look at no hosts", {"hosts": ()}, "no host in it at all"),
    (
        "a look at VMs alone",
        {"hosts": tuple(replace(each, registered=False) for each in FOUR_OLD)},
        "no host in it at all",
    ),
    (
        "a look at names alone",
        {"hosts": tuple(replace(each, provisioning_state="Unknown") for each in FOUR_OLD)},
        "no such VM",
    ),
]


@pytest.mark.parametrize(("change", "words"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_nothing_at_all_follows_from(change: dict[str, Any], words: str) -> None:
    snapshot = look(*FOUR_OLD, vacated("e"), serving("n"))
    result = plan(replace(snapshot, **change), target(5), IMMEDIATE, EPOCH)
    assert (result.actions, result.done) == ((), False)
    assert words in result.waiting_for


def test_a_host_missing_from_a_partial_list_is_not_switched_off() -> None:
    result = decide(old("a", registered=False), old("b"), old("c"), serving("n"))
    assert [action.kind for action in result.actions if action.host == "a"] == [Kind.NOTE_EMPTY]
    assert result.notes["a"].state == "removed"


def test_a_host_that_others_took_out_of_the_pool_is_switched_off_once_it_has_stayed_away() -> None:
    away = old("a", registered=False, tagged={tags.EMPTY_SINCE: stamp(6)})
    assert told(decide(away, old("b"), serving("n")), Kind.DEALLOCATE) == ["a"]


# --- Freezing -----------------------------------------------------------------------------------------------------------


def test_what_is_outdated_registered_and_not_kept_is_frozen() -> None:
    snapshot = look(
        host("a"),
        host("on-target", image_version_id=NEW_VERSION.upper()),
        host("kept", tags={tags.KEEP: "yes"}),
        host("retained", registered=False),
        host("nameless", provisioning_state="Unknown"),
        host("newer-but-not-it", image_version_id="/images/pilot/versions/9.9.9"),
    )
    assert hosts_to_freeze(snapshot, target(5)) == ("a", "newer-but-not-it")
    assert hosts_to_freeze(replace(snapshot, complete=False), target(5)) == ()


def test_what_an_unfinished_rollout_left_on_its_way_into_the_pool_or_out_of_it_is_frozen_too() -> None:
    stray = host("s", registered=False, tags={tags.REFRESH: "r0"})
    others = (
        replace(stray, name="served", tags={tags.REFRESH: "r0", tags.CHECKED_AT: stamp(90)}),
        replace(stray, name="retained", tags={tags.REFRESH: "r0", tags.RETIRED_AT: stamp(90)}),
        replace(stray, name="on-target", image_version_id=NEW_VERSION),
        replace(stray, name="going", provisioning_state="Deleting"),
        replace(stray, name="kept", tags={tags.REFRESH: "r0", tags.KEEP: "yes"}),
        new("ours", registered=False),
    )
    leaving = replace(stray, name="l", tags={tags.REFRESH: "r0", tags.CHECKED_AT: stamp(900), tags.REPLACE: "r1/id"})
    assert hosts_to_freeze(look(stray, leaving, *others), target(5)) == ("s", "l")
    gone_on = decide(replace(stray, tags={**stray.tags, tags.EMPTY_SINCE: stamp(6)}), frozen=noted("s"), size=0)
    assert told(gone_on, Kind.DEALLOCATE) == ["s"]


def test_the_pools_size_does_not_count_what_an_unfinished_rollout_made_beside_it() -> None:
    def pool(*hosts: Host, size: int = 2, frozen: str = "pil-[001,002]") -> Snapshot:
        marks = {tags.ROLLOUT: f"r0|{size}", f"{tags.FROZEN}1": f"r0|{tags.format_time(ago(60 * 24))}|{frozen}"}
        return look(*hosts, pool=replace(look().pool, tags=marks))

    first, second, third = host("pil-001"), host("pil-002"), host("by-hand")
    made = [host(name, tags={tags.REFRESH: "r0"}, created_at=ago(60)) for name in ("pil-003", "pil-004")]
    assert pool_size(pool(first, second, made[0]), target(0)) == 2, "the surge of one that was broken off"
    assert pool_size(pool(second, *made), target(0)) == 2
    assert pool_size(pool(*made), target(0)) == 2, "it was done"
    assert pool_size(pool(first, second, made[0], third), target(0)) == 3, "one came by hand"
    assert pool_size(pool(first, second, third), target(0)) == 3
    assert pool_size(pool(*made, size=2, frozen="pil-001"), target(0)) == 2, "what was frozen is not known whole"
    back = host("pil-005", tags={tags.BACK: "r0/id"}, created_at=ago(60))
    assert pool_size(pool(first, second, back), target(0)) == 2


def test_where_a_rollout_was_broken_off_the_next_one_has_its_canary_all_the_same() -> None:
    assert told(decide(*FOUR_OLD, old("e"), size=4), Kind.CREATE) == ["pil-001"]
    assert told(decide(*FOUR_OLD, old("e"), new("n", registered=False), size=4), Kind.CREATE) == []


def test_the_pools_size_counts_neither_new_hosts_nor_retained_ones() -> None:
    assert pool_size(look(host("a"), host("b"), new("canary"), host("gone", registered=False)), target(0)) == 2


def noted(*names: str) -> Frozen:
    """What the pool's tags say of these hosts."""
    return Frozen(ago(60 * 24), frozenset(names))


def test_hosts_that_the_pools_tags_freeze_are_replaced_though_they_bear_no_mark() -> None:
    result = decide(host("a"), host("B"), host("c"), serving("n"), size=3, frozen=noted("a", "b"))
    assert set(told(result, Kind.DRAIN)) <= {"a", "B"}
    assert told(result, Kind.DRAIN)
    assert (result.total, result.notes["c"].state) == (2, "not part of this")


def test_a_host_that_was_made_after_the_freezing_is_not_the_one_that_was_frozen() -> None:
    anew, ageless = host("a", created_at=ago(5)), host("b", created_at=None)
    result = decide(anew, ageless, host("c"), serving("n"), size=3, frozen=noted("a", "b", "c"))
    assert [result.notes[name].state for name in "abc"] == ["not part of this", "not part of this", "serving"]


def test_a_mark_of_its_own_freezes_a_host_beside_those_of_the_pools_tags() -> None:
    result = decide(old("a"), host("b"), serving("n"), size=2, frozen=noted("b"))
    assert result.total == 2


def test_a_rollout_whose_hosts_were_never_marked_is_not_done() -> None:
    result = decide(host("a"), host("b"))
    assert (result.done, result.actions) == (False, ())
    assert "a, b to be marked" in result.waiting_for


# --- Creating -----------------------------------------------------------------------------------------------------------


def test_the_first_host_is_the_canary_and_nothing_else_happens_until_it_serves() -> None:
    first = decide(*FOUR_OLD, policy=Policy(surge=4))
    assert [(action.kind, action.host) for action in first.actions] == [(Kind.CREATE, "pil-001")]
    waiting = decide(*FOUR_OLD, new("pil-001", registered=False), policy=Policy(surge=4, floor_percent=0))
    assert waiting.actions == ()
    assert waiting.waiting_for == "pil-001 to come up"
    assert waiting.until == ago(30) + timedelta(minutes=90)


def test_the_canary_is_one_host_without_waves_too() -> None:
    assert told(decide(*FOUR_OLD, policy=Policy(surge=4, waves=(100,))), Kind.CREATE) == ["pil-001"]


def test_once_the_canary_serves_the_surge_is_used_whole() -> None:
    assert len(told(decide(*FOUR_OLD, serving("n"), policy=Policy(surge=3)), Kind.CREATE)) == 2


def test_a_version_proven_elsewhere_needs_no_canary() -> None:
    at_once = Policy(surge=3, waves=(100,))
    assert len(told(decide(*FOUR_OLD, policy=at_once, canary_proven=True), Kind.CREATE)) == 3


def test_a_host_that_is_out_of_the_pool_and_off_makes_room_before_it_is_marked() -> None:
    gone = vacated("d", registered=False, power="deallocated")
    result = decide(*FOUR_OLD[:3], gone, serving("n"), policy=Policy(surge=1, waves=(100,)))
    assert told(result, Kind.CREATE) == ["pil-001"]
    in_place = decide(*FOUR_OLD[:3], gone, policy=IN_PLACE)
    assert told(in_place, Kind.CREATE) == [], "the name and address of one that is still to be deleted are not free"
    going = replace(gone, power="deallocating")
    assert told(decide(*FOUR_OLD[:3], going, serving("n"), policy=Policy(surge=1, waves=(100,))), Kind.CREATE) == []


def test_it_is_not_done_while_a_new_host_is_on_its_way_though_enough_serve() -> None:
    assert decide(retired("a"), serving("n"), size=1).done
    coming = new("one-too-many", registered=False, provisioning_state="Creating")
    waits = decide(retired("a"), serving("n"), coming, size=1)
    assert (waits.done, waits.waiting_for) == (False, "one-too-many to come up")


def test_updates_are_asked_for_on_the_canary_alone() -> None:
    assert kinds(decide(*FOUR_OLD, new("n"))) == {Kind.CHECK_CANARY}
    assert Kind.CHECK_CANARY not in kinds(decide(*FOUR_OLD, serving("n"), new("m"), policy=Policy(surge=2)))
    assert told(decide(*FOUR_OLD, serving("n"), new("m"), policy=Policy(surge=2)), Kind.CHECK) == ["m"]


def test_hosts_in_creation_failed_or_being_deleted_take_up_the_surge() -> None:
    for taken in (
        new("n2", registered=False, provisioning_state="Creating"),
        new("n2", provisioning_state="Failed"),
        new("n2", provisioning_state="Deleting"),
    ):
        assert told(decide(*FOUR_OLD, serving("n1"), taken, policy=Policy(surge=2)), Kind.CREATE) == []


def test_no_more_are_created_than_are_missing() -> None:
    kept, current = host("k", tags={tags.KEEP: "yes"}), host("c", image_version_id=NEW_VERSION)
    result = decide(retired("a"), retired("b"), kept, current, serving("n"), size=4, policy=Policy(surge=9))
    assert len(told(result, Kind.CREATE)) == 1


def test_names_avoid_everything_that_stands_in_any_letter_case() -> None:
    hosts = (retired("PIL-001"), old("pil-002"), serving("pil-004"), old("x", session_host_name="pil-005"))
    seen = {"taken_names": ("pil-006",)}
    policy = Policy(surge=3, waves=(100,))
    result = decide(*hosts, size=3, seen=seen, policy=policy, spent_names=("pil-003",))
    assert told(result, Kind.CREATE) == ["pil-007", "pil-008"]


def test_names_are_never_longer_than_windows_allows() -> None:
    assert next_names("elevenchars", (), 2) == ["elevenchars-001", "elevenchars-002"]
    thousandth = next_names("elevenchars", (f"elevenchars-{n:03d}" for n in range(1, 1000)), 1)
    assert thousandth == ["elevenchars1000"]
    assert next_names("a-prefix-too-long", (), 3) == []


# --- Draining and the floor ---------------------------------------------------------------------------------------------


def test_as_many_drain_as_the_floor_allows_and_the_emptiest_first() -> None:
    hosts = (old("a", users=5), old("b", users=1), old("c"), old("d", users=1), old("e", users=9))
    assert told(decide(*hosts, serving("n")), Kind.DRAIN) == ["c", "b"]


def test_a_floor_of_all_slots_lets_one_host_drain_for_each_that_came() -> None:
    assert told(decide(*FOUR_OLD, serving("n"), policy=Policy(floor_percent=100)), Kind.DRAIN) == ["a"]


def test_hosts_that_already_drain_do_not_count_even_with_users_on_them() -> None:
    hosts = (drained("a", users=9), drained("b", users=9), old("c"), old("d"), old("e"))
    assert told(decide(*hosts, serving("n")), Kind.DRAIN) == []


def test_a_host_with_an_old_heartbeat_is_no_capacity_whatever_its_status_says() -> None:
    hosts = (*FOUR_OLD[:3], old("d", last_heartbeat=ago(30)))
    result = decide(*hosts, serving("n"))
    assert (result.capacity_percent, told(result, Kind.DRAIN)) == (100, ["d"])


def test_a_host_that_needs_assistance_is_capacity() -> None:
    unwell = [replace(each, status="NeedsAssistance", health_checks=("UrlsAccessibleCheck",)) for each in FOUR_OLD]
    assert decide(*unwell, serving("n")).capacity_percent == 125


def test_a_lost_host_drains_even_when_the_floor_is_broken() -> None:
    hosts = (*FOUR_OLD[:2], old("c", last_heartbeat=ago(600)), old("d", last_heartbeat=ago(600)))
    assert told(decide(*hosts, serving("n")), Kind.DRAIN) == ["c", "d"]


def test_a_host_that_was_woken_is_not_lost_for_having_been_silent_all_night() -> None:
    awake: dict[str, Any] = {"last_heartbeat": ago(600), "status": "Unavailable", "tagged": {tags.WOKEN_AT: stamp(3)}}
    hosts = (*FOUR_OLD[:2], old("c", **awake), old("d", **awake))
    assert told(decide(*hosts, serving("n")), Kind.DRAIN) == ["c"]  # as one that is unwell: four of five would be left
    too_long = {**awake, "tagged": {tags.WOKEN_AT: stamp(91)}}
    assert told(decide(*FOUR_OLD[:3], old("d", **too_long), serving("n")), Kind.DRAIN) == ["d"]


def test_a_new_host_that_was_woken_has_not_failed() -> None:
    woken = serving("n", last_heartbeat=ago(600), status="Unavailable")
    woken = replace(woken, tags={**woken.tags, tags.WOKEN_AT: stamp(3)})
    result = decide(*FOUR_OLD, woken)
    assert (result.halted, result.actions) == (None, ())


def test_a_host_that_a_plan_switched_off_and_shut_is_not_drained_for_nothing() -> None:
    """It is room, once it is woken: before that it is not drained either where the floor needs it."""
    asleep = [
        old(name, power="deallocated", status="Shutdown", allow_new_session=False, last_heartbeat=ago(600))
        for name in ("b", "c", "d")
    ]
    assert told(decide(old("a"), *asleep, serving("n")), Kind.DRAIN) == ["b"]
    assert told(decide(old("a"), *asleep, serving("n"), policy=Policy(floor_percent=100)), Kind.DRAIN) == ["b"]
    gone = replace(asleep[0], registered=False)
    assert (
        told(decide(old("a"), gone, *asleep[1:], policy=Policy(floor_percent=80), canary_proven=True), Kind.DRAIN) == []
    )


def test_while_hosts_sleep_none_of_those_drains_that_the_floor_needs_awake() -> None:
    asleep = [old(name, power="deallocated", status="Unavailable", last_heartbeat=ago(60)) for name in ("c", "d")]
    hosts = (old("a"), old("b"), *asleep, serving("n"))
    assert told(decide(*hosts, policy=Policy(floor_percent=75, surge=4)), Kind.DRAIN) == ["c", "d"]
    assert told(decide(*hosts, policy=Policy(floor_percent=50, surge=4)), Kind.DRAIN) == ["a", "c", "d"]


def test_when_all_hosts_miss_a_few_heartbeats_they_are_not_all_drained() -> None:
    quiet = [replace(each, last_heartbeat=ago(8)) for each in FOUR_OLD]
    assert told(decide(*quiet, serving("n")), Kind.DRAIN) == ["a"]


def test_hosts_that_a_scaling_plan_switched_off_are_replaced_but_not_all_at_once() -> None:
    asleep = [replace(each, power="deallocated", last_heartbeat=ago(600), status="Shutdown") for each in FOUR_OLD]
    assert told(decide(*asleep, serving("n")), Kind.DRAIN) == ["a"]


def test_a_pool_without_a_session_limit_is_counted_in_hosts() -> None:
    unlimited = replace(look().pool, max_session_limit=0)
    assert told(decide(*FOUR_OLD, serving("n"), seen={"pool": unlimited}), Kind.DRAIN) == ["a"]


# --- Quiet time ---------------------------------------------------------------------------------------------------------

NIGHT = Schedule(frozenset(range(7)), time(7), time(18), 20, 90, "UTC")
MORNING = replace(NIGHT, ramp_up=time(20, 30))  # so that the look-ahead begins now
PLAN_OFF = Pool("/pools/pilot", LIMIT, "BreadthFirst", "Pooled", {tags.SCALING: "/plans/office-hours"})


def asleep(name: str, **changes: Any) -> Host:
    """An outdated host that the scaling plan has put into drain mode and switched off two hours ago."""
    return replace(
        old(name, **changes), power="deallocated", status="Shutdown", allow_new_session=False, last_heartbeat=ago(120)
    )


def awake(name: str, minutes: float, **changes: Any) -> Host:
    """One that was woken so many minutes ago, and is not heard of yet."""
    woken = replace(asleep(name, **changes), power="running", allow_new_session=True)
    return replace(woken, tags={**woken.tags, tags.WOKEN_AT: stamp(minutes)})


def by_plan(
    *hosts: Host, schedule: Schedule = NIGHT, pool: Pool = PLAN_OFF, aim: dict[str, Any] | None = None, **policy: Any
) -> Plan:
    """The plan for a pool whose scaling plan is suspended."""
    settings = Policy(**{"schedules": (schedule,), **policy})
    return decide(*hosts, policy=settings, seen={"pool": pool}, **(aim or {}))


IMMEDIATELY_BY_DAY: dict[str, Any] = {"release_method": "immediate", "schedules": ()}
FOUR_ASLEEP = (asleep("b"), asleep("c"), asleep("d"), asleep("e"))


def test_what_the_scaling_plan_has_switched_off_is_left_so_until_its_ramp_up_is_near() -> None:
    hosts = (old("a"), *FOUR_ASLEEP)
    night = by_plan(*hosts)
    assert night.to_wake == ()
    assert night.quiet_until == EPOCH + timedelta(hours=11)
    assert night.notes["b"].state == "asleep"
    assert "at 2026-11-13 06:30 UTC" in night.notes["b"].reason
    morning = by_plan(*hosts, schedule=MORNING)
    assert morning.to_wake == ("b", "c", "d", "e")
    assert "being switched on" in morning.notes["b"].reason


def test_by_day_and_where_its_schedules_are_not_known_it_is_woken_at_once() -> None:
    for schedules in ((), (replace(NIGHT, ramp_down=time(21)),)):
        assert by_plan(old("a"), *FOUR_ASLEEP, schedules=schedules).to_wake == ("b", "c", "d", "e")


def test_where_no_scaling_plan_is_suspended_nothing_is_woken_and_no_time_is_quiet() -> None:
    result = by_plan(old("a"), *FOUR_ASLEEP, serving("n"), pool=replace(PLAN_OFF, tags={}))
    assert (result.to_wake, result.quiet_until) == ((), None)
    assert "a" not in told(result, Kind.DRAIN)


def test_what_somebody_keeps_is_not_woken_and_is_no_room_for_the_day() -> None:
    kept = [asleep(name, tagged={tags.KEEP: "yes"}) for name in ("d", "e")]
    assert by_plan(old("a"), asleep("b"), asleep("c"), *kept, schedule=MORNING).to_wake == ("b", "c")
    assert told(by_plan(old("a"), asleep("b"), asleep("c"), *kept, serving("n")), Kind.DRAIN) == []


def test_in_quiet_time_the_slots_that_must_be_open_are_the_scaling_plans_share() -> None:
    hosts = (old("a"), *FOUR_ASLEEP, serving("n"))
    assert told(by_plan(*hosts), Kind.DRAIN) == ["a", "b"]
    half = replace(NIGHT, least_percent=40)
    assert told(by_plan(*hosts, schedule=half), Kind.DRAIN) == ["b", "c"]
    assert told(by_plan(*hosts, schedule=MORNING), Kind.DRAIN) == ["b", "c"]


def test_in_quiet_time_too_the_whole_floor_is_there_for_the_day_asleep_or_not() -> None:
    hosts = (old("a"), *FOUR_ASLEEP, serving("n"))
    assert told(by_plan(*hosts, floor_percent=100), Kind.DRAIN) == ["a"]
    assert told(by_plan(*hosts[1:], aim={"size": 5}, floor_percent=100), Kind.DRAIN) == []


def test_what_is_unwell_at_night_is_not_counted_upon_for_the_day() -> None:
    unwell = old("a", users=1, status="Unavailable", last_heartbeat=ago(20))
    hosts = (unwell, *FOUR_ASLEEP[:3], serving("n"), serving("o"))
    assert told(by_plan(*hosts, aim={"size": 5}, floor_percent=100), Kind.DRAIN) == ["a"]
    well = (old("a", users=1), *hosts[1:])
    assert told(by_plan(*well, aim={"size": 5}, floor_percent=100), Kind.DRAIN) == ["b"]


def test_however_small_the_plans_share_one_host_stays_open() -> None:
    none = replace(NIGHT, least_percent=0)
    assert told(
        by_plan(old("a"), *FOUR_ASLEEP, schedule=none, floor_percent=50, strategy="in_place", surge=0), Kind.DRAIN
    ) == ["b"]


def test_the_plans_share_never_asks_for_more_than_the_floor() -> None:
    hosts = (old("a"), old("b"), old("c"), old("d"), serving("n"))
    all_day = replace(NIGHT, least_percent=100)
    assert told(by_plan(*hosts, schedule=all_day, floor_percent=50), Kind.DRAIN) == ["a", "b", "c"]


def test_at_night_as_many_are_woken_as_the_plan_would_wake_for_people() -> None:
    busy = old("a", users=10)
    assert by_plan(busy, *FOUR_ASLEEP).to_wake == ("b",)
    assert by_plan(old("a", users=9), *FOUR_ASLEEP).to_wake == ()
    assert by_plan(busy, awake("b", 3), *FOUR_ASLEEP[1:]).to_wake == ()
    assert by_plan(busy, awake("b", 16), *FOUR_ASLEEP[1:]).to_wake == ("c",)
    new_ones_first = asleep("z", tagged={tags.REPLACE: ""})
    assert by_plan(busy, *FOUR_ASLEEP, new_ones_first, aim={"size": 5}).to_wake == ("z",)


def test_at_night_as_many_are_woken_as_the_plans_share_lacks() -> None:
    dead = old("a", last_heartbeat=ago(30))
    assert by_plan(dead, *FOUR_ASLEEP).to_wake == ("b",)
    assert by_plan(dead, *FOUR_ASLEEP, schedule=replace(NIGHT, least_percent=50)).to_wake == ("b", "c", "d")


def test_what_is_woken_at_night_because_it_is_needed_is_not_drained_meanwhile() -> None:
    share = replace(NIGHT, least_percent=60)
    hosts = (old("a"), *FOUR_ASLEEP)
    in_place: dict[str, Any] = {"schedule": share, "floor_percent": 60, "strategy": "in_place", "surge": 0}
    result = by_plan(*hosts, **in_place)
    assert (result.to_wake, told(result, Kind.DRAIN)) == (("b", "c"), ["d"])
    later = by_plan(old("a"), awake("b", 3), awake("c", 3), *FOUR_ASLEEP[2:], **in_place)
    assert (later.to_wake, told(later, Kind.DRAIN)) == ((), ["d"])


def test_one_that_came_up_when_it_was_woken_and_died_again_is_no_room_for_the_day() -> None:
    two: dict[str, Any] = {"aim": {"size": 2}}
    assert told(by_plan(awake("a", 10), old("b"), serving("n"), **two), Kind.DRAIN) == ["b"]
    died = replace(awake("a", 10), last_heartbeat=ago(8))
    assert "b" not in told(by_plan(died, old("b"), serving("n"), **two), Kind.DRAIN)


def test_what_is_shut_and_of_which_nobody_knows_whether_it_sleeps_is_not_drained_for_nothing() -> None:
    unknown = replace(asleep("b"), power="unknown")
    two: dict[str, Any] = {"aim": {"size": 2}}
    for schedule in (NIGHT, MORNING):
        assert "b" not in told(by_plan(old("a"), unknown, serving("n"), schedule=schedule, **two), Kind.DRAIN)
    assert "b" in told(by_plan(old("a"), unknown, serving("n"), pool=replace(PLAN_OFF, tags={}), **two), Kind.DRAIN)


def test_what_sleeps_and_leaves_the_pool_now_is_not_woken() -> None:
    empty = replace(asleep("b"), tags=vacated("b").tags)
    result = by_plan(old("a"), empty, *FOUR_ASLEEP[1:], serving("n"), schedule=MORNING)
    assert (told(result, Kind.REMOVE_FROM_POOL), "b" in result.to_wake) == (["b"], False)


def test_at_night_one_that_others_may_have_switched_on_a_moment_ago_is_not_taken_for_lost() -> None:
    silent = old("b", last_heartbeat=ago(600), status="Unavailable")
    hosts = (old("a"), silent, *FOUR_ASLEEP[1:], serving("n"))
    assert "b" not in told(by_plan(*hosts), Kind.DRAIN)
    assert "b" in told(by_plan(*hosts, schedule=MORNING), Kind.DRAIN)


def test_one_that_was_woken_and_is_shut_yet_is_opened_but_not_one_that_somebody_shut_long_after() -> None:
    for minutes, opened in ((5, ["b"]), (16, [])):
        shut = replace(awake("b", minutes), allow_new_session=False, last_heartbeat=ago(0.5), status="Available")
        result = by_plan(old("a"), shut, *FOUR_ASLEEP[1:], serving("n"))
        assert told(result, Kind.UNDRAIN) == opened
        assert ("b" in told(result, Kind.DRAIN)) is not bool(opened)
    theirs = replace(shut, tags={**awake("b", 5).tags, tags.WAS_DRAINED: "r1"})
    assert told(by_plan(old("a"), theirs, *FOUR_ASLEEP[1:], serving("n")), Kind.UNDRAIN) == []


def test_a_host_that_was_up_since_it_was_woken_and_sleeps_again_is_woken_anew() -> None:
    asleep_again = replace(asleep("b"), last_heartbeat=ago(10), tags={**asleep("b").tags, tags.WOKEN_AT: stamp(14)})
    assert wakes_anew(asleep_again, EPOCH)
    assert not wakes_anew(replace(asleep_again, last_heartbeat=ago(20)), EPOCH)


def test_new_hosts_are_woken_at_any_hour() -> None:
    """An earlier run opened it, and the plan has switched it off since: what is off tells nothing of its version."""
    new_one = replace(serving("n"), power="deallocated", status="Shutdown", allow_new_session=False)
    assert by_plan(old("a"), *FOUR_ASLEEP, new_one).to_wake == ("n",)


def test_what_sleeps_is_drained_and_goes_without_being_woken() -> None:
    empty = replace(asleep("b"), tags=vacated("b").tags)
    result = by_plan(old("a"), empty, *FOUR_ASLEEP[1:], serving("n"))
    assert (told(result, Kind.REMOVE_FROM_POOL), result.to_wake) == (["b"], ())
    gone = replace(empty, registered=False)
    assert told(by_plan(old("a"), gone, *FOUR_ASLEEP[1:], serving("n")), Kind.MARK_RETIRED) == ["b"]


def test_nobody_is_signed_out_while_hosts_sleep_that_will_take_people_by_day() -> None:
    policy: dict[str, Any] = {"release_method": "immediate", "floor_percent": 80}
    hosts = (drained("a", users=3), asleep("b"), asleep("c"), asleep("d"), serving("n"))
    assert told(by_plan(*hosts, **policy), Kind.WARN) == []
    four = [serving(name) for name in ("n", "o", "p", "q")]
    assert told(by_plan(drained("a", users=3), *four, aim={"size": 4}, **policy), Kind.WARN) == ["a"]


def test_at_night_a_drained_host_is_kept_and_opened_where_the_day_would_lack_it() -> None:
    """Somebody has deleted a host that slept. Nothing else is coming: the wave waits."""
    aim: dict[str, Any] = {"size": 5, "sign_in_seen": frozenset()}
    enough = (old("a"), vacated("b"), asleep("c"), asleep("d"), serving("n"))
    assert told(by_plan(*enough, aim=aim), Kind.REMOVE_FROM_POOL) == ["b"]
    short = (old("a"), vacated("b"), asleep("c"), serving("n"))
    result = by_plan(*short, aim=aim)
    assert (told(result, Kind.REMOVE_FROM_POOL), told(result, Kind.UNDRAIN)) == ([], ["b"])
    sleeping = replace(asleep("b"), tags=vacated("b").tags)
    result = by_plan(old("a"), sleeping, asleep("c"), serving("n"), aim=aim)
    assert (told(result, Kind.REMOVE_FROM_POOL), told(result, Kind.UNDRAIN)) == ([], ["b"])


def test_in_the_morning_a_drained_host_is_opened_only_where_those_that_were_woken_do_not_come() -> None:
    policy: dict[str, Any] = {"schedule": MORNING, "aim": {"size": 5, "sign_in_seen": frozenset()}}
    at_first = by_plan(old("a"), vacated("b"), asleep("c"), asleep("d"), serving("n"), **policy)
    assert (at_first.to_wake, at_first.actions) == (("c", "d"), ())
    soon = by_plan(old("a"), vacated("b"), awake("c", 5), awake("d", 5), serving("n"), **policy)
    assert soon.actions == ()
    late = by_plan(old("a"), vacated("b"), old("c"), awake("d", 16), serving("n"), **policy)
    assert told(late, Kind.UNDRAIN) == ["b"]


def test_a_host_that_azure_will_not_start_is_not_on_its_way_for_ever() -> None:
    policy: dict[str, Any] = {"schedule": MORNING, "aim": {"size": 5, "sign_in_seen": frozenset()}}
    refused = replace(asleep("d"), tags={**asleep("d").tags, tags.WOKEN_AT: stamp(20)})
    result = by_plan(old("a"), vacated("b"), old("c"), refused, serving("n"), **policy)
    assert (result.to_wake, told(result, Kind.UNDRAIN)) == (("d",), ["b"])


def test_in_place_a_floor_that_needs_every_host_is_refused_at_night_as_by_day() -> None:
    result = by_plan(old("a"), *FOUR_ASLEEP, floor_percent=100, strategy="in_place", surge=0)
    assert "below the capacity floor" in (result.halted or "")


def test_what_waits_for_the_morning_says_so() -> None:
    half = replace(NIGHT, least_percent=100)
    aim: dict[str, Any] = {"size": 3, "sign_in_seen": frozenset()}
    result = by_plan(old("a"), asleep("b"), serving("n"), schedule=half, floor_percent=100, aim=aim)
    assert result.actions == ()
    assert "cannot drain without falling below the capacity floor" in result.waiting_for
    assert "until 2026-11-13 07:00 UTC" in result.waiting_for
    assert "woken ahead of that, at 2026-11-13 06:30 UTC" in result.waiting_for


def test_what_waits_for_a_host_that_somebody_keeps_asleep_says_that_only_they_can_wake_it() -> None:
    kept = asleep("b", tagged={tags.KEEP: "yes"})
    aim = {"size": 3, "sign_in_seen": frozenset()}
    for users in (0, 3):
        result = by_plan(old("a", users=users), kept, serving("n"), floor_percent=100, aim=aim, **IMMEDIATELY_BY_DAY)
        assert "b is switched off, and somebody keeps it: only a person may switch it on" in result.waiting_for


def test_ramp_down_and_the_look_ahead_are_moments_at_which_time_alone_changes_the_answer() -> None:
    hosts = (old("a"), old("b"), serving("n"))
    aim = {"size": 3, "sign_in_seen": frozenset()}
    waiting: dict[str, Any] = {"floor_percent": 100, "wave_bake_minutes": 10_000, "aim": aim}
    by_day = by_plan(*hosts, schedule=replace(NIGHT, ramp_down=time(20, 20)), **waiting)
    assert (by_day.actions, by_day.until) == ((), EPOCH + timedelta(minutes=20))
    assert by_plan(*hosts, **waiting).until == EPOCH + timedelta(hours=10.5)


# --- Vacating -----------------------------------------------------------------------------------------------------------


def test_under_opportunistic_release_nobody_is_ever_warned_or_signed_out() -> None:
    result = decide(*(drained(name, users=3) for name in "abc"), serving("n"), policy=Policy(floor_percent=0))
    assert kinds(result) == set()
    assert result.waiting_for == "9 users of a, b, c to leave"


def reopened(name: str, **changes: Any) -> Host:
    """An outdated host that was drained twice, the second time ten minutes ago, and is open again."""
    return drained(name, tagged={tags.REOPENED_AT: stamp(10)}, **{"allow_new_session": True, **changes})


def test_a_host_that_somebody_opened_again_is_drained_once_more_and_then_left_to_them() -> None:
    once = decide(drained("a", allow_new_session=True), serving("n"), policy=IMMEDIATE)
    assert told(once, Kind.DRAIN) == ["a"]
    twice = decide(reopened("a", users=1), serving("n"), policy=IMMEDIATE)
    assert twice.actions == ()
    assert twice.notes["a"].state == "held open"
    assert "a person to decide about a: drained twice" in twice.waiting_for
    closed = decide(replace(reopened("a"), allow_new_session=False), serving("n"), policy=IMMEDIATE)
    assert told(closed, Kind.NOTE_EMPTY) == ["a"], "they drained it themselves: it goes on"


def test_a_look_of_before_the_second_drain_is_nobodys_will() -> None:
    fresh = drained("a", tagged={tags.REOPENED_AT: stamp(1)}, allow_new_session=True)
    assert told(decide(fresh, serving("n"), policy=IMMEDIATE), Kind.DRAIN) == ["a"]


def test_nobody_is_signed_out_while_somebody_holds_a_host_open_and_the_others_drain() -> None:
    result = decide(reopened("a"), drained("b", users=1), old("c"), serving("n"), policy=IMMEDIATE)
    assert told(result, Kind.DRAIN) == ["c"]
    assert Kind.WARN not in kinds(result)
    later = decide(reopened("a"), drained("b", users=1), serving("n"), policy=IMMEDIATE)
    assert later.waiting_for.startswith("1 users of b")
    assert "opened again by other hands" in later.waiting_for


def test_under_immediate_release_users_are_warned_once_every_outdated_host_drains() -> None:
    some = decide(
        drained("a", users=1), old("b", users=1), old("c"), serving("n"), policy=replace(IMMEDIATE, floor_percent=60)
    )
    assert Kind.WARN not in kinds(some)
    every = decide(drained("a", users=2), drained("b", users=1), serving("n"), policy=IMMEDIATE)
    assert told(every, Kind.WARN) == ["b", "a"]


def warned(minutes_ago: float, **tagged: str) -> Host:
    """An outdated host with two users who were warned so long ago."""
    return drained("a", users=2, tagged={tags.WARNED_AT: stamp(minutes_ago), **tagged})


@pytest.mark.parametrize(
    ("host", "kind", "next_in"),
    [
        (warned(4), None, 1),
        (warned(5), Kind.REMIND, None),
        (warned(8, **{tags.REMINDED_AT: stamp(3)}), None, 2),
        (warned(10, **{tags.REMINDED_AT: stamp(5)}), Kind.REMIND, None),
        (warned(14, **{tags.REMINDED_AT: stamp(4)}), None, 1),
        (warned(15, **{tags.REMINDED_AT: stamp(5)}), Kind.SIGN_OUT, None),
        (warned(4, **{tags.REMINDED_AT: stamp(60)}), None, 1),
    ],
    ids=[
        "too soon",
        "in time",
        "lately reminded",
        "again",
        "the sign-out is near",
        "over",
        "reminded of an earlier one",
    ],
)
def test_a_warning_is_repeated_as_often_as_the_image_set_says_until_the_sign_out(
    host: Host, kind: Kind | None, next_in: int | None
) -> None:
    policy = replace(IMMEDIATE, warn_minutes=15, warn_again_minutes=5)
    result = decide(host, serving("n"), policy=policy)
    assert [action.kind for action in result.actions] == ([kind] if kind else [])
    assert result.until == (EPOCH + timedelta(minutes=next_in) if next_in is not None else None)


def test_nobody_is_warned_in_the_moment_in_which_a_reserve_is_opened() -> None:
    policy = replace(IMMEDIATE, floor_percent=100, surge=0)
    result = decide(vacated("a"), drained("b", users=1), serving("n"), serving("m"), size=4, policy=policy)
    assert (told(result, Kind.UNDRAIN), told(result, Kind.WARN)) == (["a", "b"], [])


def test_below_the_floor_drained_hosts_serve_again_where_nothing_else_can_come() -> None:
    policy = Policy(floor_percent=100, surge=1)
    hosts = (vacated("a"), drained("b", users=1), old("c"), serving("n"))
    stuck = decide(*hosts, serving("m"), size=4, policy=policy)
    assert told(stuck, Kind.UNDRAIN) == ["a"]
    coming = decide(*hosts, new("m"), size=4, policy=policy)
    assert told(coming, Kind.UNDRAIN) == []
    roomy = decide(*hosts, serving("m"), size=4, policy=replace(policy, surge=2))
    assert (told(roomy, Kind.UNDRAIN), len(told(roomy, Kind.CREATE))) == ([], 1)


def test_nobody_who_may_be_moved_lands_on_a_host_that_serves_again() -> None:
    told_already = drained("b", users=1, tagged={tags.WARNED_AT: stamp(1)})
    policy = replace(IMMEDIATE, floor_percent=100, surge=1)
    result = decide(
        vacated("a"), told_already, drained("c", users=1), serving("n"), serving("m"), size=4, policy=policy
    )
    assert told(result, Kind.UNDRAIN) == []


def test_those_who_were_warned_are_signed_out_when_their_minutes_are_over() -> None:
    warned_4 = decide(drained("a", users=2, tagged={tags.WARNED_AT: stamp(4)}), serving("n"), policy=IMMEDIATE)
    assert kinds(warned_4) == set()
    assert warned_4.until == EPOCH + timedelta(minutes=1)
    warned_5 = decide(drained("a", users=2, tagged={tags.WARNED_AT: stamp(5)}), serving("n"), policy=IMMEDIATE)
    assert [(action.kind, action.sessions) for action in warned_5.actions] == [(Kind.SIGN_OUT, ("a-0", "a-1"))]


def test_a_session_younger_than_the_warning_is_warned_and_not_signed_out() -> None:
    young = Session("late", "late@contoso.com", "Active", ago(3))
    base = drained("a", users=1, tagged={tags.WARNED_AT: stamp(10)})
    late = replace(base, sessions=(*base.sessions, young), session_count=2)
    result = decide(late, serving("n"), policy=IMMEDIATE)
    assert [(action.kind, action.sessions) for action in result.actions] == [(Kind.WARN, ("late",))]


def test_a_session_that_was_not_told_is_warned_however_old_it_is() -> None:
    old_one = Session("missed", "missed@contoso.com", "Active", ago(120))
    base = drained("a", users=1, tagged={tags.WARNED_AT: stamp(10)})
    missed = replace(base, sessions=(*base.sessions, old_one), session_count=2)
    result = decide(missed, serving("n"), policy=IMMEDIATE)
    assert [(action.kind, action.sessions) for action in result.actions] == [(Kind.WARN, ("missed",))]


def test_a_session_of_unknown_age_is_never_signed_out() -> None:
    ageless = (Session("ageless", "someone@contoso.com", "Active", None),)
    told = {tags.WARNED_AT: stamp(60), tags.WARNED_SESSIONS: "ageless"}
    strange = drained("a", tagged=told, sessions=ageless, session_count=1)
    assert kinds(decide(strange, serving("n"), policy=IMMEDIATE)) == set()


def test_only_as_many_are_moved_as_find_a_free_slot_on_a_serving_host_of_the_target_version() -> None:
    warned = {tags.WARNED_AT: stamp(9)}
    hosts = (drained("a", users=3, tagged=warned), drained("b", users=4, tagged=warned))
    assert told(decide(*hosts, serving("n", session_count=4), policy=IMMEDIATE), Kind.SIGN_OUT) == ["a"]
    assert told(decide(*hosts, serving("n", session_count=LIMIT), policy=IMMEDIATE), Kind.SIGN_OUT) == []
    full = decide(*hosts, serving("n", session_count=3), policy=IMMEDIATE)
    assert told(full, Kind.SIGN_OUT) == ["a", "b"]


def test_without_a_session_limit_nobody_is_signed_out_since_all_could_come_back_to_one_host() -> None:
    waiting = drained("a", users=3, tagged={tags.WARNED_AT: stamp(9)})
    for limit in (999_999, 0):
        unlimited = {"pool": replace(look().pool, max_session_limit=limit)}
        result = decide(waiting, drained("b", users=2), serving("n"), serving("m"), policy=IMMEDIATE, seen=unlimited)
        assert kinds(result) == set()
        assert result.waiting_for.startswith("5 users of a, b to leave, or a session limit: the host pool has none")


def test_the_load_balancing_type_changes_nothing_about_who_is_drained_and_who_is_moved() -> None:
    deep = {"pool": replace(look().pool, load_balancer_type="DepthFirst")}
    warned = {tags.WARNED_AT: stamp(9)}
    draining = (old("a", users=5), old("b", users=1), old("c"), old("d", users=1), serving("n"))
    moving = (drained("a", users=3, tagged=warned), drained("b", users=4, tagged=warned))
    for hosts in (
        draining,
        (*moving, serving("n", session_count=4)),
        (*moving, serving("n", session_count=3), serving("m")),
    ):
        plans = [decide(*hosts, policy=policy, seen=pool) for policy in (Policy(), IMMEDIATE) for pool in ({}, deep)]
        assert plans[2].actions
        assert plans[0] == plans[1]
        assert plans[2] == plans[3]


def test_the_slots_of_users_who_are_on_their_way_are_not_given_to_others() -> None:
    left = drained("a", tagged={tags.WARNED_AT: stamp(9), tags.MOVED_USERS: "7", tags.EMPTY_SINCE: stamp(2)})
    waiting = drained("b", users=4, tagged={tags.WARNED_AT: stamp(9)})
    assert told(decide(left, waiting, serving("n"), policy=IMMEDIATE), Kind.SIGN_OUT) == []
    back = replace(left, tags={**left.tags, tags.EMPTY_SINCE: stamp(11)})
    assert told(decide(back, waiting, serving("n"), policy=IMMEDIATE), Kind.SIGN_OUT) == ["b"]


def test_a_scheduled_rollout_does_nothing_before_its_time_and_says_when_it_begins() -> None:
    policy = replace(IMMEDIATE, release_method="scheduled", scheduled_start=ago(-90))
    result = decide(*FOUR_OLD, policy=policy, canary_proven=True)
    assert (result.actions, result.until) == ((), ago(-90))
    assert result.waiting_for == "the scheduled start, 2026-11-12 21:30 UTC"
    begun = decide(*FOUR_OLD, policy=replace(policy, scheduled_start=EPOCH), canary_proven=True)
    assert told(begun, Kind.CREATE) == ["pil-001"]


NIGHTLY = replace(IMMEDIATE, release_method="scheduled")


def closing_in(minutes: float) -> Policy:
    """A scheduled rollout whose nightly window of four hours ends in so many minutes, or began only then if it is negative."""
    begins = EPOCH + timedelta(minutes=minutes - 240)
    return replace(NIGHTLY, windows=(Window(frozenset(range(7)), begins.time(), 240, "UTC"),))


def test_outside_its_window_a_rollout_begins_nothing_and_says_when_it_goes_on() -> None:
    result = decide(*FOUR_OLD, serving("n"), policy=closing_in(270))
    assert (result.actions, result.until) == ((), EPOCH + timedelta(minutes=30))
    assert result.waiting_for == "the next maintenance window, at 2026-11-12 20:30 UTC"
    assert told(decide(*FOUR_OLD, policy=closing_in(270)), Kind.CREATE) == []


def test_what_its_window_has_no_time_for_is_not_begun() -> None:
    hosts = (drained("a", users=1), drained("b", users=2), serving("n"))
    assert told(decide(*hosts, policy=closing_in(10)), Kind.WARN) == ["a", "b"]
    late = decide(*hosts, policy=closing_in(9))
    assert late.actions == ()
    assert told(decide(*FOUR_OLD, serving("n"), policy=closing_in(9)), Kind.DRAIN) == []
    assert told(decide(*FOUR_OLD, serving("n"), policy=replace(closing_in(9), surge=3)), Kind.CREATE) == []


def test_those_who_were_warned_are_signed_out_until_the_window_ends() -> None:
    warned = drained("a", users=1, tagged={tags.WARNED_AT: stamp(5)})
    assert told(decide(warned, serving("n"), policy=closing_in(1)), Kind.SIGN_OUT) == ["a"]
    over = decide(warned, serving("n"), policy=closing_in(0))
    assert [(action.kind, action.host) for action in over.actions] == [(Kind.UNDRAIN, "a")]


def test_at_the_end_of_a_window_only_those_who_were_warned_are_signed_out() -> None:
    late = Session("a-1", "late@contoso.com", "Active", ago(3))  # with the id of one who was told, and has left
    base = drained("a", users=1, tagged={tags.WARNED_AT: stamp(6), tags.WARNED_SESSIONS: "a-0,a-1"})
    mixed = replace(base, sessions=(*base.sessions, late), session_count=2)
    result = decide(mixed, serving("n"), policy=closing_in(2))
    assert [(action.kind, action.sessions) for action in result.actions] == [(Kind.SIGN_OUT, ("a-0",))]


def test_between_two_windows_empty_hosts_go_and_those_with_users_serve_again() -> None:
    occupied, theirs = drained("a", users=1), drained("b", users=1, tagged={tags.WAS_DRAINED: "r1"})
    result = decide(occupied, theirs, vacated("c"), old("d"), serving("n"), policy=closing_in(270))
    assert told(result, Kind.REMOVE_FROM_POOL) == ["c"]
    assert told(result, Kind.UNDRAIN) == ["a"]
    assert not kinds(result) & {Kind.DRAIN, Kind.WARN, Kind.SIGN_OUT, Kind.CREATE}


def test_a_new_host_that_came_up_late_is_opened_all_the_same() -> None:
    ready = new("n", tagged={tags.CHECKED_AT: stamp(5)})
    assert told(decide(*FOUR_OLD, ready, policy=closing_in(270)), Kind.ALLOW_SESSIONS) == ["n"]


def test_windows_bind_scheduled_rollouts_alone() -> None:
    immediate = replace(closing_in(270), release_method="immediate")
    assert told(decide(*FOUR_OLD, serving("n"), policy=immediate), Kind.DRAIN) == ["a", "b", "c", "d"]


# --- Retiring -----------------------------------------------------------------------------------------------------------


def test_one_that_was_empty_when_it_was_drained_settles_from_when_nobody_can_have_come_any_more() -> None:
    marks = {tags.DRAINED_AT: stamp(7), tags.EMPTY_SINCE: stamp(7)}
    policy = Policy(floor_percent=0, min_drain_minutes=0)
    pair = (drained("a", tagged=marks), serving("n"))
    assert told(decide(*pair, policy=policy), Kind.REMOVE_FROM_POOL) == [], "three minutes, and then five"
    earlier = (drained("a", tagged=dict.fromkeys(marks, stamp(8))), serving("n"))
    assert told(decide(*earlier, policy=policy), Kind.REMOVE_FROM_POOL) == ["a"]
    unseen = decide(*earlier, policy=policy, watched_since=ago(4))
    assert told(unseen, Kind.REMOVE_FROM_POOL) == [], "nobody looked after the pool in between"


def test_an_empty_host_drains_its_least_time_and_settles_before_it_is_removed() -> None:
    just_drained = old("a", allow_new_session=False, tagged={tags.DRAINED_AT: stamp(14), tags.EMPTY_SINCE: stamp(14)})
    just_empty = drained("b", tagged={tags.EMPTY_SINCE: stamp(4)})
    result = decide(just_drained, just_empty, serving("n"), policy=Policy(floor_percent=0))
    assert told(result, Kind.REMOVE_FROM_POOL) == []
    alone = decide(just_empty, serving("n1"), serving("n2"), policy=Policy(floor_percent=0))
    assert (alone.waiting_for, alone.until) == ("b to drain and settle", EPOCH + timedelta(minutes=1))


def test_a_count_without_a_session_is_still_somebody() -> None:
    assert kinds(decide(replace(vacated("a"), session_count=1), serving("n"))) == {Kind.FORGET_EMPTY}


def test_a_session_without_a_count_is_still_somebody() -> None:
    someone = (Session("s", "someone@contoso.com", "Active", ago(1)),)
    assert kinds(decide(replace(vacated("a"), sessions=someone), serving("n"))) == {Kind.FORGET_EMPTY}


def test_a_host_that_somebody_opened_again_settles_anew() -> None:
    result = decide(replace(vacated("a"), allow_new_session=True), serving("n"))
    assert [action.kind for action in result.actions] == [Kind.FORGET_EMPTY, Kind.DRAIN]


def test_an_empty_host_stays_as_a_reserve_while_the_pool_is_below_its_floor() -> None:
    dead = serving("n2", last_heartbeat=ago(20))
    result = decide(vacated("a"), old("b"), old("c"), serving("n1"), dead, size=5)
    assert told(result, Kind.REMOVE_FROM_POOL) == []
    assert "reserve" in result.notes["a"].reason


def test_a_host_that_was_in_drain_mode_before_is_no_reserve() -> None:
    dead = serving("n2", last_heartbeat=ago(20))
    never_ours = drained("a", tagged={tags.EMPTY_SINCE: stamp(30), tags.WAS_DRAINED: "r1"})
    result = decide(never_ours, old("b"), old("c"), serving("n1"), dead, size=5)
    assert told(result, Kind.REMOVE_FROM_POOL) == ["a"]


def test_a_retired_host_that_somebody_switched_on_again_is_left_alone() -> None:
    assert decide(replace(retired("a"), power="running"), serving("n")).actions == ()


# --- Going back ---------------------------------------------------------------------------------------------------------


def back(name: str, **changes: Any) -> Host:
    """A retained host that this roll back switched on twenty minutes ago."""
    marks = {
        tags.BACK: tags.frozen_value(REFRESH, f"id-of-{name}"),
        tags.BACK_AT: stamp(20),
        **changes.pop("tagged", {}),
    }
    return way_back(name, **{"tags": marks, "power": "running", **changes})


def test_a_roll_back_switches_all_retained_hosts_on_at_once_and_makes_none() -> None:
    result = decide(*FOUR_OLD, *(way_back(f"r{n}") for n in range(5)), size=4, rollback=True)
    assert [(action.kind, action.host) for action in result.actions] == [(Kind.START, f"r{n}") for n in range(4)]
    assert result.notes["r4"].state == "retained"


def test_a_roll_back_makes_what_it_has_no_retained_hosts_for_once_they_are_started() -> None:
    policy = Policy(surge=9)
    first = decide(*FOUR_OLD, way_back("r"), size=4, rollback=True, policy=policy)
    assert kinds(first) == {Kind.START}
    then = decide(*FOUR_OLD, back("r"), size=4, rollback=True, policy=policy)
    assert (told(then, Kind.REJOIN), len(told(then, Kind.CREATE))) == (["r"], 3)


BACK_ROWS = [
    ("one that runs is registered again", back("r"), Kind.REJOIN, "coming back"),
    ("one that was marked and does not run is started", back("r", power="deallocated"), Kind.START, "coming back"),
    ("one in the pool is checked", back("r", registered=True, allow_new_session=False), Kind.CHECK, "ready"),
    (
        "one that does not come back is given up and not deleted",
        back("r", tagged={tags.BACK_AT: stamp(91)}),
        Kind.GIVE_UP,
        "failed",
    ),
    ("one that failed before is left alone", way_back("r", tagged={tags.FAILED: "mute"}), None, "up to date"),
    ("one that somebody keeps is left alone", way_back("r", tagged={tags.KEEP: "mine"}), None, "kept"),
    ("one on another version is left alone", way_back("r", image_version_id="/other"), None, "not in the pool"),
    (
        "one that was on its way out when the rollout stopped comes back too",
        way_back("r", tags={tags.REPLACE: "r0/id-of-r", tags.EMPTY_SINCE: stamp(9)}, power="running"),
        Kind.START,
        "retained",
    ),
    (
        "one that the rollout left in drain mode is opened",
        way_back("r", registered=True, allow_new_session=False, tags={tags.DRAINED_AT: stamp(9)}),
        Kind.UNDRAIN,
        "up to date",
    ),
]


@pytest.mark.parametrize(
    ("subject", "kind", "state"), [row[1:] for row in BACK_ROWS], ids=[row[0] for row in BACK_ROWS]
)
def test_of_the_hosts_that_are_the_way_back(subject: Host, kind: Kind | None, state: str) -> None:
    result = decide(subject, old("z", users=9), old("y"), size=2, policy=Policy(surge=3), rollback=True)
    about_it = [action.kind for action in result.actions if action.host == subject.name]
    assert (about_it, result.notes[subject.name].state) == ([kind] if kind else [], state)


def test_retained_hosts_come_back_in_no_other_rollout() -> None:
    assert told(decide(*FOUR_OLD, way_back("r"), size=4), Kind.START) == []


def test_a_lower_version_is_refused_unless_it_is_a_roll_back() -> None:
    newer = [replace(each, image_version_id="/images/PILOT/versions/1.10.0") for each in FOUR_OLD]
    refused = decide(*newer)
    assert refused.actions == ()
    assert refused.halted is not None
    assert refused.halted.startswith("1.1.0 is lower than the version of a, b, c, d, and this rollout is no roll back.")
    assert decide(*newer, rollback=True).halted is None


def test_versions_of_one_definition_alone_are_compared() -> None:
    assert is_lower("/i/a/versions/1.9.0", "/I/A/versions/1.10.0")
    assert not is_lower("/i/a/versions/1.10.0", "/i/a/versions/1.9.0")
    assert not is_lower("/i/a/versions/1.9.0", "/i/b/versions/1.10.0")
    assert not is_lower("/i/a/versions/1.9.0", None)
    assert not is_lower("nonsense", "/i/a/versions/1.10.0")


# --- Failing, holding, ending -------------------------------------------------------------------------------------------


def test_within_the_budget_a_failed_host_goes_and_another_name_is_tried() -> None:
    broken = new("pil-001", provisioning_state="Failed")
    result = decide(*FOUR_OLD, serving("pil-002"), broken, policy=Policy(surge=3))
    assert (result.halted, told(result, Kind.DELETE_FAILED)) == (None, ["pil-001"])
    assert told(result, Kind.CREATE) == []
    gone: dict[str, Any] = {"failures_before": 1, "spent_names": ("pil-001",)}
    again = decide(*FOUR_OLD, serving("pil-002"), policy=Policy(surge=2), last_failure=ago(5), **gone)
    assert told(again, Kind.CREATE) == ["pil-003"]


def test_the_pause_before_the_next_try_doubles_with_each_failure_up_to_an_hour() -> None:
    policy = Policy(surge=3, failure_budget=9)
    for failures, minutes in ((1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (60, 60)):
        early = decide(
            *FOUR_OLD, policy=replace(policy, failure_budget=99), failures_before=failures, last_failure=EPOCH
        )
        assert (told(early, Kind.CREATE), early.until) == ([], EPOCH + timedelta(minutes=minutes))
        assert early.waiting_for.startswith("the next try, a while after the last failure, at 2026-11-12")
        due: dict[str, Any] = {"failures_before": failures, "last_failure": ago(minutes)}
        assert told(decide(*FOUR_OLD, policy=replace(policy, failure_budget=99), **due), Kind.CREATE) == ["pil-001"]


# --- Waves --------------------------------------------------------------------------------------------------------------

TEN = tuple(old(f"a{n}") for n in range(10))
WIDE = Policy(surge=10)


def used(count: int) -> frozenset[str]:
    """The first new hosts, as they are named where sign-in to them was seen to go well."""
    return frozenset(f"n{number}" for number in range(count))


@pytest.mark.parametrize(
    ("serve", "come"),
    [(1, 1), (2, 4), (3, 3), (6, 4)],
    ids=["the first share", "the second", "within the second", "the rest"],
)
def test_new_hosts_come_in_growing_shares_each_when_the_one_before_serves(serve: int, come: int) -> None:
    result = decide(*TEN, *(serving(f"n{n}") for n in range(serve)), policy=WIDE)
    assert len(told(result, Kind.CREATE)) == come


def test_the_next_wave_does_not_open_before_sign_in_to_the_one_before_was_seen_to_go_well() -> None:
    baked = [serving(f"n{n}", tags={tags.REFRESH: "r1", tags.CHECKED_AT: stamp(18)}) for n in range(2)]
    asked = decide(*TEN, *baked, policy=WIDE, sign_in_seen=used(0))
    assert told(asked, Kind.CREATE) == []
    assert asked.to_judge == ("n0", "n1")
    assert decide(*TEN, *baked, policy=WIDE, sign_in_seen=used(1)).to_judge == ("n0", "n1")
    seen = decide(*TEN, *baked, policy=WIDE, sign_in_seen=used(2))
    assert (len(told(seen, Kind.CREATE)), seen.to_judge) == (4, ())


def test_a_wave_is_in_use_for_its_bake_time_before_anybody_asks_how_sign_in_goes() -> None:
    ages = {"n0": 40, "n1": 16}  # with two minutes of min_ready the second was opened 14 minutes ago
    hosts = [serving(name, tags={tags.REFRESH: "r1", tags.CHECKED_AT: stamp(age)}) for name, age in ages.items()]
    waiting = [drained(f"a{n}", users=1) for n in range(10)]
    result = decide(*waiting, *hosts, size=10, policy=replace(WIDE, floor_percent=0), sign_in_seen=used(0))
    assert result.to_judge == ()
    assert result.until == EPOCH + timedelta(minutes=1)


def test_nobody_asks_how_sign_in_goes_under_a_hold_before_the_wave_serves_or_in_the_last_one() -> None:
    old_enough = {tags.REFRESH: "r1", tags.CHECKED_AT: stamp(60)}
    wave = [serving(f"n{n}", tags=old_enough) for n in range(2)]
    unseen: dict[str, Any] = {"sign_in_seen": used(0)}
    assert decide(*TEN, *wave, policy=WIDE, hold="Ann: wait", **unseen).to_judge == ()
    assert decide(*TEN, *wave[:1], policy=WIDE, **unseen).to_judge == ()
    assert decide(*TEN, *wave, policy=replace(WIDE, waves=(100,)), **unseen).to_judge == ()


def test_where_nobody_can_say_how_sign_in_goes_the_next_wave_waits_and_says_so() -> None:
    wave = [serving(f"n{n}", tags={tags.REFRESH: "r1", tags.CHECKED_AT: stamp(60)}) for n in range(2)]
    emptied = [vacated(f"a{n}") for n in range(2, 10)]
    unseen: dict[str, Any] = {"sign_in_seen": used(0), "sign_in_unseen": "The workspace answered in part."}
    policy = replace(WIDE, floor_percent=0)
    result = decide(*emptied, retired("a0"), retired("a1"), *wave, size=10, policy=policy, **unseen)
    assert result.actions == ()
    assert result.waiting_for.endswith("before the next wave: The workspace answered in part.")


def test_worse_sign_in_on_new_hosts_halts_the_rollout_with_what_was_measured() -> None:
    wave = [serving(f"n{n}") for n in range(2)]
    result = decide(
        *TEN[1:], drained("a0", users=1), *wave, size=10, policy=WIDE, sign_in_worse="New hosts: 9 of 10 failed."
    )
    assert told(result, Kind.UNDRAIN) == ["a0"]
    assert kinds(result) == {Kind.UNDRAIN}
    assert result.halted is not None
    assert "New hosts: 9 of 10 failed." in result.halted
    assert "roll back" in result.halted


def test_a_wave_waits_for_its_last_host_to_serve() -> None:
    coming = new("n1", tagged={tags.CHECKED_AT: stamp(1)})
    result = decide(*TEN, serving("n0"), coming, policy=WIDE)
    assert told(result, Kind.CREATE) == []
    unwell = decide(*TEN, serving("n0"), serving("n1", status="Upgrading"), policy=WIDE)
    assert told(unwell, Kind.CREATE) == []


def test_after_a_failure_the_waves_begin_again_with_what_is_not_proven() -> None:
    failed: dict[str, Any] = {"failures_before": 1, "last_failure": ago(10)}
    before = [serving(f"n{n}", tags={tags.REFRESH: "r1", tags.CHECKED_AT: stamp(60)}) for n in range(5)]
    assert len(told(decide(*TEN, *before, policy=WIDE, **failed), Kind.CREATE)) == 1
    since = [*before, serving("n5")]
    assert len(told(decide(*TEN, *since, policy=WIDE, **failed), Kind.CREATE)) == 2


def test_outdated_hosts_go_by_the_same_shares() -> None:
    policy = replace(IMMEDIATE, surge=10)
    emptied = [vacated(f"a{n}") for n in range(10)]
    few = decide(*emptied, serving("n0"), policy=policy)
    assert len(told(few, Kind.REMOVE_FROM_POOL)) == 2
    gone = decide(*emptied[:8], retired("a8"), retired("a9"), serving("n0"), size=10, policy=policy)
    assert told(gone, Kind.REMOVE_FROM_POOL) == []
    assert gone.notes["a7"].reason == "nobody on it; it stays until the open wave's new hosts serve"
    occupied = [drained(f"a{n}", users=1) for n in range(10)]
    assert len(told(decide(*occupied, serving("n0"), policy=policy), Kind.WARN)) == 2
    more = decide(*occupied, *(serving(f"n{n}") for n in range(3)), policy=policy)
    assert len(told(more, Kind.WARN)) == 6


def test_without_waves_the_surge_alone_bounds_what_comes() -> None:
    assert len(told(decide(*TEN, serving("n"), policy=replace(WIDE, waves=(100,))), Kind.CREATE)) == 9


def test_over_the_budget_the_rollout_halts_says_why_and_gives_drained_hosts_back() -> None:
    broken = new("n", provisioning_state="Failed", problem="no capacity")
    mine, theirs = drained("a", users=1), drained("b", tagged={tags.WAS_DRAINED: "yes"})
    result = decide(mine, theirs, vacated("c"), old("d"), broken, failures_before=1)
    assert [(action.kind, action.host) for action in result.actions] == [(Kind.UNDRAIN, "a"), (Kind.UNDRAIN, "c")]
    assert result.halted is not None
    assert "n: Azure could not provision it: no capacity" in result.halted
    told_of = decide(old("d"), failures_before=2, last_failure=ago(5), last_cause="m: no patches")
    assert "removed before, the last one m: no patches" in (told_of.halted or "")
    assert not result.done


def test_time_in_which_nobody_looked_after_a_new_host_is_not_held_against_it() -> None:
    slow, mute = new("n", created_at=ago(600)), new("m", created_at=ago(600), status="Unavailable")
    watched: dict[str, Any] = {"watched_since": ago(20)}
    assert told(decide(*FOUR_OLD, slow, mute, **watched), Kind.CHECK_CANARY) == ["n"]
    assert not told(decide(*FOUR_OLD, slow, mute, **watched), Kind.DELETE_FAILED)
    assert told(decide(*FOUR_OLD, slow, mute, watched_since=ago(91)), Kind.DELETE_FAILED) == ["m"]
    assert told(decide(*FOUR_OLD, slow, watched_since=ago(151)), Kind.DELETE_FAILED) == ["n"]


def test_a_failed_host_whose_removal_broke_off_is_removed_and_not_counted_twice() -> None:
    half = new("n", tagged={tags.CHECKED_AT: stamp(200)}, registered=False)
    result = decide(*FOUR_OLD, half, failures_before=1, spent_names=("n",), last_failure=ago(60))
    assert told(result, Kind.DELETE_FAILED) == ["n"]
    assert result.halted is None


def test_a_failed_host_that_is_being_deleted_is_not_counted_twice() -> None:
    going = new("n", provisioning_state="Deleting", tagged={tags.FAILED: "no patches"})
    assert decide(*FOUR_OLD, going, failures_before=1).halted is None


def test_an_unchecked_host_that_the_broker_opened_is_no_capacity() -> None:
    unchecked = new("n2", allow_new_session=True)
    result = decide(*FOUR_OLD, serving("n1"), unchecked, policy=Policy(surge=2, floor_percent=100))
    assert told(result, Kind.SHUT) == ["n2"]
    assert told(result, Kind.DRAIN) == ["a"]


def test_a_host_that_was_drained_a_moment_ago_is_no_capacity_though_the_look_shows_it_open() -> None:
    policy = Policy(floor_percent=75)
    for minutes_ago, drained_now in ((1, ["b"]), (4, ["b", "c"])):
        busy = old("a", users=5, tagged={tags.DRAINED_AT: stamp(minutes_ago)})
        assert told(decide(busy, *FOUR_OLD[1:], serving("n"), policy=policy), Kind.DRAIN) == drained_now


def test_a_failed_host_with_somebody_on_it_is_not_deleted() -> None:
    died = serving("n", last_heartbeat=ago(91), session_count=1, allow_new_session=False)
    result = decide(*FOUR_OLD, died)
    assert told(result, Kind.DELETE_FAILED) == []
    assert result.notes["n"].reason.endswith("; it goes once the broker shows nobody on it any more (1 session)")
    assert decide(retired("a"), died, serving("m"), size=1).done, "nobody waits for those who cannot leave a dead host"


def test_a_failed_host_that_takes_people_is_shut_before_it_is_deleted() -> None:
    lost = serving("n", last_heartbeat=ago(91))
    assert told(decide(*FOUR_OLD, lost), Kind.SHUT) == ["n"]
    assert told(decide(*FOUR_OLD, lost), Kind.DELETE_FAILED) == []
    assert told(decide(*FOUR_OLD, replace(lost, allow_new_session=False)), Kind.DELETE_FAILED) == ["n"]


def test_where_the_last_new_host_of_a_pool_died_another_is_made() -> None:
    nobody_left = decide(retired("a"), size=1, failures_before=1, spent_names=("pil-001",), last_failure=ago(60))
    assert told(nobody_left, Kind.CREATE) == ["pil-002"]
    on_its_way = new("pil-002", registered=False, provisioning_state="Creating")
    assert "pil-002 to come up" in decide(retired("a"), on_its_way, size=1).waiting_for
    gone_from_the_list = decide(retired("a"), replace(serving("pil-002"), registered=False), size=1)
    assert "no host in it at all" in gone_from_the_list.waiting_for


def test_a_pool_whose_last_outdated_host_was_empty_before_somebody_took_it_away_is_believed_to_be_empty() -> None:
    assert told(decide(vacated("a", registered=False), size=1), Kind.DEALLOCATE) == ["a"]
    unseen = decide(vacated("a", registered=False), drained("b", registered=False), size=2)
    assert "no host in it at all" in unseen.waiting_for


def test_a_failed_host_whose_removal_broke_off_half_way_is_not_waited_for_in_an_empty_pool() -> None:
    half = serving("n", registered=False)
    gone = decide(retired("a"), half, size=1, failures_before=1, spent_names=("n",), last_failure=ago(60))
    assert told(gone, Kind.DELETE_FAILED) == ["n"]
    assert "no host in it at all" in decide(retired("a"), half, size=1).waiting_for


def test_a_new_host_that_sleeps_has_not_failed() -> None:
    asleep = serving("n", power="deallocated", last_heartbeat=ago(600), status="Shutdown")
    result = decide(retired("a"), asleep)
    assert (result.actions, result.done) == ((), True)


def test_while_a_hold_stands_only_unchecked_hosts_are_kept_shut() -> None:
    result = decide(
        *FOUR_OLD, vacated("e"), new("n", allow_new_session=True), canary_proven=True, hold="Ann: exam week"
    )
    assert [(action.kind, action.host) for action in result.actions] == [(Kind.SHUT, "n")]
    quiet = decide(*FOUR_OLD, vacated("e"), hold="Ann: exam week")
    assert (quiet.actions, quiet.done) == ((), False)
    assert quiet.waiting_for == "the hold to be lifted: Ann: exam week"


def test_what_a_cancellation_puts_back_is_what_the_rollout_drained() -> None:
    snapshot = look(drained("a"), old("b"), drained("c", tagged={tags.KEEP: "yes"}), retired("d"), new("n"))
    assert [action.host for action in put_back(snapshot, target(4))] == ["a"]


PERSONAL = {"pool": replace(look().pool, host_pool_type="Personal", max_session_limit=999999)}


def test_a_personal_pool_is_refused_but_in_place() -> None:
    result = decide(*FOUR_OLD, seen=PERSONAL)
    assert result.actions == ()
    assert result.halted is not None
    assert "personal host pool" in result.halted


def test_in_a_personal_pool_hosts_that_are_somebodys_own_are_neither_frozen_nor_touched() -> None:
    own = old("a", assigned_user="ada@contoso.com")
    assert hosts_to_freeze(look(own, *FOUR_OLD[1:], **PERSONAL), target(4)) == ("b", "c", "d")
    result = decide(own, *FOUR_OLD[1:], seen=PERSONAL, policy=IN_PLACE)
    assert [(action.kind, action.host) for action in result.actions] == [(Kind.DRAIN, "b")]
    assert result.notes["a"].state == "assigned"
    gone = decide(own, *FOUR_OLD[2:], seen=PERSONAL, policy=IN_PLACE, size=4, vacant_names=("b",))
    assert told(gone, Kind.CREATE) == ["b"]


def test_a_drained_host_that_becomes_somebodys_own_is_opened_for_them() -> None:
    given = vacated("a", assigned_user="ada@contoso.com")
    result = decide(given, *FOUR_OLD[1:], seen=PERSONAL, policy=IN_PLACE, size=4)
    assert told(result, Kind.UNDRAIN) == ["a"]
    assert told(result, Kind.DRAIN) == ["b"], "another takes its turn"
    stopped = look(given, *FOUR_OLD[1:], **PERSONAL)
    assert [action.host for action in put_back(stopped, target(4))] == ["a"]


def test_a_new_host_that_is_somebodys_own_already_is_not_deleted_though_it_fails() -> None:
    dead: dict[str, Any] = {"status": "Unavailable", "last_heartbeat": ago(600), "created_at": ago(700)}
    for owner, deleted in (("", ["n"]), ("ada@contoso.com", [])):
        failed = serving("n", assigned_user=owner, **dead)
        result = decide(failed, *FOUR_OLD[1:], seen=PERSONAL, policy=IN_PLACE, size=4, vacant_names=("a",))
        told_to_go = [*told(result, Kind.DELETE_FAILED), *told(result, Kind.SHUT)]
        assert [name for name in told_to_go if name == "n"] == deleted


def test_a_canary_alone_is_done_when_it_is_checked_and_stays_shut() -> None:
    assert told(decide(host("a"), host("b"), canary_only=True), Kind.CREATE) == ["pil-001"]
    just_checked = decide(host("a"), new("pil-001", tagged={tags.CHECKED_AT: stamp(1)}), canary_only=True)
    assert (just_checked.done, just_checked.waiting_for) == (False, "pil-001 to have been healthy for 2 minutes")
    assert just_checked.until == EPOCH + timedelta(minutes=1)
    checked = new("pil-001", tagged={tags.CHECKED_AT: stamp(2)})
    result = decide(host("a"), host("b"), checked, canary_only=True)
    assert (result.actions, result.done) == ((), True)


def test_a_rollout_is_done_when_every_frozen_host_is_retired_and_all_new_ones_serve() -> None:
    ends = (retired("a"), retired("b"), serving("n1"), serving("n2"))
    assert decide(*ends).done
    assert decide(*ends).replaced == decide(*ends).total == 2
    assert not decide(*ends[:3], size=2).done
    assert not decide(*ends[1:], old("c")).done
    assert not decide(*ends[:3], serving("n2", last_heartbeat=ago(20)), size=2).done


def test_a_plan_says_how_far_it_is_and_whom_it_will_move() -> None:
    result = decide(retired("a"), drained("b", users=2), old("c", users=3), serving("n1"), serving("n2"))
    assert (result.replaced, result.total, result.users_to_move, result.capacity_percent) == (1, 3, 5, 100)


def test_a_floor_that_keeps_users_from_being_moved_is_named_with_its_remedy() -> None:
    policy = replace(IMMEDIATE, floor_percent=100)
    result = decide(old("a", users=1), drained("b", users=1), serving("n"), policy=policy)
    assert result.actions == ()
    assert "nobody is signed out before all of them do; a larger max_surge would make room" in result.waiting_for


def test_an_unreadable_time_in_a_tag_delays_and_never_hurries() -> None:
    garbled = drained("a", tagged={tags.EMPTY_SINCE: "yesterday", tags.DRAINED_AT: "soon"})
    assert not kinds(decide(garbled, serving("n"))) & DESTRUCTIVE


def test_an_unfit_look_says_so_before_anything_is_frozen() -> None:
    aim: Target = target(4)
    whole: Snapshot = look(*FOUR_OLD)
    assert why_unfit(whole, aim, Policy(), EPOCH) == ""
    assert why_unfit(Snapshot.incomplete(EPOCH, "no answer"), aim, Policy(), EPOCH)


IN_PLACE = Policy(strategy="in_place", surge=0, floor_percent=50, waves=(50, 100))


def test_in_place_one_host_drains_for_the_canary_and_nothing_is_created_beside_the_pool() -> None:
    result = decide(*FOUR_OLD, policy=IN_PLACE)
    assert told(result, Kind.DRAIN) == ["a"]
    assert told(result, Kind.CREATE) == []
    assert kinds(decide(drained("a", users=1), *FOUR_OLD[1:], policy=IN_PLACE)) == set()


def test_in_place_a_removed_host_is_deleted_and_its_name_is_free_for_its_successor_once_it_is_gone() -> None:
    out = vacated("a", registered=False)
    assert told(decide(out, *FOUR_OLD[1:], policy=IN_PLACE), Kind.DELETE_OUTDATED) == ["a"]
    going = replace(out, provisioning_state="Deleting")
    assert kinds(decide(going, *FOUR_OLD[1:], policy=IN_PLACE, vacant_names=("a",))) == set()
    gone = decide(*FOUR_OLD[1:], size=4, policy=IN_PLACE, vacant_names=("a",))
    assert [(action.kind, action.host) for action in gone.actions] == [(Kind.CREATE, "a")]


def test_in_place_a_host_that_has_not_settled_outside_the_pool_is_not_deleted_yet() -> None:
    out = drained("a", tagged={tags.EMPTY_SINCE: stamp(3)}, registered=False)
    assert kinds(decide(out, *FOUR_OLD[1:], policy=IN_PLACE)) == set()


def test_in_place_what_other_hands_took_out_of_the_pool_is_kept() -> None:
    out = old("a", tagged={tags.EMPTY_SINCE: stamp(30)}, registered=False)
    assert told(decide(out, *FOUR_OLD[1:], policy=IN_PLACE), Kind.DEALLOCATE) == ["a"]


def test_in_place_no_second_host_goes_before_the_canary_serves_and_then_as_many_as_the_wave_replaces() -> None:
    waiting = decide(new("a"), *FOUR_OLD[1:], size=4, policy=IN_PLACE, vacant_names=("a",))
    assert told(waiting, Kind.DRAIN) == []
    serves = decide(serving("a"), *FOUR_OLD[1:], size=4, policy=IN_PLACE, vacant_names=("a",))
    assert told(serves, Kind.DRAIN) == ["b"]


def test_in_place_the_floor_counts_the_host_that_is_missing() -> None:
    left = (serving("a"), *FOUR_OLD[2:])
    tight = replace(IN_PLACE, floor_percent=75, waves=(100,))
    assert told(decide(*left, size=4, policy=tight, vacant_names=("a", "b")), Kind.DRAIN) == []


def test_in_place_a_pool_whose_floor_needs_every_host_is_refused_before_anything_changes() -> None:
    result = decide(*FOUR_OLD, policy=replace(IN_PLACE, floor_percent=80))
    assert result.halted is not None
    assert "lower capacity_floor_percent" in result.halted
    assert result.actions == ()


def test_in_place_the_successor_of_one_that_failed_has_another_name_and_a_halt_says_what_the_pool_lacks() -> None:
    spent: dict[str, Any] = {
        "vacant_names": ("a",),
        "spent_names": ("a",),
        "failures_before": 1,
        "last_failure": ago(60),
    }
    again = decide(*FOUR_OLD[1:], size=4, policy=IN_PLACE, **spent)
    assert told(again, Kind.CREATE) == ["pil-001"]
    over = decide(*FOUR_OLD[1:], size=4, policy=replace(IN_PLACE, failure_budget=0), **spent)
    assert over.halted is not None
    assert "short of 1 of its 4 hosts" in over.halted
    assert over.actions == ()


def test_in_place_one_host_stays_whatever_the_floor_and_a_pool_of_one_is_refused() -> None:
    policy = replace(IN_PLACE, floor_percent=0, waves=(100,))
    assert told(decide(*FOUR_OLD, policy=policy, canary_proven=True), Kind.DRAIN) == ["a", "b", "c"]
    assert decide(size=4, policy=policy, vacant_names=("a", "b", "c", "d")).actions == ()
    alone = decide(old("a"), policy=policy)
    assert alone.halted is not None
    assert "one host, which cannot go before" in alone.halted


def test_in_place_a_roll_back_lets_outdated_hosts_go_once_retained_ones_are_back_beside_them() -> None:
    checked: dict[str, Any] = {"registered": True, "allow_new_session": True, "tagged": {tags.CHECKED_AT: stamp(5)}}
    back_again = [back(name, **checked) for name in "xy"]
    policy = replace(IN_PLACE, min_ready_minutes=0)
    result = decide(vacated("a"), FOUR_OLD[1], *back_again, size=2, policy=policy, rollback=True)
    assert told(result, Kind.REMOVE_FROM_POOL) == ["a"]
    assert told(result, Kind.DRAIN) == ["b"]


def test_in_place_it_is_done_when_every_successor_serves() -> None:
    hosts = [serving(name) for name in "ab"]
    assert decide(*hosts, size=2, policy=IN_PLACE, vacant_names=("b",)).done
    assert not decide(hosts[0], size=2, policy=IN_PLACE, vacant_names=("b",)).done


def test_in_place_the_canary_of_a_refresh_stands_beside_the_pool() -> None:
    assert told(decide(*FOUR_OLD, policy=IN_PLACE, canary_only=True), Kind.CREATE) == ["pil-001"]
