"""People who come and go by the minute, so that a rollout of an hour meets a day's worth of them; and what befalls hosts by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from evergold import tags
from simulator.cloud import Cloud
from simulator.kernel.world import Event
from simulator.news import MachineRunning, SessionChanged, UserWarned
from simulator.session_hosts import Pool, SessionHost

WORKS_MINUTES, AWAY_MINUTES, PAUSES_MINUTES = (4.0, 25.0), (2.0, 25.0), (3.0, 15.0)
BACK_AFTER_S = (20.0, 120.0)
HEEDS = 0.4  # share of the people who sign out by themselves when they are warned


@dataclass(eq=False)
class Person:
    """Somebody of the crowd. One who stays does not sign out of their own accord before the faults have ended."""

    name: str
    stays: bool
    working: bool = False
    upcoming: Event | None = None


class Crowd:
    """Everybody who signs in to a pool."""

    def __init__(self, cloud: Cloud, pool: Pool, people: int, staying: float, until: datetime) -> None:
        self._world, self._desktop, self._pool, self._until = cloud.world, cloud.desktop, pool, until
        self._dice = cloud.world.chance("crowd")
        self._people = {
            person.name: person
            for person in (Person(f"user{n}@contoso.com", self._dice.random() < staying) for n in range(people))
        }
        for person in self._people.values():
            self._later(person, self._dice.uniform(0, 600), self._come)
        self._world.listen(SessionChanged, self._session_changed)
        self._world.listen(UserWarned, self._warned)

    def _later(self, person: Person, seconds: float, what: Callable[[Person], None]) -> None:
        if person.upcoming is not None:
            person.upcoming.cancel()
        person.upcoming = self._world.after(seconds, lambda: what(person))

    def _come(self, person: Person) -> None:
        if self._desktop.sign_in(self._pool, person.name) is None:
            self._desktop.leave(self._pool, person.name)  # a session on a host that died ends at last
            self._later(person, self._dice.uniform(30, 180), self._come)
            return
        person.working = True
        minutes = self._dice.uniform(*WORKS_MINUTES)
        left = (self._until - self._world.now).total_seconds()
        if person.stays and left > 0:
            self._later(person, left + 60 * minutes, self._go)
        else:
            self._later(person, 60 * minutes, self._pause if self._dice.random() < 0.3 else self._go)

    def _pause(self, person: Person) -> None:
        person.working = False
        self._desktop.leave(self._pool, person.name, disconnect=True)
        self._later(person, 60 * self._dice.uniform(*PAUSES_MINUTES), self._come)

    def _go(self, person: Person) -> None:
        person.working = False
        self._desktop.leave(self._pool, person.name)
        self._later(person, 60 * self._dice.uniform(*AWAY_MINUTES), self._come)

    def _session_changed(self, news: SessionChanged) -> None:
        person = self._people[news.user]
        if person.working and (news.state == "CutOff" or "by force" in news.why):
            person.working = False
            self._later(person, self._dice.uniform(*BACK_AFTER_S), self._come)

    def _warned(self, news: UserWarned) -> None:
        person = self._people[news.user]
        if person.working and self._dice.random() < HEEDS:
            self._later(person, self._dice.uniform(30, 200), self._save_and_come_back)

    def _save_and_come_back(self, person: Person) -> None:
        person.working = False
        self._desktop.leave(self._pool, person.name)
        self._later(person, self._dice.uniform(*BACK_AFTER_S), self._come)


class Opener:
    """Somebody who takes hosts out of drain mode that a rollout has put into it; and who, when asked at last, drains them.

    Hosts of `shut`, by vmId, are left as they are: they were in drain mode before anybody came.
    """

    def __init__(self, cloud: Cloud, pool: Pool, shut: set[str], *, times: int, until: datetime) -> None:
        self._cloud, self._world, self._pool, self._shut = cloud, cloud.world, pool, shut
        self._dice = cloud.world.chance("opener")
        left = (until - cloud.world.now).total_seconds()
        for _ in range(times):
            self._world.after(self._dice.uniform(300, max(left, 301)), self._open)
        if times:
            self._world.after(max(left, 301) + 1800, self._drain)

    def _of_ours(self, tag: str) -> list[SessionHost]:
        """Hosts of the pool that bear a tag of the rollout."""
        found = ((host, self._cloud.compute.find(host.vm)) for host in self._pool.hosts.values())
        ours = (host for host, machine in found if machine is not None and tag in machine.tags)
        return [host for host in ours if host.vm_id not in self._shut]

    def _open(self) -> None:
        for host in self._of_ours(tags.DRAINED_AT):
            host.allow_new_session = True

    def _drain(self) -> None:
        # Nobody is asked any more once the rollout is over.
        for host in self._of_ours(tags.REOPENED_AT) if tags.LEASE in self._pool.tags else ():
            host.allow_new_session = False
        self._world.after(1800, self._drain)


class Misfortune:
    """Hosts that die, some of which come back, and new ones whose agent never comes up; all of it before a time."""

    def __init__(self, cloud: Cloud, pool: Pool, *, deaths: int, mute: float, until: datetime) -> None:
        self._cloud, self._world, self._pool, self._until = cloud, cloud.world, pool, until
        self._dice = cloud.world.chance("misfortune")
        self._mute = mute
        self._known = {machine.vm_id for machine in cloud.compute.machines()}
        left = (until - cloud.world.now).total_seconds()
        for _ in range(deaths):
            self._world.after(self._dice.uniform(60, left), self._strike)
        self._world.listen(MachineRunning, self._running)

    def _running(self, news: MachineRunning) -> None:
        machine = self._cloud.compute.find(news.vm)
        if machine is None or machine.vm_id in self._known or self._world.now > self._until:
            return
        self._known.add(machine.vm_id)
        if self._dice.random() < self._mute:
            machine.change(defects=(*machine.contents.defects, "agent"))

    def _strike(self) -> None:
        # Those who keep a host see to it themselves.
        kept = self._cloud.watch.protected
        living = [host for host in self._pool.hosts.values() if host.alive and host.vm_id not in kept]
        if not living:
            return
        host = self._dice.choice(living)
        if self._dice.random() < 0.4:
            self._desktop_falls_silent(host.name)
            return
        machine = self._cloud.compute.find(host.vm)
        if machine is None or not machine.is_running:
            return
        self._cloud.compute.switches.go_down(machine, "stopped", clean=False)
        if self._dice.random() < 0.5:
            self._world.after(60 * self._dice.uniform(1, 20), lambda: self._come_back(machine.id))

    def _desktop_falls_silent(self, name: str) -> None:
        self._cloud.desktop.fall_silent(self._pool.hosts[name.lower()])

    def _come_back(self, vm: str) -> None:
        machine = self._cloud.compute.find(vm)
        if (
            machine is not None
            and machine.power == "stopped"
            and machine.ongoing is None
            and not machine.is_being_deleted
        ):
            self._cloud.compute.switches.boot(machine, agent_after=20)
