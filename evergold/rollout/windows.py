"""Maintenance windows: when a scheduled rollout may go on, told from the wall clock of the place where its users are.

Every function is pure. A window begins at a wall-clock time and lasts so many minutes of real time: one of four hours is four hours long
on the nights when the clocks change too. Where they jump over the time at which it begins, it begins as much later (02:30 becomes 03:30);
where that time comes twice, it begins the first time, once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEK = 7  # days after which every window has begun again


@dataclass(frozen=True)
class Window:
    """A window that begins on some days of every week.

    Attributes:
        days: the days on which it begins: 0 is Monday.
        start: the wall-clock time at which it begins.
        minutes: how long it lasts, in real time; it may reach into the next days.
        time_zone: whose wall clock, as the tz database names it: "Europe/Amsterdam".

    """

    days: frozenset[int]
    start: time
    minutes: int
    time_zone: str


def open_until(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the time ends in which work may go on now; None where no window is open. One that follows without a gap belongs to it."""
    end = None
    for begins, ends in sorted(_occurrences(windows, now)):
        if begins <= (end or now) < ends:
            end = ends
    return end


def next_opening(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the next window begins that is not open yet; None where there is none."""
    return min((begins for begins, _ in _occurrences(windows, now) if begins > now), default=None)


def _occurrences(windows: Sequence[Window], now: datetime) -> Iterable[tuple[datetime, datetime]]:
    """Begin and end of each window in UTC, from those that may still be open to those of the coming week."""
    for window in windows:
        zone, lasts = ZoneInfo(window.time_zone), timedelta(minutes=window.minutes)
        today = now.astimezone(zone).date()
        for offset in range(-lasts.days - 1, WEEK + 2):
            day = today + timedelta(days=offset)
            if day.weekday() in window.days:
                begins = datetime.combine(day, window.start, zone).astimezone(UTC)
                yield begins, begins + lasts
