"""Maintenance windows: the wall clock of a place, on ordinary nights and on those when the clocks change."""

from datetime import UTC, datetime, time, timedelta

from evergold.rollout.windows import Window, next_opening, open_until

EVERY_DAY = frozenset(range(7))
SATURDAY = frozenset({5})


def amsterdam(start: str, minutes: int, days: frozenset[int] = EVERY_DAY) -> Window:
    return Window(days, time.fromisoformat(start), minutes, "Europe/Amsterdam")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_window_is_open_from_its_first_moment_until_before_its_last() -> None:
    night = (amsterdam("22:00", 240),)
    assert open_until(night, utc("2026-11-12T20:59:59")) is None
    assert open_until(night, utc("2026-11-12T21:00")) == utc("2026-11-13T01:00")
    assert open_until(night, utc("2026-11-13T00:59:59")) == utc("2026-11-13T01:00")
    assert open_until(night, utc("2026-11-13T01:00")) is None


def test_a_window_begins_on_its_days_and_reaches_into_the_next() -> None:
    weekend = (amsterdam("22:00", 2 * 24 * 60, SATURDAY),)
    assert next_opening(weekend, utc("2026-11-12T20:00")) == utc("2026-11-14T21:00")
    assert open_until(weekend, utc("2026-11-16T20:59")) == utc("2026-11-16T21:00")
    assert next_opening(weekend, utc("2026-11-14T21:00")) == utc("2026-11-21T21:00")


def test_windows_that_follow_each_other_without_a_gap_are_one() -> None:
    two = (amsterdam("22:00", 120), amsterdam("00:00", 60))
    assert open_until(two, utc("2026-11-12T22:00")) == utc("2026-11-13T00:00")
    apart = (amsterdam("22:00", 60), amsterdam("00:00", 60))
    assert open_until(apart, utc("2026-11-12T21:30")) == utc("2026-11-12T22:00")


def test_the_day_is_that_of_the_place_and_not_of_greenwich() -> None:
    auckland = (Window(SATURDAY, time(1), 60, "Pacific/Auckland"),)
    assert next_opening(auckland, utc("2026-11-12T20:00")) == utc("2026-11-13T12:00")


def test_in_spring_a_window_keeps_its_wall_clock_time_and_its_length() -> None:
    night = (amsterdam("22:00", 360),)
    assert next_opening(night, utc("2026-03-27T22:00")) == utc("2026-03-28T21:00")
    assert open_until(night, utc("2026-03-28T21:00")) == utc("2026-03-29T03:00")  # 05:00 on the wall, and not 04:00
    assert next_opening(night, utc("2026-03-29T03:00")) == utc("2026-03-29T20:00")


def test_in_spring_a_window_at_a_time_that_is_skipped_begins_after_the_jump() -> None:
    assert next_opening((amsterdam("02:30", 60),), utc("2026-03-28T12:00")) == utc("2026-03-29T01:30")


def test_in_autumn_a_window_keeps_its_wall_clock_time_and_its_length() -> None:
    night = (amsterdam("22:00", 360),)
    assert open_until(night, utc("2026-10-24T20:00")) == utc("2026-10-25T02:00")  # 03:00 on the wall, and not 04:00
    assert next_opening(night, utc("2026-10-25T02:00")) == utc("2026-10-25T21:00")


def test_in_autumn_a_window_at_a_time_that_comes_twice_begins_once() -> None:
    early = (amsterdam("02:30", 30),)
    assert open_until(early, utc("2026-10-25T00:30")) == utc("2026-10-25T01:00")
    assert open_until(early, utc("2026-10-25T01:30")) is None
    assert next_opening(early, utc("2026-10-25T00:30")) == utc("2026-10-26T01:30")


def test_without_windows_none_is_open_and_none_comes() -> None:
    assert (open_until((), utc("2026-11-12T20:00")), next_opening((), utc("2026-11-12T20:00"))) == (None, None)


def test_a_window_that_is_always_open_ends_later_than_anybody_waits() -> None:
    now = utc("2026-11-12T20:00")
    end = open_until((amsterdam("00:00", 1440),), now)
    assert end is not None
    assert end - now > timedelta(days=6)
