"""The world's own account of what was done to people and capacity: the truth that the product under test cannot see.

It listens; it never acts. `report()` says in a sentence how things went and lists every violation of what must never happen.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.desktop import Pool, Session, SessionHost
from simulator.news import SessionChanged

if TYPE_CHECKING:
    from simulator.cloud import Cloud

WARNING_MINUTES = 5
SAMPLE_EVERY_S = 60
FLOOR_PERCENT = 80  # what the scenarios' image sets ask for


@dataclass(frozen=True)
class Sample:
    """A pool's capacity at one moment."""

    at: datetime
    open_slots: int
    sessions: int


class Truth:
    """Watches every pool."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._cut_off: list[str] = []
        self._unwarned: list[str] = []
        self._forced: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._lowest: dict[str, int] = {}
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        cloud.world.listen(SessionChanged, self._session_changed)
        cloud.world.after(SAMPLE_EVERY_S, self._sample)

    def signed_out(self, host: SessionHost, session: Session) -> None:
        """A session was ended by a call to the service."""
        now = self._cloud.world.now
        self._forced[host.pool.name, session.user] += 1
        if session.warned_at is None or now - session.warned_at < timedelta(minutes=WARNING_MINUTES):
            self._unwarned.append(f"{session.user} on {host.name} at {now:%H:%M}")

    def refused(self, pool: Pool) -> None:
        """Somebody wanted to sign in and found no host."""
        self._refused[pool.name] += 1

    def report(self) -> dict[str, Any]:
        """What happened: a summary, figures, and violations in words."""
        twice = [f"{user} in {pool}" for (pool, user), times in self._forced.items() if times > 1]
        violations = [
            *(f"cut off in mid-work: {each}" for each in self._cut_off),
            *(f"signed out without {WARNING_MINUTES} minutes' warning: {each}" for each in self._unwarned),
            *(f"moved more than once: {each}" for each in twice),
            *(f"{times} sign-ins to {pool} found no host" for pool, times in self._refused.items()),
            *(f"capacity of {pool} fell to {low} %" for pool, low in self._lowest.items() if low < FLOOR_PERCENT),
        ]
        lowest = ", ".join(f"{pool} {percent} %" for pool, percent in sorted(self._lowest.items()))
        return {
            "summary": (
                f"{sum(self._forced.values())} users were moved, {len(self._unwarned)} of them without warning; "
                f"{len(self._cut_off)} were cut off; the lowest capacity was {lowest or 'never measured'}."
            ),
            "moved": sum(self._forced.values()),
            "lowest_capacity_percent": dict(self._lowest),
            "violations": violations,
        }

    def open_slots(self, pool: Pool) -> int:
        """Slots on hosts that really can take somebody now."""
        return pool.max_sessions * sum(
            1 for host in pool.hosts.values() if host.allow_new_session and self._works(host)
        )

    def _works(self, host: SessionHost) -> bool:
        machine = self._cloud.compute.find(host.vm)
        return machine is not None and machine.is_running and host.status in ("Available", "NeedsAssistance")

    def _session_changed(self, news: SessionChanged) -> None:
        if news.state == "CutOff":
            self._cut_off.append(f"{news.user} on {news.host} at {self._cloud.world.now:%H:%M}")

    def _sample(self) -> None:
        for pool in self._cloud.desktop.pools.values():
            slots = self.open_slots(pool)
            sessions = sum(len(host.sessions) for host in pool.hosts.values())
            self.samples[pool.name].append(Sample(self._cloud.world.now, slots, sessions))
            percent = 100 * slots // (pool.nominal_hosts * pool.max_sessions)
            self._lowest[pool.name] = min(percent, self._lowest.get(pool.name, 100))
        self._cloud.world.after(SAMPLE_EVERY_S, self._sample)
