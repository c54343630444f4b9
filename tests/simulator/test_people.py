"""The people of the simulated world: when they are there, and what they do when their desktop is taken from them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from simulator.cloud import Cloud
from simulator.kernel.clock import ManualClock
from simulator.news import MachineStopping, SessionChanged, UserWarned
from simulator.scenario import load
from simulator.session_hosts import Pool, Session, SessionHost

BERLIN = ZoneInfo("Europe/Berlin")
THURSDAY, SATURDAY = 12, 14  # of November 2026


class Office:
    """A pool and its people, brought to a local time; keeps what happened to sessions since."""

    def __init__(self, day: int = THURSDAY, hour: float = 10, **changes: Any) -> None:
        small = load("small")
        start = datetime(2026, 11, day, tzinfo=BERLIN) + timedelta(hours=hour)
        pool = small.host_pools[0].model_copy(update={"people": 40, "max_sessions": 25, **changes})
        self.clock = ManualClock(start.astimezone(small.start.tzinfo))
        self.cloud = Cloud(small.model_copy(update={"host_pools": [pool], "start": self.clock.now()}), self.clock)
        self.heard: list[SessionChanged] = []
        self.cloud.world.listen(SessionChanged, self.heard.append)

    @property
    def pool(self) -> Pool:
        (pool,) = self.cloud.desktop.pools.values()
        return pool

    def at(self, hour: float, day: int = THURSDAY) -> "Office":
        """The same office at a later local time."""
        due = datetime(2026, 11, day, tzinfo=BERLIN) + timedelta(hours=hour)
        assert due >= self.clock.now()
        self.clock.current = due.astimezone(self.clock.now().tzinfo)
        self.cloud.world.catch_up()
        return self

    def sessions(self) -> list[tuple[SessionHost, Session]]:
        return [(host, session) for host in self.pool.hosts.values() for session in host.sessions.values()]

    def signed_in(self) -> int:
        return self.cloud.people.signed_in()

    def disconnected(self) -> int:
        return sum(session.state == "Disconnected" for _, session in self.sessions())


def whys(news: Iterable[SessionChanged]) -> set[str]:
    return {each.why for each in news}


def test_people_come_in_the_morning_and_have_left_by_midnight() -> None:
    office = Office(hour=5)
    counts = [office.at(hour).signed_in() for hour in (5, 8.5, 11, 15, 19, 24)]
    assert counts[0] == counts[-1] == 0
    assert 0 < counts[1] < 40
    assert counts[2:4] == [40, 40]
    assert 0 <= counts[4] <= 12


def test_a_share_of_the_people_works_into_the_night() -> None:
    assert Office(hour=19.75, late_workers=1.0).signed_in() == 40
    assert Office(hour=21, late_workers=0.0).signed_in() == 0


def test_at_noon_people_disconnect_and_come_back_to_their_own_sessions() -> None:
    office = Office(hour=11)
    before = {session.user: session.number for _, session in office.sessions()}
    assert office.disconnected() == 0
    assert office.at(12.6).disconnected() > 5
    assert office.at(14.5).disconnected() == 0
    assert {session.user: session.number for _, session in office.sessions()} == before


def test_on_weekends_nobody_comes() -> None:
    office = Office(day=SATURDAY, hour=0)
    assert [office.at(11, day).signed_in() for day in (SATURDAY, SATURDAY + 1, SATURDAY + 2)] == [0, 0, 40]


def test_a_world_that_starts_at_noon_has_people_at_work_and_people_at_table() -> None:
    office = Office(hour=12.6)
    assert office.signed_in() == 40
    assert 5 < office.disconnected() < 35


def test_people_who_are_there_at_the_start_came_in_the_morning() -> None:
    office = Office(hour=15)
    ages = [office.clock.now() - session.created for _, session in office.sessions()]
    assert min(ages) > timedelta(hours=3)


def test_a_person_s_days_are_not_all_alike() -> None:
    arrivals = []
    for day in range(9, 14):
        office = Office(day=day, hour=23.9, people=1)
        office.at(12, day + 1)
        arrivals += [session.created.astimezone(BERLIN).time() for _, session in office.sessions()]
    assert len(set(arrivals)) == len(arrivals) > 2


def test_each_person_has_one_event_ahead() -> None:
    counts = []
    for people in (10, 40):
        office = Office(hour=10, people=people)
        ahead = [event for event in office.cloud.world._events if not event.cancelled]
        counts.append(len(ahead))
    assert counts[1] - counts[0] == 30


# What is done to them


def test_somebody_who_is_signed_out_at_work_is_back_within_two_minutes() -> None:
    office = Office(hour=11.1)
    host, session = office.sessions()[0]
    office.cloud.desktop.sign_out_by_force(host, session)
    assert office.signed_in() == 39
    office.at(11.1 + 3 / 60)
    assert office.signed_in() == 40
    assert session.user in [each.user for _, each in office.sessions()]


def test_somebody_who_is_signed_out_at_lunch_comes_back_after_it() -> None:
    office = Office(hour=12.6)
    host, session = next((h, s) for h, s in office.sessions() if s.state == "Disconnected")
    office.cloud.desktop.sign_out_by_force(host, session)
    office.at(12.6 + 3 / 60)
    assert session.user not in [each.user for _, each in office.sessions()]
    office.at(14.5)
    assert session.user in [each.user for _, each in office.sessions()]


def test_people_on_a_host_that_dies_sign_in_elsewhere() -> None:
    office = Office(hour=11.1, max_sessions=40)
    office.cloud.world.tell(MachineStopping(office.pool.hosts["pil-001"].vm, clean=True))
    office.at(11.2)
    assert len(office.pool.hosts["pil-002"].sessions) == 40


def test_somebody_who_finds_no_host_tries_again_until_there_is_one() -> None:
    office = Office(hour=5, late_workers=0.0)
    for host in office.pool.hosts.values():
        host.allow_new_session = False
    assert office.at(11).signed_in() == 0
    for host in office.pool.hosts.values():
        host.allow_new_session = True
    assert office.at(11.2).signed_in() == 40


def test_of_those_who_are_warned_some_sign_out_in_their_own_time_and_come_back() -> None:
    office = Office(hour=11.1)
    for host, session in office.sessions():
        office.cloud.world.tell(UserWarned(office.pool.name, host.name, session.user, session.number))
    office.at(11.1 + 4.5 / 60)
    left = [news for news in office.heard if news.state == "SignedOut"]
    assert 5 < len(left) < 30
    assert whys(left) == {"left"}
    assert office.at(11.3).signed_in() == 40


def test_nobody_signs_in_again_when_the_day_is_over() -> None:
    office = Office(hour=10)
    office.at(24)
    office.heard.clear()
    office.at(4, THURSDAY + 1)
    assert not office.heard


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)])
def test_the_same_seed_makes_the_same_people_and_another_seed_others(seeds: tuple[int, int]) -> None:
    lives = []
    for seed in seeds:
        small = load("small").model_copy(update={"seed": seed})
        clock = ManualClock(small.start)
        cloud = Cloud(small, clock)
        heard: list[SessionChanged] = []
        times: list[datetime] = []
        cloud.world.listen(SessionChanged, heard.append)
        cloud.world.listen(SessionChanged, lambda _, times=times, world=cloud.world: times.append(world.now))  # type: ignore[misc]
        clock.advance(3 * 86_400)
        cloud.world.catch_up()
        lives.append((heard, times))
    assert (lives[0] == lives[1]) == (seeds[0] == seeds[1])
