"""A scaling plan as Azure shows it, read as schedules: time zones by their Windows names, and plans of which something is missing."""

import logging
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from azure.mgmt.desktopvirtualization.models import ScalingPlan
from tzlocal.windows_tz import win_tz

from evergold.rollout.quiet import Schedule
from evergold.rollout.schedules import schedules_of
from tests.support.scaling import properties_of

EVERY_DAY = frozenset(range(7))


def plan(schedule: dict[str, Any] | None = None, **changes: Any) -> ScalingPlan:
    """The small world's plan, with its one schedule and itself changed as told."""
    properties = properties_of("/pools/pilot") | changes
    properties["schedules"] = [properties["schedules"][0] | (schedule or {})]
    return ScalingPlan.from_dict({"name": "office-hours", "location": "westeurope", "properties": properties})


def test_a_schedule_is_read_with_its_days_its_times_its_shares_and_its_zone() -> None:
    workdays = plan({"daysOfWeek": ["Monday", "Friday"], "rampDownCapacityThresholdPct": 85})
    assert schedules_of(workdays) == (Schedule(frozenset({0, 4}), time(7), time(18), 50, 85, "Europe/Berlin"),)


def test_without_a_threshold_every_open_slot_may_be_taken() -> None:
    assert schedules_of(plan()) == (Schedule(EVERY_DAY, time(7), time(18), 50, 100, "Europe/Berlin"),)


@pytest.mark.parametrize(
    ("windows", "zone"),
    [
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("GMT Standard Time", "Europe/London"),
        ("Eastern Standard Time", "America/New_York"),
        ("AUS Eastern Standard Time", "Australia/Sydney"),
        ("India Standard Time", "Asia/Calcutta"),
        ("UTC", "Etc/UTC"),
    ],
)
def test_a_plan_names_its_time_zone_as_windows_does(windows: str, zone: str) -> None:
    (found,) = schedules_of(plan(timeZone=windows))
    assert found.time_zone == zone


def test_every_windows_zone_is_one_that_can_be_reckoned_with() -> None:
    assert len(win_tz) > 130
    assert all(ZoneInfo(name).key for name in win_tz.values())


def test_a_personal_pools_plan_has_no_quiet_time(caplog: pytest.LogCaptureFixture) -> None:
    assert schedules_of(plan(hostPoolType="Personal", timeZone="nowhere")) == ()
    assert not caplog.records


@pytest.mark.parametrize(
    ("schedule", "changes", "told"),
    [
        (
            {},
            {"timeZone": "Middle-earth Standard Time"},
            'its time zone "Middle-earth Standard Time" is not known here',
        ),
        ({}, {"timeZone": None}, 'its time zone "None" is not known here'),
        ({"rampUpStartTime": None}, {}, "the ramp-up of its schedule every-day has no time"),
        ({"rampDownStartTime": {"hour": 24, "minute": 0}}, {}, "the ramp-down of its schedule every-day is at 24:0"),
        ({"rampDownMinimumHostsPct": None}, {}, "its schedule every-day has no share of hosts for the time after"),
        ({"daysOfWeek": ["Someday"]}, {}, 'its schedule every-day is for "Someday"'),
    ],
)
def test_what_cannot_be_read_makes_no_time_quiet_and_is_told_once(
    schedule: dict[str, Any], changes: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evergold.rollout"):
        assert schedules_of(plan(schedule, **changes)) == schedules_of(plan(schedule, **changes)) == ()
    (record,) = caplog.records
    assert told in record.getMessage()
    assert "no quiet time" in record.getMessage()
