"""Quiet time by a scaling plan's schedules: ordinary nights, weekends, nights over which people work, and those when the clocks change."""

from datetime import UTC, datetime, time, timedelta

from evergold.rollout.quiet import AHEAD, Quiet, Schedule, next_ramp_down, quiet_at

WORKDAYS, EVERY_DAY = frozenset(range(5)), frozenset(range(7))


def berlin(ramp_up: str, ramp_down: str, days: frozenset[int] = EVERY_DAY, least: int = 20) -> Schedule:
    return Schedule(days, time.fromisoformat(ramp_up), time.fromisoformat(ramp_down), least, 90, "Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


OFFICE = (berlin("07:00", "18:00"),)


def ends(schedules: tuple[Schedule, ...], at: str) -> datetime | None:
    """When the quiet time ends that goes on at that moment."""
    found = quiet_at(schedules, utc(at))
    return found.ends if found else None


def test_it_is_quiet_from_ramp_down_until_ramp_up_and_hosts_are_woken_so_long_before_that_they_can_come_up() -> None:
    assert ends(OFFICE, "2026-11-12T16:59:59") is None
    night = Quiet(utc("2026-11-13T05:30"), utc("2026-11-13T06:00"), 20, 90)
    assert quiet_at(OFFICE, utc("2026-11-12T17:00")) == quiet_at(OFFICE, utc("2026-11-13T05:59:59")) == night
    assert night.ends - night.wakes_at == AHEAD
    assert ends(OFFICE, "2026-11-13T06:00") is None


def test_midnight_is_no_end_of_it() -> None:
    for moment in ("2026-11-12T22:59", "2026-11-12T23:00", "2026-11-12T23:59", "2026-11-13T00:00", "2026-11-13T02:00"):
        assert ends(OFFICE, moment) == utc("2026-11-13T06:00")


def test_over_days_without_a_schedule_it_stays_as_quiet_as_the_night_before_them() -> None:
    week = (berlin("07:00", "18:00", frozenset(range(4)), least=50), berlin("08:00", "16:00", frozenset({4}), least=10))
    monday = utc("2026-11-16T06:00")
    assert quiet_at(week, utc("2026-11-13T15:00")) == Quiet(monday - AHEAD, monday, 10, 90)
    assert quiet_at(week, utc("2026-11-15T12:00")) == Quiet(monday - AHEAD, monday, 10, 90)
    assert quiet_at(week, utc("2026-11-12T17:00")) == Quiet(utc("2026-11-13T06:30"), utc("2026-11-13T07:00"), 50, 90)


def test_a_schedule_of_one_day_makes_the_rest_of_the_week_quiet() -> None:
    monday = (berlin("07:00", "18:00", frozenset({0})),)
    assert ends(monday, "2026-11-12T12:00") == utc("2026-11-16T06:00")
    assert ends(monday, "2026-11-16T17:00") == utc("2026-11-23T06:00")
    assert ends(monday, "2026-11-16T16:59") is None


def test_a_shift_over_midnight_ramps_down_on_the_day_after() -> None:
    night = (berlin("21:00", "05:00", WORKDAYS),)
    assert ends(night, "2026-11-12T23:00") is None
    assert ends(night, "2026-11-13T04:00") == utc("2026-11-13T20:00")
    assert ends(night, "2026-11-14T03:59") is None  # Friday's shift
    assert ends(night, "2026-11-14T04:00") == utc("2026-11-16T20:00")


def test_it_is_the_day_of_the_plans_place_and_not_of_greenwich() -> None:
    auckland = (Schedule(WORKDAYS, time(7), time(18), 20, 90, "Pacific/Auckland"),)
    assert ends(auckland, "2026-11-15T17:00") == utc("2026-11-15T18:00")  # Monday at six in the morning there
    assert ends(auckland, "2026-11-16T04:00") is None


def test_in_spring_and_autumn_it_keeps_to_the_wall_clock() -> None:
    assert ends(OFFICE, "2026-03-28T17:00") == utc("2026-03-29T05:00")
    assert ends(OFFICE, "2026-10-24T16:00") == utc("2026-10-25T06:00")
    early = (berlin("02:30", "18:00"),)
    assert ends(early, "2026-03-28T20:00") == utc("2026-03-29T01:30")  # 02:30 is skipped, and comes an hour later
    assert ends(early, "2026-10-24T20:00") == utc("2026-10-25T00:30")  # 02:30 comes twice, and counts the first time


def test_in_a_night_that_is_no_longer_than_the_look_ahead_everything_is_woken_at_once() -> None:
    short = quiet_at((berlin("06:00", "05:30"),), utc("2026-11-13T04:40"))
    assert short is not None
    assert short.wakes_at == utc("2026-11-13T04:30")


def test_a_day_that_ends_when_the_next_begins_is_never_quiet() -> None:
    always = (berlin("06:00", "06:00"),)
    assert not any(quiet_at(always, utc("2026-11-12T00:00") + hours * timedelta(hours=1)) for hours in range(48))


def test_without_a_schedule_or_without_days_it_is_never_quiet() -> None:
    for none in ((), (berlin("07:00", "18:00", frozenset()),)):
        assert (ends(none, "2026-11-13T02:00"), next_ramp_down(none, utc("2026-11-13T02:00"))) == (None, None)


def test_the_next_quiet_time_begins_with_the_next_ramp_down() -> None:
    week = (berlin("07:00", "18:00", WORKDAYS),)
    assert next_ramp_down(week, utc("2026-11-12T16:59")) == utc("2026-11-12T17:00")
    assert next_ramp_down(week, utc("2026-11-13T17:00")) == utc("2026-11-16T17:00")
