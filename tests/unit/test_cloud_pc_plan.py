"""When a Cloud PC may be reprovisioned, and why not: the planner, alone."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from evergold.cloudpc.model import Campaign, Desk, Plan, Rules
from evergold.cloudpc.plan import plan
from evergold.rollout.windows import Window

NOW = datetime(2026, 11, 20, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CAMPAIGN = Campaign("evergold office 20261112-2000", {"p": "new"}, "1.1.0", "forward", NOW - 5 * DAY, "Ada", NOW - 5 * DAY,
                    told_at=NOW - 4 * DAY, told_again_at=NOW - HOUR)  # fmt: skip
RULES = Rules((("pilot", 60), ("broad", 0)), (100,), (), 20, 1, 3, 24, 180, 180, 60, 7, known_folders_required=False)


def desk(number: int = 1, **changes: Any) -> Desk:
    """A Cloud PC that may go now."""
    asked = NOW - 2 * HOUR
    free: dict[str, Any] = {
        "ring": "pilot",
        "status": "provisioned",
        "image": "old",
        "target": "new",
        "last_login": NOW - 10 * HOUR,
        "asked_at": asked,
        "restore_points": (asked + HOUR,),
        "signed_in": False,
        "days_since_sign_in": 0,
    }
    return Desk(**{"id": f"id{number}", "name": f"CPC-{number}", "user": f"user{number}", **free, **changes})


def planned(*desks: Desk, campaign: Campaign = CAMPAIGN, rules: Rules = RULES, now: datetime = NOW) -> Plan:
    return plan(desks, campaign, rules, now)


def only(decided: Plan) -> tuple[str, str]:
    (verdict,) = decided.verdicts
    return verdict.fate, verdict.why


def test_a_cloud_pc_against_which_nothing_speaks_is_next() -> None:
    assert planned(desk()).reprovision == ("id1",)


AGAINST = [
    ({"signed_in": True}, "its user is signed in"),
    ({"signed_in": None}, "nobody can say whether"),
    ({"days_since_sign_in": None}, "nobody can say when"),
    ({"days_since_sign_in": 61}, "61 days ago"),
    ({"restore_points": ()}, "is not seen yet"),
    ({"restore_points": (NOW - 3 * HOUR,)}, "is not seen yet"),
    ({"status": "restoring"}, "it is restoring"),
    ({"status": "failed", "asked_at": None}, "failed before"),
    ({"status": "inGracePeriod"}, "grace period"),
    ({"ring": ""}, "in no ring"),
]


@pytest.mark.parametrize(("seen", "why"), AGAINST, ids=lambda each: str(each))
def test_one_thing_that_speaks_against_it_is_enough_and_is_said(seen: dict[str, Any], why: str) -> None:
    decided = planned(desk(**seen))
    assert decided.reprovision == ()
    assert why in only(decided)[1]


@pytest.mark.parametrize(
    "seen",
    [
        {"asked_at": None, "restore_points": ()},
        {"asked_at": None},
        {"last_login": NOW - HOUR},
        {"asked_at": NOW - 25 * HOUR, "restore_points": (NOW - 24 * HOUR,), "last_login": NOW - 30 * HOUR},
        {"asked_at": NOW - 4 * HOUR, "restore_points": ()},
    ],
    ids=["never asked", "one that was not asked for", "somebody was here since", "too old", "never came"],
)
def test_without_a_restore_point_that_holds_all_work_a_new_one_is_asked_for(seen: dict[str, Any]) -> None:
    decided = planned(desk(**seen))
    assert (decided.reprovision, decided.snapshot) == ((), ("id1",))


def test_a_restore_point_is_asked_for_only_when_nobody_is_signed_in() -> None:
    assert planned(desk(asked_at=None, signed_in=True)).snapshot == ()


def test_a_waiver_stands_for_a_restore_point_and_never_for_a_user_who_is_signed_in() -> None:
    waived = replace(CAMPAIGN, waivers={"user1": "nothing on it"})
    assert planned(desk(asked_at=None, restore_points=()), campaign=waived).reprovision == ("id1",)
    assert planned(desk(signed_in=True), campaign=waived).reprovision == ()


def test_known_folders_that_nobody_reports_count_as_missing_where_they_are_required() -> None:
    required = replace(RULES, known_folders_required=True)
    assert "are reported by nobody" in only(planned(desk(), rules=required))[1]
    assert "are not in OneDrive" in only(planned(desk(known_folders=False), rules=required))[1]
    assert planned(desk(known_folders=True), rules=required).reprovision == ("id1",)


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ({"approved_by": ""}, "nobody has approved"),
        ({"told_at": None}, "is told first"),
        ({"told_at": NOW - DAY}, "was told, and has until"),
        ({"told_again_at": None}, "told again, on the day"),
        ({"told_again_at": NOW - 2 * DAY}, "told again, on the day"),
    ],
)
def test_first_it_is_approved_and_users_are_told_days_ahead_and_on_the_day(note: dict[str, Any], why: str) -> None:
    decided = planned(desk(), campaign=replace(CAMPAIGN, **note))
    assert decided.reprovision == ()
    assert why in only(decided)[1]


def test_outside_of_its_windows_nothing_is_done() -> None:
    night = replace(RULES, windows=(Window(frozenset({4}), time(21), 540, "UTC"),))
    decided = planned(desk(), desk(2, asked_at=None), rules=night)
    assert (decided.reprovision, decided.snapshot, decided.nothing_before) == ((), (), NOW + HOUR)


def test_what_was_sent_is_never_sent_again() -> None:
    for status in ("provisioned", "provisioning", "failed"):
        for ago in (timedelta(minutes=1), HOUR, 5 * HOUR):
            assert planned(desk(status=status, sent_at=NOW - ago)).reprovision == ()


def test_what_somebody_has_begun_since_the_campaign_began_is_never_sent_again() -> None:
    for ago in (timedelta(minutes=1), HOUR, 5 * HOUR, 4 * DAY):
        assert planned(desk(reprovision_begun=NOW - ago)).reprovision == ()
    assert planned(desk(reprovision_begun=NOW - 30 * DAY)).reprovision == ("id1",)


def test_one_that_failed_or_did_not_end_counts_against_the_budget_and_over_it_everything_stops() -> None:
    failed = desk(1, status="failed", sent_at=NOW - HOUR)
    late = desk(2, status="provisioning", sent_at=NOW - 4 * HOUR)
    assert planned(failed, desk(3)).reprovision == ("id3",)
    halted = planned(failed, late, desk(3))
    assert (halted.reprovision, halted.snapshot) == ((), ())
    assert "failure budget is 1" in (halted.halted or "")


def test_waves_grow_and_each_waits_for_the_one_before() -> None:
    rules = replace(RULES, waves=(20, 60, 100))
    desks = [desk(number) for number in range(10)]
    assert len(planned(*desks, rules=rules).reprovision) == 2
    flying = [replace(each, sent_at=NOW - HOUR, status="provisioning") for each in desks[:2]]
    assert planned(*flying, *desks[2:], rules=rules).reprovision == ()
    done = [replace(each, image="new") for each in desks[:2]]
    assert len(planned(*done, *desks[2:], rules=rules).reprovision) == 4


def test_no_more_at_once_than_allowed() -> None:
    flying = desk(0, sent_at=NOW - HOUR, status="provisioning")
    decided = planned(flying, *(desk(number) for number in range(1, 10)), rules=replace(RULES, max_at_once=3))
    assert len(decided.reprovision) == 2


def test_the_next_ring_waits_until_the_one_before_has_been_in_use_for_its_bake_time() -> None:
    broad = desk(2, ring="broad")
    assert planned(desk(1), broad).reprovision == ("id1",)
    done = desk(1, image="new", sent_at=NOW - 3 * HOUR, changed=NOW - HOUR / 2)
    assert planned(done, broad).nothing_before == NOW + HOUR / 2
    assert planned(done, broad, now=NOW + HOUR).reprovision == ("id2",)


def test_whoever_cannot_go_is_left_in_the_end_with_the_reason_and_the_campaign_is_done() -> None:
    late = NOW + 20 * DAY
    decided = planned(desk(signed_in=True), desk(2, image="new"), now=late)
    assert decided.done
    assert (decided.verdicts[0].fate, decided.verdicts[0].why) == ("left", "its user is signed in; 7 days are over")


def test_a_restore_point_that_never_comes_does_not_hold_up_the_others() -> None:
    rules = replace(RULES, waves=(50, 100))
    stuck = desk(1, asked_at=NOW - 4 * HOUR, restore_points=())
    decided = planned(stuck, desk(2, asked_at=None, restore_points=()), rules=rules)
    assert decided.snapshot == ("id2",)


WARNING = replace(RULES, warn_minutes=60)
AT_WORK: dict[str, Any] = {"signed_in": True, "known_folders": True}
WARNED = {**AT_WORK, "warned_at": NOW - 2 * HOUR}


def test_under_an_immediate_release_somebody_at_work_is_warned_and_a_restore_point_asked_for() -> None:
    decided = planned(desk(**AT_WORK), rules=WARNING)
    assert (decided.warn, decided.snapshot, decided.reprovision) == (("id1",), (), ())


def test_whoever_was_warned_goes_when_their_time_is_over_and_not_before() -> None:
    assert planned(desk(**WARNED), rules=WARNING).reprovision == ("id1",)
    early = planned(desk(**WARNED), rules=replace(WARNING, warn_minutes=150))
    assert (early.reprovision, early.warn) == ((), ())
    assert "has until 20:30" in only(early)[1]


@pytest.mark.parametrize(
    "changes", [{"last_login": NOW - HOUR}, {"warned_at": NOW - 30 * HOUR}], ids=["came since", "long ago"]
)
def test_whoever_signed_in_since_the_warning_or_was_warned_long_ago_is_warned_anew(changes: dict[str, Any]) -> None:
    assert planned(desk(**{**WARNED, **changes}), rules=WARNING).warn == ("id1",)


def test_nobody_at_work_is_warned_or_moved_unless_their_files_are_known_to_be_in_onedrive() -> None:
    for told in (None, False):
        decided = planned(desk(**{**WARNED, "known_folders": told}), rules=WARNING)
        assert (decided.warn, decided.reprovision) == ((), ())
        assert "OneDrive" in only(decided)[1]


def test_under_an_opportunistic_release_whoever_is_at_work_is_waited_for_whatever_was_said() -> None:
    decided = planned(desk(**WARNED))
    assert (decided.warn, decided.reprovision) == ((), ())
