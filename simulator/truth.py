"""The world's own account of what was done to people and capacity: the truth that the product under test cannot see.

It listens; it never acts. `report()` says in a sentence how things went and lists every violation of what must never happen:

- a session cut off because its machine was stopped or deleted under it, whether the broker knew of the session or not
- a user signed out by force without a message at least five minutes before
- a user signed out by force twice within a day
- a sign-in that found no host
- work on a Cloud PC that a reprovision wiped and that had no copy; a Cloud PC that was reprovisioned twice
- a pool whose open slots fell below the floor, even for a moment
"""

from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.news import CloudPcWiped, MachineRunning, PoolChanged, SessionChanged, SignInRefused
from simulator.session_hosts import Pool

if TYPE_CHECKING:
    from simulator.cloud import Cloud

WARNING_MINUTES = 5
# Clients note times in whole seconds, so that a notice may seem to them up to a second older than it is.
TOLERANCE = timedelta(seconds=1)
WARNING_LASTS = timedelta(days=1)
AGAIN_WITHIN = timedelta(days=1)
REPROVISIONED_AGAIN = timedelta(hours=12)  # sooner than anybody has looked at what the first one brought
FLOOR_PERCENT = 80  # what the scenarios' image sets ask for
SAMPLE_EVERY = timedelta(seconds=60)
SAMPLES_KEPT = 5000


@dataclass(frozen=True)
class Sample:
    """A pool at one moment.

    `open_slots`: session slots, taken or free, on hosts that take new sessions. `served`: those, and the sessions that go on on
    hosts that do not. `hosts`: how many records the broker has.
    """

    at: datetime
    open_slots: int
    served: int
    sessions: int
    hosts: int


