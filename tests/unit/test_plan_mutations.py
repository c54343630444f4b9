"""Whether the tests would notice: each guard of the planner is broken by hand, and something has to fail.

A mutation replaces one piece of the source of one of the planner's modules. It is caught by one named example, or by `LIVES`:
the property tests' stories of whole rollouts, where every action is checked against the truth. The stories take seconds each: a sample
of them runs here, all of them with EVERGOLD_SOAK (make soak).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from evergold.rollout import frozen, hosts, plan, view, wording
from tests.support import model_pool
from tests.unit import test_plan, test_plan_properties

LIVES = None
PLANNER = (hosts, frozen, view, wording, plan)  # each after those that it imports
SAMPLE = 4  # of the mutations that only stories catch, every fourth
STORIES = 400


def every_state() -> None:
    """The table of what one host's state leads to."""
    for _, subject, kind, state in test_plan.ROWS:
        test_plan.test_each_state_of_a_host_has_one_way_on(subject, kind, state)


@dataclass(frozen=True)
class Mutation:
    """One guard, how it is broken, and what notices. `invariant` is the promise of DESIGN that it stands for."""

    invariant: str
    module: ModuleType
    old: str
    new: str
    caught_by: Callable[[], None] | None = LIVES


MUTATIONS = [
    Mutation(
        "I2 without a session limit nobody is signed out: all could come back to one host",
        view,
        "        if self.is_unlimited:\n            return 0\n",
        "",
        test_plan.test_without_a_session_limit_nobody_is_signed_out_since_all_could_come_back_to_one_host,
    ),
    Mutation(
        "in place one host goes before the canary serves",
        view,
        "if self.canary_serves else min(self.allowed, 1)",
        "",
        test_plan.test_in_place_one_host_drains_for_the_canary_and_nothing_is_created_beside_the_pool,
    ),
    Mutation(
        "in place no more go than the open wave replaces",
        plan,
        "        if turns <= 0:\n            break\n",
        "",
        test_plan.test_in_place_no_second_host_goes_before_the_canary_serves_and_then_as_many_as_the_wave_replaces,
    ),
    Mutation(
        "in place a host settles outside the pool before it is deleted",
        plan,
        "if not time_left(host, view) and not is_going(host):",
        "if not is_going(host):",
        test_plan.test_in_place_a_host_that_has_not_settled_outside_the_pool_is_not_deleted_yet,
    ),
    Mutation(
        "I1 in place a floor that needs every host is refused",
        plan,
        "if least <= (max(view.target.size, view.standing) - 1) * view.limit:",
        "if True:",
        test_plan.test_in_place_a_pool_whose_floor_needs_every_host_is_refused_before_anything_changes,
    ),
    Mutation(
        "I4 in place one host stays, so that no empty look has to be believed",
        view,
        "return min(allowed - self._away(staying), self.standing - 1)",
        "return allowed - self._away(staying)",
        test_plan.test_in_place_one_host_stays_whatever_the_floor_and_a_pool_of_one_is_refused,
    ),
    Mutation(
        "I1 the floor holds",
        plan,
        "view.capacity - view.open_floor",
        "view.capacity",
        test_plan.test_while_hosts_sleep_none_of_those_drains_that_the_floor_needs_awake,
    ),
    Mutation(
        "I1 the floor is rounded up", view, "return -(-self.target.size * self", "return (self.target.size * self"
    ),
    Mutation(
        "I1 a draining host is no capacity",
        hosts,
        "return host.allow_new_session and is_usable",
        "return is_usable",
    ),
    Mutation(
        "I1 hosts that are merely unwell count against the floor",
        plan,
        "host.name in view.at_hand, True",
        "host.name in view.at_hand, False",
        test_plan.test_when_all_hosts_miss_a_few_heartbeats_they_are_not_all_drained,
    ),
    Mutation(
        "I1 in quiet time the floor of the day is at hand",
        plan,
        "at_hand - view.floor",
        "at_hand",
        test_plan.test_what_is_unwell_at_night_is_not_counted_upon_for_the_day,
    ),
    Mutation(
        "I1 in quiet time a drained host is kept where the day would lack it",
        view,
        "max(self.open_floor - self.capacity, self.floor - self.limit * len(self.at_hand))",
        "self.open_floor - self.capacity",
        test_plan.test_at_night_a_drained_host_is_kept_and_opened_where_the_day_would_lack_it,
    ),
    Mutation(
        "I1 in quiet time the plan's share is open",
        view,
        "return min(max(hosts, 1) * self.limit, self.floor)",
        "return min(self.limit, self.floor)",
        test_plan.test_in_quiet_time_the_slots_that_must_be_open_are_the_scaling_plans_share,
    ),
    Mutation(
        "I1 in quiet time one host is open",
        view,
        "max(hosts, 1) * self.limit",
        "hosts * self.limit",
        test_plan.test_however_small_the_plans_share_one_host_stays_open,
    ),
    Mutation(
        "in quiet time no more has to be open than by day",
        view,
        "return min(max(hosts, 1) * self.limit, self.floor)",
        "return max(hosts, 1) * self.limit",
        test_plan.test_the_plans_share_never_asks_for_more_than_the_floor,
    ),
    Mutation(
        "I1 the look-ahead: hosts are woken, and the floor is the day's, before ramp-up",
        view,
        "self.quiet is not None and self.now < self.quiet.wakes_at",
        "self.quiet is not None",
        test_plan.test_what_the_scaling_plan_has_switched_off_is_left_so_until_its_ramp_up_is_near,
    ),
    Mutation(
        "in quiet time what sleeps is left asleep",
        view,
        "        if self.night is None:\n            return frozenset(host.name for host in off)\n",
        "        if True:\n            return frozenset(host.name for host in off)\n",
        test_plan.test_what_the_scaling_plan_has_switched_off_is_left_so_until_its_ramp_up_is_near,
    ),
    Mutation(
        "I1 no time is quiet unless a scaling plan is suspended for the pool",
        view,
        " if self.has_suspended_plan else None",
        "",
        test_plan.test_where_no_scaling_plan_is_suspended_nothing_is_woken_and_no_time_is_quiet,
    ),
    Mutation(
        "people at night find room",
        view,
        "-(-people * 100 // quiet.full_percent)",
        "0",
        test_plan.test_at_night_as_many_are_woken_as_the_plan_would_wake_for_people,
    ),
    Mutation(
        "at night those that are being woken are not woken again, and no others for them",
        view,
        " - len(self.waking), 0)",
        ", 0)",
        test_plan.test_at_night_as_many_are_woken_as_the_plan_would_wake_for_people,
    ),
    Mutation(
        "I1 what is woken at night is not drained at once",
        plan,
        "view.called | view.undrainable",
        "view.undrainable",
        test_plan.test_what_is_woken_at_night_because_it_is_needed_is_not_drained_meanwhile,
    ),
    Mutation(
        "new hosts are woken at night",
        view,
        "frozenset([*ours, *others",
        "frozenset([*others",
        test_plan.test_new_hosts_are_woken_at_any_hour,
    ),
    Mutation(
        "I1 what somebody keeps asleep is nothing for the day",
        hosts,
        "host.has_vm and not is_kept(host) and not drained",
        "host.has_vm and not drained",
        test_plan.test_what_somebody_keeps_is_not_woken_and_is_no_room_for_the_day,
    ),
    Mutation(
        "I1 what a plan has shut while it sleeps is not drained for nothing",
        plan,
        "not (host.allow_new_session or sleeps(host))",
        "not host.allow_new_session",
        test_plan.test_a_host_that_a_plan_switched_off_and_shut_is_not_drained_for_nothing,
    ),
    Mutation(
        "I1 what was woken is not lost",
        hosts,
        "(host.last_heartbeat or began_at(host), woken_at(host))",
        "(host.last_heartbeat or began_at(host),)",
        test_plan.test_a_host_that_was_woken_is_not_lost_for_having_been_silent_all_night,
    ),
    Mutation(
        "no reserve is opened while those that were woken come up",
        view,
        "if wakes or self.waking or any(",
        "if any(",
        test_plan.test_in_the_morning_a_drained_host_is_opened_only_where_those_that_were_woken_do_not_come,
    ),
    Mutation(
        "what Azure will not start is not on its way for ever",
        hosts,
        "return woken is None or was_up or now - woken > WAKE_AGAIN",
        "return True",
        test_plan.test_a_host_that_azure_will_not_start_is_not_on_its_way_for_ever,
    ),
    Mutation(
        "I1 an old heartbeat is no capacity",
        hosts,
        "and now - host.last_heartbeat <= timedelta(minutes=policy.heartbeat_max_age_minutes)",
        "",
        test_plan.test_a_host_with_an_old_heartbeat_is_no_capacity_whatever_its_status_says,
    ),
    Mutation(
        "I1 an unchecked host is no capacity",
        view,
        "unchecked = {host.name for host in self.fresh if not is_checked(host)}",
        "unchecked: set[str] = set()",
        test_plan.test_an_unchecked_host_that_the_broker_opened_is_no_capacity,
    ),
    Mutation(
        "I2 a count without a session is somebody",
        hosts,
        "return host.session_count == 0 and not host.sessions",
        "return not host.sessions",
        test_plan.test_a_count_without_a_session_is_still_somebody,
    ),
    Mutation(
        "I2 only an empty host goes",
        plan,
        "elif is_draining(host) and is_empty(host):",
        "elif is_draining(host):",
        every_state,
    ),
    Mutation("I2 it settles first", plan, "elif not time_left(host, view) and not is_reserve", "elif not is_reserve"),
    Mutation(
        "I2 the notice is given whole",
        plan,
        "elif older and view.now - warned >= timedelta(minutes=view.policy.warn_minutes)",
        "elif older",
        test_plan.test_those_who_were_warned_are_signed_out_when_their_minutes_are_over,
    ),
    Mutation(
        "those who stay are told again when the minutes between are over, and not at each look",
        plan,
        "and (again := reminds_at(host, warned, view.policy)) is not None and view.now >= again",
        "and (again := reminds_at(host, warned, view.policy)) is not None",
        partial(
            test_plan.test_a_warning_is_repeated_as_often_as_the_image_set_says_until_the_sign_out,
            *(test_plan.warned(4), None, 1),
        ),
    ),
    Mutation(
        "I2 whoever came after the warning is warned",
        plan,
        "s.created_at is not None and s.created_at <= warned",
        "s.created_at is not None",
        test_plan.test_at_the_end_of_a_window_only_those_who_were_warned_are_signed_out,
    ),
    Mutation(
        "I2 only those who were told are signed out",
        plan,
        "s not in told or (",
        "(",
        test_plan.test_a_session_that_was_not_told_is_warned_however_old_it_is,
    ),
    Mutation(
        "I2 nobody is signed out under opportunistic release",
        plan,
        "view.policy.release_method not in MOVES_USERS or not view.all_drain",
        "not view.all_drain",
        test_plan.test_under_opportunistic_release_nobody_is_ever_warned_or_signed_out,
    ),
    Mutation(
        "I2 into free slots alone",
        plan,
        "not host.sessions or users > free:",
        "not host.sessions:",
        test_plan.test_only_as_many_are_moved_as_find_a_free_slot_on_a_serving_host_of_the_target_version,
    ),
    Mutation(
        "I2 slots of those on their way are taken",
        view,
        "return free - sum(_on_their_way(host, self.policy, self.now) for host in self.outdated)",
        "return free",
        test_plan.test_the_slots_of_users_who_are_on_their_way_are_not_given_to_others,
    ),
    Mutation(
        "I3 all drain before anybody is moved",
        plan,
        "view.policy.release_method not in MOVES_USERS or not view.all_drain",
        "view.policy.release_method not in MOVES_USERS",
        test_plan.test_under_immediate_release_users_are_warned_once_every_outdated_host_drains,
    ),
    Mutation(
        "I4 nothing follows from a partial look",
        plan,
        "if not snapshot.complete:\n        return f",
        "if False:\n        return f",
    ),
    Mutation(
        "I4 nothing follows from an old look",
        plan,
        "if abs(now - snapshot.taken_at) > timedelta(seconds=policy.look_max_age_s):",
        "if False:",
    ),
    Mutation(
        "I4 what is missing from a list is not switched off",
        plan,
        "if tags.EMPTY_SINCE not in host.tags:",
        "if False:",
        test_plan.test_a_host_missing_from_a_partial_list_is_not_switched_off,
    ),
    Mutation(
        "I5 what somebody keeps is left alone",
        hosts,
        "host.has_vm and not is_kept(host) and not host.assigned_user",
        "host.has_vm and not host.assigned_user",
    ),
    Mutation(
        "I5 what is kept is not frozen",
        frozen,
        "        and not is_kept(host)\n        and not host.assigned_user\n",
        "        and not host.assigned_user\n",
        test_plan.test_what_is_outdated_registered_and_not_kept_is_frozen,
    ),
    Mutation(
        "I5 what is somebody's own is not frozen",
        frozen,
        "        and not is_kept(host)\n        and not host.assigned_user\n",
        "        and not is_kept(host)\n",
        test_plan.test_in_a_personal_pool_hosts_that_are_somebodys_own_are_neither_frozen_nor_touched,
    ),
    Mutation(
        "I5 what becomes somebody's own is not touched any more",
        hosts,
        " and not host.assigned_user",
        "",
        test_plan.test_a_drained_host_that_becomes_somebodys_own_is_opened_for_them,
    ),
    Mutation(
        "I5 a new host that is somebody's own is not deleted",
        view,
        "None if is_going(host) or host.assigned_user else",
        "None if is_going(host) else",
        test_plan.test_a_new_host_that_is_somebodys_own_already_is_not_deleted_though_it_fails,
    ),
    Mutation(
        "I5 in place what other hands took out of the pool is kept",
        plan,
        "elif view.in_place and is_noted_drained(host):",
        "elif view.in_place:",
        test_plan.test_in_place_what_other_hands_took_out_of_the_pool_is_kept,
    ),
    Mutation(
        "I5 another VM of the same name is left alone",
        hosts,
        "return noted or host.tags.get(tags.REPLACE) == tags.frozen_value(target.refresh, host.vm_id)",
        'return noted or host.tags.get(tags.REPLACE, "").startswith(target.refresh)',
        every_state,
    ),
    Mutation(
        "I6 names are unique",
        plan,
        "if name.casefold() not in used:",
        "if True:",
        test_plan.test_names_avoid_everything_that_stands_in_any_letter_case,
    ),
    Mutation("I6 names of failed hosts are not used again", plan, "    yield from view.target.spent_names\n", ""),
    Mutation(
        "I8 a halt gives drain mode back",
        plan,
        "yield from put_back(view.snapshot, view.target)\n        return",
        "return",
        test_plan.test_over_the_budget_the_rollout_halts_says_why_and_gives_drained_hosts_back,
    ),
    Mutation(
        "I8 what was in drain mode before stays so",
        plan,
        "is_draining(host) and tags.WAS_DRAINED not in host.tags\n    )",
        "is_draining(host)\n    )",
        test_plan.test_over_the_budget_the_rollout_halts_says_why_and_gives_drained_hosts_back,
    ),
    Mutation(
        "I1 what came up when it was woken, and died again, is no room for the day",
        hosts,
        "return host.last_heartbeat is None or host.last_heartbeat <= woken",
        "return True",
        test_plan.test_one_that_came_up_when_it_was_woken_and_died_again_is_no_room_for_the_day,
    ),
    Mutation(
        "I1 what may be asleep, as far as is known, is room",
        view,
        "for host in (*self.held_open, *self.shut_since_woken, *unknown)",
        "for host in (*self.held_open, *self.shut_since_woken)",
        test_plan.test_what_is_shut_and_of_which_nobody_knows_whether_it_sleeps_is_not_drained_for_nothing,
    ),
    Mutation(
        "I13 nothing is retired that was woken at the same time",
        plan,
        "view.to_wake - leaving",
        "view.to_wake",
        test_plan.test_what_sleeps_and_leaves_the_pool_now_is_not_woken,
    ),
    Mutation(
        "I1 at night nothing that runs is taken for lost",
        view,
        "lost = self.lost if self.night is not None else frozenset()",
        "lost: frozenset[str] = frozenset()",
        test_plan.test_at_night_one_that_others_may_have_switched_on_a_moment_ago_is_not_taken_for_lost,
    ),
    Mutation(
        "I8 what somebody shut long after it was woken stays so",
        hosts,
        "woken is not None and LOOK_LAG < now - woken <= WAKE_TIME",
        "woken is not None and LOOK_LAG < now - woken",
        test_plan.test_one_that_was_woken_and_is_shut_yet_is_opened_but_not_one_that_somebody_shut_long_after,
    ),
    Mutation(
        "I13 nothing is left half-way",
        plan,
        "max(view.needed, len(view.good))",
        "view.needed",
        test_plan.test_it_is_not_done_while_a_new_host_is_on_its_way_though_enough_serve,
    ),
    Mutation(
        "I1 what was drained a moment ago is no capacity, however old the look is",
        hosts,
        "abs(now - drained) <= LOOK_LAG",
        "False",
        test_plan.test_a_host_that_was_drained_a_moment_ago_is_no_capacity_though_the_look_shows_it_open,
    ),
    Mutation(
        "in place a host that is off makes no room before it is deleted",
        view,
        "left = self.left if self.in_place else [",
        "left = [",
        test_plan.test_a_host_that_is_out_of_the_pool_and_off_makes_room_before_it_is_marked,
    ),
    Mutation(
        "a host that was drained while it was empty settles from when nobody can have come any more",
        view,
        "if drained is None or empty > drained:",
        "if drained is not None:",
        test_plan.test_one_that_was_empty_when_it_was_drained_settles_from_when_nobody_can_have_come_any_more,
    ),
    Mutation(
        "hosts that came by hand are none of an unfinished rollout's",
        frozen,
        "max(min(made - replaced, len(standing) - int(size)), 0)",
        "max(len(standing) - int(size), 0)",
        test_plan.test_the_pools_size_does_not_count_what_an_unfinished_rollout_made_beside_it,
    ),
    Mutation(
        "I5 what was made anew under a name was not frozen",
        hosts,
        "noted = target.frozen is not None and target.frozen.has(host)",
        "noted = target.frozen is not None and host.name.casefold() in target.frozen.names",
        test_plan.test_a_host_that_was_made_after_the_freezing_is_not_the_one_that_was_frozen,
    ),
    Mutation(
        "a host that is not off yet takes up the surge",
        hosts,
        'host.power == "deallocated" and tags.EMPTY_SINCE in host.tags',
        "host.power in OFF and tags.EMPTY_SINCE in host.tags",
        test_plan.test_a_host_that_is_out_of_the_pool_and_off_makes_room_before_it_is_marked,
    ),
    Mutation(
        "I11 a retained host is never deleted",
        plan,
        "kind = Kind.GIVE_UP if is_back(host, view.target) else Kind.DELETE_FAILED",
        "kind = Kind.DELETE_FAILED",
    ),
    Mutation("the canary goes first", plan, "elif view.canary_serves or view.in_place:", "else:"),
    Mutation(
        "one canary",
        plan,
        "count = min(count, 1 - len(view.fresh))",
        "count = min(count, 3)",
        test_plan.test_the_canary_is_one_host_without_waves_too,
    ),
    Mutation(
        "the surge bounds what stands",
        plan,
        "min(view.allowed - len(view.good), view.room)",
        "view.allowed - len(view.good)",
        test_plan.test_hosts_in_creation_failed_or_being_deleted_take_up_the_surge,
    ),
    Mutation(
        "waves",
        view,
        "if len(self.used) < bound:",
        "if False:",
        test_plan.test_a_wave_waits_for_its_last_host_to_serve,
    ),
    Mutation(
        "waves begin again after a failure",
        view,
        "failed is not None and _checked_by(host, failed)",
        "False",
        test_plan.test_after_a_failure_the_waves_begin_again_with_what_is_not_proven,
    ),
    Mutation(
        "the pause after a failure",
        plan,
        "count = 0 if view.must_pause else ",
        "count = ",
        test_plan.test_the_pause_before_the_next_try_doubles_with_each_failure_up_to_an_hour,
    ),
    Mutation("a new host proves itself first", hosts, "at is not None and now >= at and", "at is not None and"),
    Mutation("a hold stops everything", plan, "    if view.target.hold:\n        return\n", ""),
    Mutation(
        "the failure budget",
        plan,
        "if failures <= view.policy.failure_budget:",
        "if True:",
        test_plan.test_over_the_budget_the_rollout_halts_says_why_and_gives_drained_hosts_back,
    ),
    Mutation(
        "nothing is begun that the window has no time for",
        view,
        "self.last_begin is None or self.now <= self.last_begin",
        "True",
        test_plan.test_what_its_window_has_no_time_for_is_not_begun,
    ),
    Mutation(
        "nobody is signed out after the window",
        plan,
        "if view.is_outside:\n        yield from _give_back(view)\n    elif",
        "if",
        test_plan.test_those_who_were_warned_are_signed_out_until_the_window_ends,
    ),
    Mutation(
        "the next wave waits for sign-in to go well",
        view,
        "if len(self.used) < bound:",
        "if len(self.proven) < bound:",
        test_plan.test_the_next_wave_does_not_open_before_sign_in_to_the_one_before_was_seen_to_go_well,
    ),
    Mutation(
        "sign-in is judged on hosts that were in use",
        view,
        "self.baked_at is not None and self.now >= self.baked_at",
        "self.baked_at is not None",
        test_plan.test_a_wave_is_in_use_for_its_bake_time_before_anybody_asks_how_sign_in_goes,
    ),
    Mutation(
        "a host that is held open is not fought over",
        view,
        "for host in (*self.held_open, *self.shut_since_woken, *unknown)",
        "for host in (*self.shut_since_woken, *unknown)",
        test_plan.test_a_host_that_somebody_opened_again_is_drained_once_more_and_then_left_to_them,
    ),
    Mutation(
        "an old look is nobody's will",
        hosts,
        "again is not None and now - again > LOOK_LAG",
        "again is not None",
        test_plan.test_a_look_of_before_the_second_drain_is_nobodys_will,
    ),
    Mutation(
        "a lower version needs the word rollback",
        plan,
        "if view.target.rollback or not higher:",
        "if True:",
        test_plan.test_a_lower_version_is_refused_unless_it_is_a_roll_back,
    ),
]
BY_STORIES = [each for each in MUTATIONS if each.caught_by is LIVES]
TRIED = [
    each
    for each in MUTATIONS
    if each.caught_by is not LIVES or "EVERGOLD_SOAK" in os.environ or BY_STORIES.index(each) % SAMPLE == 0
]


