"""Quiet time: when a pool's scaling plan would keep but a few of its hosts on, told from the plan's own schedules.

Every function is pure. It is quiet from the ramp-down of a day to the next ramp-up, whatever day that is: on a day without a schedule a
plan switches nothing on. Times are on the wall clock of the plan's zone, as those of maintenance windows are: one that the clocks jump
over comes as much later, one that comes twice counts the first time.

A rollout wakes what sleeps `AHEAD` of that ramp-up, and keeps to the floor of the day from then on. A host takes 4 to 10 minutes to come up
(`estimate.Ranges.come_back`), one that Azure refuses to start is tried again every minute, and where one does not come at all there is time
to put a drained one in its place before people come. (Azure/FederalAVD's session host replacer looks ahead as far.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

AHEAD = timedelta(minutes=30)
WEEK = 7  # days after which every schedule has begun again


@dataclass(frozen=True)
class Schedule:
    """A scaling plan's schedule, for some days of every week.

    Attributes:
        days: the days on which it ramps up: 0 is Monday. Where it ramps down no later on the clock, it does so on the day after.
        ramp_up, ramp_down: when the day begins and ends.
        least_percent: share of the hosts that stay on from ramp-down to the next ramp-up.
        full_percent: share of the open slots that may be taken then; beyond it one more host is switched on.
        time_zone: whose wall clock, as the tz database names it.

    """

    days: frozenset[int]
    ramp_up: time
    ramp_down: time
    least_percent: int
    full_percent: int
    time_zone: str


@dataclass(frozen=True)
class Quiet:
    """A quiet time that goes on: from when its sleepers are woken, when it ends, and the shares of the schedule that it belongs to."""

    wakes_at: datetime
    ends: datetime
    least_percent: int
    full_percent: int


def quiet_at(schedules: Sequence[Schedule], now: datetime) -> Quiet | None:
    """The quiet time that goes on now; None where there is none."""
    turns = sorted(_turns(schedules, now))
    up_to_now = [(is_up, number) for at, is_up, number in turns if at <= now]
    ends = min((at for at, is_up, _ in turns if is_up and at > now), default=None)
    # Where a ramp-down and a ramp-up come at the same moment the latter is sorted last, and counts.
    is_up, number = up_to_now[-1] if up_to_now else (True, 0)
    if is_up or ends is None:
        return None
    return Quiet(ends - AHEAD, ends, schedules[number].least_percent, schedules[number].full_percent)


def next_ramp_down(schedules: Sequence[Schedule], now: datetime) -> datetime | None:
    """When the next quiet time begins; None where there is none."""
    return min((at for at, is_up, _ in _turns(schedules, now) if not is_up and at > now), default=None)


def _turns(schedules: Sequence[Schedule], now: datetime) -> Iterable[tuple[datetime, bool, int]]:
    """The ramp-downs and ramp-ups of the last and the next week, in UTC: when, whether it is a ramp-up, and of which schedule."""
    for number, schedule in enumerate(schedules):
        zone = ZoneInfo(schedule.time_zone)
        today = now.astimezone(zone).date()
        over_night = timedelta(days=schedule.ramp_down <= schedule.ramp_up)
        for offset in range(-WEEK - 2, WEEK + 2):
            day = today + timedelta(days=offset)
            if day.weekday() in schedule.days:
                yield datetime.combine(day, schedule.ramp_up, zone).astimezone(UTC), True, number
                yield datetime.combine(day + over_night, schedule.ramp_down, zone).astimezone(UTC), False, number
