"""The people who work in the pools: they come in the morning, pause at noon, leave in the evening, and some stay late.

Each person lives by the scenario's time zone, has habits drawn from the world's seed, and has exactly one next event in the future, however
many people there are. Somebody who was signed out before the day was over signs in again a moment later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from simulator.desktop import Pool
from simulator.kernel.world import Event
from simulator.news import SessionChanged

if TYPE_CHECKING:
    from simulator.cloud import Cloud

SATURDAY = 5
BACK_AFTER_S = (30, 120)  # how soon somebody who was signed out tries again
TRY_AGAIN_S = 300  # how soon somebody who found no host does


@dataclass
class Person:
    """A user of one pool. Hours are local, as fractions: 8.5 is half past eight."""

    name: str
    pool: Pool
    arrives: float
    lunch: float
    leaves: float
    upcoming: Event | None = None


class People:
    """Everybody who signs in."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._zone = ZoneInfo(cloud.scenario.time_zone)
        self._people: dict[tuple[str, str], Person] = {}
        cloud.world.listen(SessionChanged, self._session_changed)

    def populate(self) -> None:
        """Lets everybody be where they would be at the scenario's start."""
        for given in self._cloud.scenario.host_pools:
            pool = next(pool for pool in self._cloud.desktop.pools.values() if pool.name == given.name)
            for number in range(1, given.people + 1):
                dice = self._cloud.world.chance("person", given.name, number)
                late = dice.random() < given.late_workers
                leaves = dice.uniform(20, 23.5) if late else dice.gauss(17.25, 0.75)
                person = Person(
                    f"{given.name}-user{number:03d}@contoso.com",
                    pool,
                    dice.gauss(8.5, 0.5),
                    dice.uniform(11.8, 13.2),
                    max(leaves, 14.0),
                )
                self._people[pool.name, person.name] = person
                self._begin(person)

    def signed_in(self) -> int:
        """How many people have a session, active or not."""
        return sum(len(host.sessions) for host in self._cloud.desktop.hosts())

    def _begin(self, person: Person) -> None:
        if self._working(person):
            self._sign_in(person)
        else:
            self._tomorrow(person)

    def _working(self, person: Person) -> bool:
        local = self._cloud.world.now.astimezone(self._zone)
        hour = local.hour + local.minute / 60
        return local.weekday() < SATURDAY and person.arrives <= hour < person.leaves

    def _sign_in(self, person: Person) -> None:
        if not self._working(person):
            self._tomorrow(person)
            return
        host = self._cloud.desktop.sign_in(person.pool, person.name)
        if host is None:
            self._cloud.truth.refused(person.pool)
            self._then(person, self._cloud.world.now + timedelta(seconds=TRY_AGAIN_S), self._sign_in)
            return
        lunch = self._today(person.lunch)
        if self._cloud.world.now < lunch:
            self._then(person, lunch, self._pause)
        else:
            self._then(person, self._today(person.leaves), self._leave)

    def _pause(self, person: Person) -> None:
        self._cloud.desktop.leave(person.pool, person.name, disconnect=True)
        self._then(person, self._cloud.world.now + timedelta(minutes=45), self._sign_in)

    def _leave(self, person: Person) -> None:
        self._cloud.desktop.leave(person.pool, person.name)
        self._tomorrow(person)

    def _tomorrow(self, person: Person) -> None:
        local = self._cloud.world.now.astimezone(self._zone)
        day = local.date()
        while True:
            arrival = self._at(day, person.arrives)
            if day.weekday() < SATURDAY and arrival > self._cloud.world.now:
                break
            day += timedelta(days=1)
        self._then(person, arrival, self._sign_in)

    def _then(self, person: Person, due: datetime, what: Callable[["Person"], None]) -> None:
        if person.upcoming is not None:
            person.upcoming.cancel()
        person.upcoming = self._cloud.world.at(due, lambda: what(person))

    def _today(self, hour: float) -> datetime:
        return self._at(self._cloud.world.now.astimezone(self._zone).date(), hour)

    def _at(self, day: date, hour: float) -> datetime:
        midnight = datetime.combine(day, time(), self._zone)
        return midnight + timedelta(hours=hour)

    def _session_changed(self, news: SessionChanged) -> None:
        """Somebody who lost the session while there is work left comes back."""
        person = self._people.get((news.pool, news.user))
        forced = news.state == "CutOff" or "by force" in news.why
        if person is None or not forced:
            return
        wait = self._cloud.world.chance("back", person.name, self._cloud.world.now).uniform(*BACK_AFTER_S)
        self._then(person, self._cloud.world.now + timedelta(seconds=wait), self._sign_in)