def broken(mutation: Mutation) -> dict[ModuleType, ModuleType]:
    """The planner with one guard broken: what its modules have become."""
    sources = {module: Path(str(module.__file__)).read_text(encoding="utf-8") for module in PLANNER}
    assert sources[mutation.module].count(mutation.old) >= 1, f"{mutation.invariant}: the source has changed"
    sources[mutation.module] = sources[mutation.module].replace(mutation.old, mutation.new)
    made: dict[ModuleType, ModuleType] = {}
    for module, source in sources.items():
        made[module] = anew = ModuleType(module.__name__)
        exec(compile(source, module.__name__, "exec"), anew.__dict__)
        for earlier in made.values():
            theirs = {name: value for name, value in vars(earlier).items() if name in vars(anew) and callable(value)}
            vars(anew).update(theirs)
    return made


def stories() -> None:
    """A few hundred rollouts of a small pool, or as many as it takes to fail."""
    quick = settings(test_plan_properties.PoolLives.TestCase.settings, max_examples=STORIES, phases=[Phase.generate])
    run_state_machine_as_test(test_plan_properties.PoolLives, settings=quick)


def test_every_guard_is_there_to_be_broken() -> None:
    """Those too that are tried in the soak alone."""
    sources = {module: Path(str(module.__file__)).read_text(encoding="utf-8") for module in PLANNER}
    assert [each.invariant for each in MUTATIONS if each.old not in sources[each.module]] == []


@pytest.mark.parametrize("mutation", TRIED, ids=[each.invariant for each in TRIED])
def test_without_its_guard_something_fails(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = broken(mutation)
    for module in (test_plan, test_plan_properties, model_pool):
        for name in ("plan", "put_back", "why_unfit", "next_names"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(planner[plan], name))
        for name in ("hosts_to_freeze", "pool_size"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(planner[frozen], name))
    with pytest.raises((AssertionError, KeyError)):
        (mutation.caught_by or stories)()
