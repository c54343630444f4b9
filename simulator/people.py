"""The people who work in the pools: they come in the morning, pause at noon, leave in the evening, and some stay late.

Each person lives by the scenario's time zone and has habits and days drawn from the world's seed. There is exactly one event ahead for
each, however many people there are. Somebody who loses the session before the day is over signs in again a moment later. Somebody who
is sent a message may sign out in their own time, before they are made to, and then does the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from simulator.kernel.world import Event
from simulator.news import SessionChanged, UserWarned
from simulator.session_hosts import Pool

if TYPE_CHECKING:
    from simulator.cloud import Cloud

SATURDAY = 5
LUNCH = timedelta(minutes=45)
BACK_AFTER_S = (30, 120)  # how soon somebody who lost the session signs in again
TRY_AGAIN_S = 300  # how soon somebody who found no host does
HEEDS_WARNING = 0.4  # share of the people who sign out by themselves when they are warned
HEEDS_AFTER_S = (60, 240)


@dataclass(frozen=True)
class Day:
    """A person's working day."""

    arrives: datetime
    lunch: datetime
    leaves: datetime


@dataclass(eq=False, slots=True)
class Person:
    """A user of one pool. Habits are local hours, as fractions: 8.5 is half past eight."""

    name: str
    pool: Pool
    arrives: float
    lunch: float
    leaves: float
    day: Day
    away: bool = True
    upcoming: Event | None = None


class People:
    """Everybody who signs in."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._world = cloud.world
        self._zone = ZoneInfo(cloud.scenario.time_zone)
        self._people: dict[tuple[str, str], Person] = {}
        self._world.listen(SessionChanged, self._session_changed)
        self._world.listen(UserWarned, self._warned)

    def populate(self) -> None:
        """Lets everybody be where they would be at the scenario's start."""
        pools = {pool.name: pool for pool in self._cloud.desktop.pools.values()}
        for given in self._cloud.scenario.host_pools:
            for number in range(1, given.people + 1):
                person = self._person(pools[given.name], number, given.late_workers)
                self._people[given.name, person.name] = person
                self._begin(person)

    def signed_in(self) -> int:
        """How many people have a session, active or not."""
        return sum(pool.session_count for pool in self._cloud.desktop.pools.values())

    def _person(self, pool: Pool, number: int, late_workers: float) -> Person:
        dice = self._world.chance("person", pool.name, number)
        late = dice.random() < late_workers
        name = f"{pool.name}-user{number:03d}@contoso.com"
        arrives, lunch = dice.gauss(8.5, 0.5), dice.uniform(11.8, 13.2)
        leaves = dice.uniform(20, 23) if late else dice.gauss(17.25, 0.75)
        today = self._world.now.astimezone(self._zone).date()
        return Person(
            name, pool, arrives, lunch, leaves, self._day_of((pool.name, name), today, arrives, lunch, leaves)
        )

    # Days

    def _day_of(self, who: tuple[str, str], day: date, arrives: float, lunch: float, leaves: float) -> Day:
        """Hours of one day: some minutes off the habit, never out of order, and over before midnight."""
        dice = self._world.chance("day", *who, day)
        hours = (
            min(max(arrives + dice.gauss(0, 0.2), 5.0), 11.0),
            min(max(lunch + dice.gauss(0, 0.1), 11.5), 13.5),
            min(max(leaves + dice.gauss(0, 0.3), 15.0), 23.5),
        )
        midnight = datetime.combine(day, time(), self._zone)
        begins, pauses, ends = (midnight + timedelta(hours=hour) for hour in hours)
        return Day(begins, pauses, ends)

    def _begin(self, person: Person) -> None:
        day, now = person.day, self._world.now
        if not self._working(person):
            self._wait_for_morning(person)
            return
        session = self._cloud.desktop.sign_in(person.pool, person.name)
        if session is None:
            self._then(person, now + timedelta(seconds=TRY_AGAIN_S), self._sign_in)
            return
        session.created = day.arrives.astimezone(now.tzinfo)
        if day.lunch <= now < day.lunch + LUNCH:
            self._pause(person)
        else:
            self._work(person)

    def _working(self, person: Person) -> bool:
        return person.day.arrives.weekday() < SATURDAY and person.day.arrives <= self._world.now < person.day.leaves

    def _sign_in(self, person: Person) -> None:
        if not self._working(person):
            self._wait_for_morning(person)
        elif self._cloud.desktop.sign_in(person.pool, person.name) is None:
            self._then(person, self._world.now + timedelta(seconds=TRY_AGAIN_S), self._sign_in)
        else:
            self._work(person)

    def _work(self, person: Person) -> None:
        person.away = False
        if self._world.now < person.day.lunch:
            self._then(person, person.day.lunch, self._pause)
        else:
            self._then(person, person.day.leaves, self._leave)

    def _pause(self, person: Person) -> None:
        person.away = True
        self._cloud.desktop.leave(person.pool, person.name, disconnect=True)
        self._then(person, person.day.lunch + LUNCH, self._sign_in)

    def _leave(self, person: Person) -> None:
        person.away = True
        self._cloud.desktop.leave(person.pool, person.name)
        self._wait_for_morning(person)

    def _wait_for_morning(self, person: Person) -> None:
        person.away = True
        self._cloud.desktop.leave(person.pool, person.name)  # one that was left over from before the end of the day
        now = self._world.now
        day = now.astimezone(self._zone).date()
        who, habits = (person.pool.name, person.name), (person.arrives, person.lunch, person.leaves)
        person.day = self._day_of(who, day, *habits)
        while person.day.arrives <= now or day.weekday() >= SATURDAY:
            day += timedelta(days=1)
            person.day = self._day_of(who, day, *habits)
        self._then(person, person.day.arrives, self._sign_in)

    def _then(self, person: Person, due: datetime, what: Callable[[Person], None]) -> None:
        if person.upcoming is not None:
            person.upcoming.cancel()
        person.upcoming = self._world.at(due, lambda: what(person))

    # What is done to them

    def _session_changed(self, news: SessionChanged) -> None:
        """Somebody who loses the session in the middle of work comes back."""
        person = self._people.get((news.pool, news.user))
        if person is not None and not person.away and (news.state == "CutOff" or "by force" in news.why):
            self._come_back(person)

    def _warned(self, news: UserWarned) -> None:
        """Some save their work and sign out when they are told that it will be done to them."""
        person = self._people.get((news.pool, news.user))
        if person is None or person.away:
            return
        dice = self._world.chance("warned", person.pool.name, person.name, self._world.now)
        if dice.random() < HEEDS_WARNING:
            due = self._world.now + timedelta(seconds=dice.uniform(*HEEDS_AFTER_S))
            self._then(person, due, self._sign_out_to_come_back)

    def _sign_out_to_come_back(self, person: Person) -> None:
        self._cloud.desktop.leave(person.pool, person.name)
        self._come_back(person)

    def _come_back(self, person: Person) -> None:
        wait = self._world.chance("back", person.pool.name, person.name, self._world.now).uniform(*BACK_AFTER_S)
        self._then(person, self._world.now + timedelta(seconds=wait), self._sign_in)