class Truth:
    """Watches every pool."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._world = cloud.world
        self._cut_off: list[str] = []
        self._unwarned: list[str] = []
        self._again: list[str] = []
        self._forced: dict[tuple[str, str], datetime] = {}
        self._moved = self._left_when_warned = self._sign_ins = 0
        self._refused: Counter[str] = Counter()
        self._lowest: dict[str, int] = {}
        self._lowest_served: dict[str, int] = {}
        self._machines: dict[str, list[str]] = {}
        self._measuring: set[str] = set()
        self.samples: dict[str, deque[Sample]] = defaultdict(lambda: deque(maxlen=SAMPLES_KEPT))
        self._world.listen(SessionChanged, self._session_changed)
        self._world.listen(SignInRefused, self._sign_in_refused)
        self._world.listen(PoolChanged, self._pool_changed)
        self._world.listen(MachineRunning, self._machine_running)
        self._wiped: dict[str, list[datetime]] = defaultdict(list)
        self._lost: list[str] = []
        self._world.listen(CloudPcWiped, self._cloud_pc_wiped)

    # What there is to tell

    def report(self) -> dict[str, Any]:
        """What happened: a summary, figures, and violations in words."""
        lowest = ", ".join(f"{pool} {percent} %" for pool, percent in sorted(self._lowest.items()))
        return {
            "summary": (
                f"{_users(self._moved)} moved, {len(self._unwarned)} of them without warning; {len(self._cut_off)} cut off in their "
                f"work; {sum(self._refused.values())} of {self._sign_ins} sign-ins found no host; the lowest capacity was "
                f"{lowest or 'never measured'}."
            ),
            "moved": self._moved,
            "left_when_warned": self._left_when_warned,
            "moved_without_warning": len(self._unwarned),
            "cut_off": len(self._cut_off),
            "sign_ins": self._sign_ins,
            "sign_ins_refused": dict(self._refused),
            "lowest_capacity_percent": dict(self._lowest),
            "lowest_served_percent": dict(self._lowest_served),
            "machines": {name: len(vm_ids) for name, vm_ids in sorted(self._machines.items())},
            "cloud_pcs_reprovisioned": len(self._wiped),
            "cloud_pcs_that_lost_work": list(self._lost),
            "violations": self._violations(),
        }

    def _violations(self) -> list[str]:
        return [
            *(f"cut off in mid-work: {each}" for each in self._cut_off),
            *(f"work lost that had no copy: {each}" for each in self._lost),
            *(
                f"Cloud PC reprovisioned {len(times)} times: {user}"
                for user, times in self._wiped.items()
                if len(times) > 1 and times[-1] - times[-2] < REPROVISIONED_AGAIN
            ),
            *(f"signed out without {WARNING_MINUTES} minutes' warning: {each}" for each in self._unwarned),
            *(f"moved more than once within a day: {each}" for each in self._again),
            *(f"sign-ins to {pool} that found no host: {times}" for pool, times in self._refused.items()),
            *(f"capacity of {pool} fell to {low} %" for pool, low in self._lowest.items() if low < FLOOR_PERCENT),
        ]

    def timeline(self) -> dict[str, list[dict[str, Any]]]:
        """For each pool what it was like, oldest first, at most once a minute and only where something changed."""
        return {pool: [asdict(sample) for sample in samples] for pool, samples in self.samples.items()}

    # What it hears

    def _session_changed(self, news: SessionChanged) -> None:
        if news.state == "Active":
            self._sign_ins += 1
        elif news.state == "CutOff":
            self._cut_off.append(self._where(news))
        elif news.state == "SignedOut" and "by force" in news.why:
            self._signed_out(news)
        elif news.state == "SignedOut" and self._was_warned(news, timedelta(0)):
            self._left_when_warned += 1
        self._measure_soon(news.pool)

    def _signed_out(self, news: SessionChanged) -> None:
        now, user = self._world.now, (news.pool, news.user)
        self._moved += 1
        if not self._was_warned(news, timedelta(minutes=WARNING_MINUTES) - TOLERANCE):
            self._unwarned.append(self._where(news))
        if user in self._forced and now - self._forced[user] < AGAIN_WITHIN:
            self._again.append(self._where(news))
        self._forced[user] = now

    def _was_warned(self, news: SessionChanged, before: timedelta) -> bool:
        return any(before <= self._world.now - warned < WARNING_LASTS for warned in news.warnings)

    def _where(self, news: SessionChanged) -> str:
        return f"{news.user} on {news.host} at {self._world.now:%Y-%m-%d %H:%M}"

    def _sign_in_refused(self, news: SignInRefused) -> None:
        self._sign_ins += 1
        self._refused[news.pool] += 1

    def _machine_running(self, news: MachineRunning) -> None:
        machine = self._cloud.compute.find(news.vm)
        if machine is not None:
            seen = self._machines.setdefault(machine.name, [])
            if machine.vm_id not in seen:
                seen.append(machine.vm_id)

    def _cloud_pc_wiped(self, news: CloudPcWiped) -> None:
        self._wiped[news.user].append(self._world.now)
        where = f"{news.user} at {self._world.now:%Y-%m-%d %H:%M}"
        if news.lost:
            self._lost.append(where)
        if news.cut_off:
            self._cut_off.append(where)

    def _pool_changed(self, news: PoolChanged) -> None:
        self._measure(news.pool)

    def _measure_soon(self, name: str) -> None:
        """Sessions come and go all the time, and take no slot away from the pool: once a minute is often enough."""
        if name not in self._measuring:
            self._measuring.add(name)
            self._world.after(SAMPLE_EVERY.total_seconds(), lambda: self._measure(name))

    def _measure(self, name: str) -> None:
        self._measuring.discard(name)
        for pool in self._cloud.desktop.pools.values():
            if pool.name == name:
                self._note(pool)

    def _note(self, pool: Pool) -> None:
        draining = sum(len(host.sessions) for host in pool.hosts.values() if not host.allow_new_session and host.alive)
        slots = pool.open_slots
        sample = Sample(self._world.now, slots, slots + draining, pool.session_count, len(pool.hosts))
        samples = self.samples[pool.name]
        if samples and replace(sample, at=samples[-1].at) == samples[-1]:
            return
        if len(samples) > 1 and sample.at - samples[-2].at < SAMPLE_EVERY:
            samples[-1] = sample
        else:
            samples.append(sample)
        nominal = pool.nominal_hosts * pool.max_sessions
        if nominal:
            self._lowest[pool.name] = min(100 * slots // nominal, self._lowest.get(pool.name, 100))
            served = 100 * sample.served // nominal
            self._lowest_served[pool.name] = min(served, self._lowest_served.get(pool.name, 100))


def _users(count: int) -> str:
    return "1 user was" if count == 1 else f"{count} users were"
