"""How long a rollout will take: the planner itself, run ahead on a small world of hosts that come up and users who leave.

`estimate` is pure, and its seeds are fixed: the same look at the same time gives the same answer. It assumes that nothing fails, that
nobody holds the rollout, and that hosts and users take as long as `Ranges` says. What a scaling plan has switched off sleeps and wakes as
the planner says; where its schedules are not known it stays asleep. It is what the rules lead to, and no promise.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from evergold import tags
from evergold.rollout.frozen import hosts_to_freeze, pool_size
from evergold.rollout.hosts import is_asleep, is_empty
from evergold.rollout.model import Action, Host, Kind, Plan, Policy, Session, Snapshot, Target
from evergold.rollout.plan import plan, why_unfit

SEEDS = (1, 2, 3)
LARGE_POOL = 300  # hosts; one such is run once
HORIZON = timedelta(days=14)
LONGEST_STEP_MINUTES = 10  # the more hosts, the longer the steps: their number makes up for what each is off by
HEARD_OF = timedelta(minutes=5)  # a host that was heard of so lately is alive
ALWAYS = timedelta(days=365)


@dataclass(frozen=True)
class Ranges:
    """From the shortest to the longest time that things take, in minutes.

    Attributes:
        come_up: from a host's creation to `Available`; the agent's own update alone can take over 30 (learn.microsoft.com, "Azure Virtual
            Desktop Agent updates").
        come_back: the same for a retained host, which is only switched on and registered again, and for one that a scaling plan had off.
        stay: how long a user who is not signed out stays at work yet.

    """

    come_up: tuple[int, int] = (12, 40)
    come_back: tuple[int, int] = (4, 10)
    stay: tuple[int, int] = (15, 540)


@dataclass(frozen=True)
class Estimate:
    """What a rollout is expected to take.

    Attributes:
        hosts: those that are replaced, in the order in which they leave the pool.
        low_minutes, high_minutes: the shortest and the longest of the runs; a run that does not end counts as `HORIZON`.
        users_moved: users who are warned and signed out, in the run that moves most.
        problem: why nothing can be said, or what a run that does not end waits for; "" otherwise.

    """

    hosts: tuple[str, ...] = ()
    low_minutes: int = 0
    high_minutes: int = 0
    users_moved: int = 0
    problem: str = ""

    @property
    def words(self) -> str:
        """The duration, for people."""
        if not self.high_minutes:
            return self.problem or "nothing to do"
        if self.high_minutes >= HORIZON.total_seconds() / 60:
            return f"no end in sight; it would wait for {self.problem}" if self.problem else "more than two weeks"
        low, high = _words(self.low_minutes), _words(self.high_minutes)
        return f"about {low}" if low == high else f"{low} to {high}"


def estimate(
    snapshot: Snapshot, target: Target, policy: Policy, now: datetime, ranges: Ranges | None = None
) -> Estimate:
    """How long the rollout takes from here, in which order hosts go, and how many users it moves."""
    return next(found for found in run_ahead(snapshot, target, policy, now, ranges) if found)


def run_ahead(
    snapshot: Snapshot, target: Target, policy: Policy, now: datetime, ranges: Ranges | None = None
) -> Iterator[Estimate | None]:
    """The same in small steps, for whoever has other things to do meanwhile: None after each plan, and the estimate in the end."""
    if reason := why_unfit(snapshot, target, policy, now):
        yield Estimate(problem=reason)
        return
    frozen, aim = _frozen(snapshot, target, has_plan=bool(policy.schedules))
    count = len(snapshot.hosts)
    step = timedelta(minutes=min(1 + count // 30, LONGEST_STEP_MINUTES))
    seeds = SEEDS[:1] if count > LARGE_POOL else SEEDS
    runs = [_World(frozen, Random(seed), ranges or Ranges(), now) for seed in seeds]
    for each in runs:
        yield from _run(each, aim, policy, step)
    lengths = [run.minutes for run in runs]
    longest = max(runs, key=lambda run: run.minutes)
    yield Estimate(tuple(runs[0].gone), min(lengths), longest.minutes, max(run.moved for run in runs), longest.problem)


@dataclass
class _World:
    """A pool as it may turn out: what `plan` is shown, and what happens next of itself."""

    snapshot: Snapshot
    random: Random
    ranges: Ranges
    now: datetime
    hosts: dict[str, Host] = field(default_factory=dict)
    due: dict[str, datetime] = field(default_factory=dict)  # when a host comes up, by its name
    leaving: dict[str, datetime] = field(default_factory=dict)  # when a user leaves, by the session's id
    gone: list[str] = field(default_factory=list)
    moved: int = 0
    minutes: int = 0
    problem: str = ""

    def __post_init__(self) -> None:
        for host in self.snapshot.hosts:
            heard = host.last_heartbeat is not None and self.now - host.last_heartbeat <= HEARD_OF
            # What lives is heard of at every look to come.
            self.hosts[host.name] = replace(host, last_heartbeat=self.now + ALWAYS) if heard else host
            for session in host.sessions:
                self.leaving[session.id] = self.soon(self.ranges.stay)
            if tags.REFRESH in host.tags and not host.registered:
                self.due[host.name] = self.soon(self.ranges.come_up)

    def soon(self, minutes: tuple[int, int]) -> datetime:
        """A moment from now, within a range."""
        return self.now + timedelta(minutes=self.random.randint(*minutes))

    def look(self) -> Snapshot:
        """What Azure would show."""
        return replace(self.snapshot, taken_at=self.now, hosts=tuple(self.hosts.values()))

    def change(self, name: str, marks: dict[str, str] | None = None, **changes: Any) -> None:
        """Sets tags and other facts of a host."""
        host = self.hosts[name]
        self.hosts[name] = replace(host, tags={**host.tags, **(marks or {})}, **changes)

    def unmark(self, name: str, *gone: str) -> None:
        """Takes tags away."""
        host = self.hosts[name]
        self.hosts[name] = replace(host, tags={tag: value for tag, value in host.tags.items() if tag not in gone})

    def without(self, name: str, ids: Iterable[str]) -> int:
        """Ends sessions on a host; returns how many there were."""
        host, ended = self.hosts[name], set(ids)
        left = tuple(session for session in host.sessions if session.id not in ended)
        self.change(name, sessions=left, session_count=len(left))
        return len(host.sessions) - len(left)


def _frozen(snapshot: Snapshot, target: Target, *, has_plan: bool) -> tuple[Snapshot, Target]:
    """The look as it will be once the rollout has begun, with the pool's scaling plan suspended; as it is, where it has."""
    if target.size > 0:
        return snapshot, replace(target, hold=None)
    names = set(hosts_to_freeze(snapshot, target))
    hosts = tuple(_mark(host, target) if host.name in names else host for host in snapshot.hosts)
    noted = {tags.SCALING: "suspended"} if has_plan else {}
    pool = replace(snapshot.pool, tags={**snapshot.pool.tags, **noted})
    return replace(snapshot, hosts=hosts, pool=pool), replace(target, size=pool_size(snapshot, target), hold=None)


def _mark(host: Host, target: Target) -> Host:
    marks = {tags.REPLACE: tags.frozen_value(target.refresh, host.vm_id)}
    if not host.allow_new_session and not is_asleep(host):
        marks[tags.WAS_DRAINED] = target.refresh
    return replace(host, tags={**host.tags, **marks})


def _run(world: _World, target: Target, policy: Policy, step: timedelta) -> Iterator[None]:
    """Runs the rollout to its end, or until nobody would wait for it any longer; stops after each plan."""
    begun = world.now
    while world.now - begun < HORIZON:
        _pass(world)
        decided = plan(world.look(), target, policy, world.now)
        yield
        if decided.done:
            break
        for name in decided.to_wake:
            _wake(world, name)
        for action in decided.actions:
            ACTS[action.kind](world, action, target)
        vacated = tuple(action.host for action in decided.actions if action.kind is Kind.DELETE_OUTDATED)
        target = replace(target, vacant_names=(*target.vacant_names, *vacated))
        if decided.to_judge:
            target = replace(target, sign_in_seen=frozenset(decided.to_judge))
        world.problem = decided.halted or decided.waiting_for
        if decided.halted:
            world.now = begun + HORIZON
            break
        world.now = _next(world, decided, step)
    else:
        world.now = begun + HORIZON
    world.minutes = int((world.now - begun) / timedelta(minutes=1))
    world.problem = world.problem if world.now - begun >= HORIZON else ""


def _next(world: _World, decided: Plan, step: timedelta) -> datetime:
    """The next moment at which something happens, and a tick later at least."""
    if decided.actions or decided.to_wake:
        return world.now + step
    coming = [*world.due.values(), *world.leaving.values(), *([decided.until] if decided.until else [])]
    return max(min(coming, default=world.now + HORIZON), world.now + step)


def _pass(world: _World) -> None:
    """Hosts come up and users leave, each when its time has come."""
    for name, at in list(world.due.items()):
        if at <= world.now:
            del world.due[name]
            world.change(
                name,
                provisioning_state="Succeeded",
                registered=True,
                status="Available",
                # One that slept is in the pool already, and opened when it is woken; a new one is shut until it is checked.
                allow_new_session=world.hosts[name].registered and world.hosts[name].allow_new_session,
                last_heartbeat=world.now + ALWAYS,
            )
    over = {session for session, at in world.leaving.items() if at <= world.now}
    if not over:
        return
    for host in [host for host in world.hosts.values() if any(session.id in over for session in host.sessions)]:
        world.without(host.name, over)
    for session in over:
        del world.leaving[session]


def _wake(world: _World, name: str) -> None:
    """A host that a scaling plan had switched off comes up, and takes new sessions unless the rollout drains it."""
    is_open = tags.DRAINED_AT not in world.hosts[name].tags
    world.change(name, {tags.WOKEN_AT: tags.format_time(world.now)}, power="running", allow_new_session=is_open)
    world.due[name] = world.soon(world.ranges.come_back)


_Act = Callable[[_World, Action, Target], None]


def _create(world: _World, action: Action, target: Target) -> None:
    made = {tags.REFRESH: target.refresh}
    world.hosts[action.host] = Host(
        action.host, action.host, action.host, target.image_version_id, "running", "Creating", world.now, made
    )
    world.due[action.host] = world.soon(world.ranges.come_up)


def _marks(tag: str, **changes: Any) -> _Act:
    """The act that notes the time in a tag."""
    return lambda world, action, _: world.change(action.host, {tag: tags.format_time(world.now)}, **changes)


def _drain(world: _World, action: Action, _: Target) -> None:
    noted = (tags.DRAINED_AT, tags.EMPTY_SINCE) if is_empty(world.hosts[action.host]) else (tags.DRAINED_AT,)
    world.change(action.host, dict.fromkeys(noted, tags.format_time(world.now)), allow_new_session=False)


def _undrain(world: _World, action: Action, _: Target) -> None:
    world.change(action.host, allow_new_session=True)
    world.unmark(action.host, tags.DRAINED_AT, tags.WARNED_AT, tags.WARNED_SESSIONS, tags.EMPTY_SINCE)


def _warn(world: _World, action: Action, _: Target) -> None:
    told = tags.ids_value(session.id for session in world.hosts[action.host].sessions)
    world.change(action.host, {tags.WARNED_AT: tags.format_time(world.now), tags.WARNED_SESSIONS: told})


def _sign_out(world: _World, action: Action, target: Target) -> None:
    moved = world.without(action.host, action.sessions)
    world.moved += moved
    world.change(action.host, {tags.MOVED_USERS: str(moved)})
    for number, session in enumerate(action.sessions):
        world.leaving.pop(session, None)
        _sign_in_again(world, Session(f"{session}-{number}-again", session, "Active", world.now), target)


def _sign_in_again(world: _World, session: Session, target: Target) -> None:
    """Whoever was signed out comes back at once, to the emptiest new host."""
    open_ones = [
        h for h in world.hosts.values() if h.allow_new_session and h.image_version_id == target.image_version_id
    ]
    if open_ones:
        host = min(open_ones, key=lambda each: each.session_count)
        world.change(host.name, sessions=(*host.sessions, session), session_count=host.session_count + 1)


def _remove(world: _World, action: Action, _: Target) -> None:
    world.gone.append(action.host)
    world.change(action.host, registered=False)


def _delete(world: _World, action: Action, _: Target) -> None:
    del world.hosts[action.host]


def _start(world: _World, action: Action, target: Target) -> None:
    host = world.hosts[action.host]
    world.unmark(action.host, tags.RETIRED_AT, tags.CHECKED_AT, tags.UNWELL_AT, tags.DRAINED_AT, tags.EMPTY_SINCE)
    back = {tags.BACK: tags.frozen_value(target.refresh, host.vm_id), tags.BACK_AT: tags.format_time(world.now)}
    world.change(action.host, back, power="running")
    world.due[action.host] = world.soon(world.ranges.come_back)


ACTS: dict[Kind, _Act] = {
    Kind.CREATE: _create,
    Kind.CHECK: _marks(tags.CHECKED_AT),
    Kind.CHECK_CANARY: _marks(tags.CHECKED_AT),
    Kind.ALLOW_SESSIONS: lambda world, action, _: world.change(action.host, allow_new_session=True),
    Kind.SHUT: lambda world, action, _: world.change(action.host, allow_new_session=False),
    Kind.DRAIN: _drain,
    Kind.UNDRAIN: _undrain,
    Kind.NOTE_EMPTY: _marks(tags.EMPTY_SINCE),
    Kind.NOTE_UNWELL: _marks(tags.UNWELL_AT),
    Kind.FORGET_EMPTY: lambda world, action, _: world.unmark(action.host, tags.EMPTY_SINCE),
    Kind.WARN: _warn,
    Kind.REMIND: _marks(tags.REMINDED_AT),
    Kind.SIGN_OUT: _sign_out,
    Kind.REMOVE_FROM_POOL: _remove,
    Kind.DEALLOCATE: lambda world, action, _: world.change(action.host, power="deallocated"),
    Kind.MARK_RETIRED: _marks(tags.RETIRED_AT),
    Kind.DELETE_OUTDATED: _delete,
    Kind.DELETE_FAILED: _delete,
    Kind.GIVE_UP: _delete,
    Kind.START: _start,
    Kind.REJOIN: lambda *_: None,  # it is on its way; when it is there is drawn at its start
}


def _words(minutes: int) -> str:
    """A duration as people say it, to the nearest quarter of an hour from two hours on."""
    if minutes < 120:
        return f"{minutes} minutes"
    quarters = round(minutes / 15)
    hours, rest = divmod(quarters, 4)
    return f"{hours} h {rest * 15} min" if rest else f"{hours} h"
