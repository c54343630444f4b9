"""A scaling plan's schedules as plain data: what `evergold.rollout.quiet` tells the pool's quiet time from.

Azure names a plan's time zone as Windows does. Unicode's CLDR maps those names to the tz database; tzlocal carries that table. A plan that
cannot be read whole has no quiet time here, and the reason is told: half of its schedules would say that it is quiet when it is not.
"""

import logging
from datetime import time
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from azure.mgmt.desktopvirtualization.models import ScalingPlan, ScalingSchedule, Time
from tzlocal.windows_tz import win_tz

from evergold.azure.enums import text_of
from evergold.rollout.model import PERSONAL
from evergold.rollout.quiet import Schedule

log = logging.getLogger("evergold.rollout")

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class UnreadableError(Exception):
    """What of a plan cannot be read."""


def schedules_of(plan: ScalingPlan) -> tuple[Schedule, ...]:
    """A pooled plan's schedules; none, with a warning once, where it cannot be read. A personal pool's plan has others, and none here."""
    if text_of(plan.host_pool_type) == PERSONAL:
        return ()
    try:
        zone = _zone(plan.time_zone)
        return tuple(_schedule(each, zone) for each in plan.schedules or [])
    except UnreadableError as problem:
        _warn_once(plan.name or "", str(problem))
        return ()


def _schedule(given: ScalingSchedule, zone: str) -> Schedule:
    name = given.name or "without a name"
    least = given.ramp_down_minimum_hosts_pct
    if least is None or not 0 <= least <= 100:
        raise UnreadableError(f"its schedule {name} has no share of hosts for the time after ramp-down")
    full = given.ramp_down_capacity_threshold_pct
    return Schedule(
        days=frozenset(_day(text_of(day), name) for day in given.days_of_week or []),
        ramp_up=_time(given.ramp_up_start_time, f"the ramp-up of its schedule {name}"),
        ramp_down=_time(given.ramp_down_start_time, f"the ramp-down of its schedule {name}"),
        least_percent=least,
        full_percent=full if full is not None and 1 <= full <= 100 else 100,
        time_zone=zone,
    )


def _zone(windows_name: str | None) -> str:
    name = win_tz.get(windows_name or "", "")
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError) as unknown:
        raise UnreadableError(f'its time zone "{windows_name}" is not known here') from unknown


def _day(name: str, schedule: str) -> int:
    if name.casefold() not in DAYS:
        raise UnreadableError(f'its schedule {schedule} is for "{name}", which is no day of the week')
    return DAYS.index(name.casefold())


def _time(given: Time | None, what: str) -> time:
    if given is None:
        raise UnreadableError(f"{what} has no time")
    try:
        return time(given.hour, given.minute)
    except (TypeError, ValueError) as odd:
        raise UnreadableError(f"{what} is at {given.hour}:{given.minute}, which is no time of day") from odd


@cache
def _warn_once(plan: str, problem: str) -> None:
    log.warning(
        "The scaling plan %s cannot be read: %s. Rollouts of its pools know no quiet time: the hosts that it has switched off are "
        "switched on at once, and the whole capacity floor holds at night too.",
        *(plan, problem),
    )
