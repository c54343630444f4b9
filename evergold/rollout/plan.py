"""The planner: where every host's fate is decided, and the only place.

`plan(snapshot, target, policy, now)` is a pure function: the same look at the same time gives the same plan. It remembers nothing;
all it knows of the past stands in the tags of what it sees.

An outdated host that is frozen into the rollout goes through these states, each with one way on:

| state | known by | goes on when |
| --- | --- | --- |
| serving | not in drain mode | the capacity floor lets it drain: then it is drained |
| draining | in drain mode, with sessions | its users leave; or, under immediate release, are warned and then signed out |
| emptying | in drain mode, no session | it has drained and been empty long enough: then it is removed from the pool |
| removed | not in the pool, not switched off | at once: it is deallocated |
| retired | deallocated | at once: it is marked with the time until which it is kept |

A new host: creating -> joining -> settling -> ready (in drain mode, healthy, not checked) -> checked -> serving.

**Capacity** is the number of session slots on hosts that take new sessions: `max_session_limit` for each host that is running, in the
pool, out of drain mode, `Available` or `NeedsAssistance`, with a fresh heartbeat. A draining host counts nothing, even while
people work on it: they keep what they have, but nobody else finds room there. The nominal capacity is the pool's size times the limit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evergold import tags
from evergold.rollout.model import Action, Host, Kind, Note, Plan, Policy, Snapshot, Target

USABLE = ("Available", "NeedsAssistance")  # the broker gives sessions to both
MOVES_USERS = ("immediate", "scheduled")
SNAPSHOT_MAX_AGE = timedelta(minutes=5)
NAME_LIMIT = 15  # Windows computer names
OFF = ("deallocated", "deallocating")


@dataclass(frozen=True)
class View:
    """A snapshot, sorted by what each host is to the rollout."""

    snapshot: Snapshot
    target: Target
    policy: Policy
    now: datetime
    outdated: tuple[Host, ...]
    fresh: tuple[Host, ...]

    @property
    def limit(self) -> int:
        """Session slots of one host."""
        return self.snapshot.pool.max_session_limit

    @property
    def floor(self) -> int:
        """Slots that must stay open, rounded up."""
        return -(-self.target.size * self.limit * self.policy.floor_percent // 100)

    @property
    def capacity(self) -> int:
        """Slots that are open now."""
        return self.limit * sum(1 for host in self.snapshot.hosts if is_serving(host, self.policy, self.now))

    @property
    def left(self) -> tuple[Host, ...]:
        """Outdated hosts that are not retired yet."""
        return tuple(host for host in self.outdated if not is_retired(host))

    @property
    def good(self) -> tuple[Host, ...]:
        """New hosts that have not failed."""
        return tuple(host for host in self.fresh if why_failed(host, self.policy, self.now) is None)

    @property
    def failed(self) -> tuple[Host, ...]:
        """New hosts that did not come up."""
        return tuple(host for host in self.fresh if why_failed(host, self.policy, self.now) is not None)


def hosts_to_freeze(snapshot: Snapshot, target: Target) -> tuple[str, ...]:
    """The hosts that a rollout replaces, decided once, when it starts: in the pool, on another image, not kept.

    Empty for a snapshot from which nothing may follow.
    """
    if not snapshot.complete:
        return ()
    return tuple(
        host.name
        for host in snapshot.hosts
        if host.registered and host.vm_id and tags.KEEP not in host.tags and not _on_target(host, target)
    )


def plan(snapshot: Snapshot, target: Target, policy: Policy, now: datetime) -> Plan:
    """What to do with the pool now. Total: every snapshot has a plan, if only to wait."""
    if reason := _unfit(snapshot, target, now):
        return Plan(waiting_for=reason)
    view = _view(snapshot, target, policy, now)
    halted = _why_halted(view)
    if halted:
        actions: tuple[Action, ...] = tuple(_put_back(view))
    elif target.hold:
        actions = ()
    else:
        actions = tuple(_actions(view))
    done = not halted and not actions and _is_done(view)
    return Plan(
        actions=actions,
        notes={host.name: _note(host, view) for host in snapshot.hosts},
        waiting_for="" if done or halted or actions else _waiting_for(view),
        done=done,
        halted=halted,
        capacity_percent=view.capacity * 100 // max(target.size * view.limit, 1),
        replaced=len(view.outdated) - len(view.left),
        total=len(view.outdated),
        users_to_move=sum(host.session_count for host in view.left),
    )


def is_serving(host: Host, policy: Policy, now: datetime) -> bool:
    """Whether the broker can give the host new sessions, as far as anybody can see."""
    return host.allow_new_session and is_healthy(host, policy, now)


def is_healthy(host: Host, policy: Policy, now: datetime) -> bool:
    """Running, usable by status, and heard of lately: the broker may show `Available` for a host that died days ago."""
    if not host.registered or host.power not in ("running", "unknown") or host.status not in USABLE:
        return False
    if host.last_heartbeat is None:
        return False
    if host.status == "NeedsAssistance" and not set(host.health_checks) <= set(policy.allowed_failing_health_checks):
        return False
    return now - host.last_heartbeat <= timedelta(minutes=policy.heartbeat_max_age_minutes)


def is_frozen(host: Host, target: Target) -> bool:
    """Whether this very VM was frozen into this rollout, and nobody has asked to keep it."""
    mark = host.tags.get(tags.REPLACE)
    return bool(host.vm_id) and mark == tags.frozen_value(target.refresh, host.vm_id) and tags.KEEP not in host.tags


def is_retired(host: Host) -> bool:
    """Out of the pool, switched off, and marked so."""
    return tags.RETIRED_AT in host.tags and not host.registered and host.power in OFF


def is_new(host: Host, target: Target) -> bool:
    """Whether this rollout made the host, from the version it is for."""
    return host.tags.get(tags.REFRESH) == target.refresh and _on_target(host, target) and not is_frozen(host, target)


def why_failed(host: Host, policy: Policy, now: datetime) -> str | None:
    """Why a new host counts as failed; None while it may still come up. One that has passed its checks never does."""
    if tags.CHECKED_AT in host.tags:
        return None
    if tags.FAILED in host.tags:
        return host.tags[tags.FAILED]
    if host.provisioning_state == "Failed":
        return "Azure could not provision it"
    age = now - host.created_at if host.created_at else timedelta(0)
    if age > timedelta(minutes=policy.join_timeout_minutes) and not is_healthy(host, policy, now):
        return f"it was not healthy {policy.join_timeout_minutes} minutes after its creation (status: {host.status or 'not in the pool'})"
    return None


def next_names(prefix: str, taken: Iterable[str], count: int) -> list[str]:
    """The lowest free names: prefix, hyphen, number. Nothing that exists under a name, in whatever state, is ever doubled."""
    used = {name.casefold() for name in taken}
    names: list[str] = []
    number = 0
    while len(names) < count:
        number += 1
        name = f"{prefix}-{number:03d}"
        if len(name) > NAME_LIMIT:
            break
        if name.casefold() not in used:
            names.append(name)
    return names


def _unfit(snapshot: Snapshot, target: Target, now: datetime) -> str:
    """Why nothing may follow from a snapshot, or an empty text."""
    if not snapshot.complete:
        return f"a whole look at the pool: {snapshot.problem}"
    if now - snapshot.taken_at > SNAPSHOT_MAX_AGE:
        return f"a fresh look at the pool: the last one is of {snapshot.taken_at:%H:%M} UTC"
    if target.size > 0 and not any(host.registered for host in snapshot.hosts):
        return "a believable look at the pool: Azure shows no host in it at all"
    return ""


def _view(snapshot: Snapshot, target: Target, policy: Policy, now: datetime) -> View:
    outdated = tuple(host for host in snapshot.hosts if is_frozen(host, target))
    fresh = tuple(host for host in snapshot.hosts if is_new(host, target))
    return View(snapshot, target, policy, now, outdated, fresh)


def _actions(view: View) -> Iterable[Action]:
    yield from _close_unchecked(view)
    yield from _delete_failed(view)
    yield from _bring_up(view)
    yield from _create(view)
    if view.target.canary_only or _too_early(view):
        return
    yield from _retire(view)
    if _canary_serves(view):
        yield from _drain(view)
        yield from _move_users(view)


def _close_unchecked(view: View) -> Iterable[Action]:
    """The broker opens every host as soon as it registers: ours stay shut until they are checked."""
    for host in view.fresh:
        if host.registered and host.allow_new_session and tags.CHECKED_AT not in host.tags:
            yield Action(Kind.DRAIN, host.name, "it is new, and stays in drain mode until its checks have passed")


def _delete_failed(view: View) -> Iterable[Action]:
    for host in view.failed:
        if host.session_count == 0:
            yield Action(Kind.DELETE_FAILED, host.name, why_failed(host, view.policy, view.now) or "")


def _bring_up(view: View) -> Iterable[Action]:
    for host in view.good:
        if not is_healthy(host, view.policy, view.now):
            continue
        if tags.CHECKED_AT not in host.tags and not host.allow_new_session:
            yield Action(Kind.CHECK, host.name, "it is healthy, and in drain mode until its checks have passed")
        elif tags.CHECKED_AT in host.tags and not host.allow_new_session and not view.target.canary_only:
            yield Action(Kind.ALLOW_SESSIONS, host.name, "its checks have passed")


def _create(view: View) -> Iterable[Action]:
    """As many as are missing, as the surge leaves room for, and as the canary allows."""
    standing = len(view.left) + len(view.fresh)
    wanted = 1 if view.target.canary_only else view.target.size
    room = view.target.size + view.policy.surge - standing
    count = min(wanted - len(view.good), room)
    if view.target.canary_only or not _canary_serves(view):
        count = min(count, 1 - len(view.fresh))
        reason = "it is the canary: the first host on the new version, in drain mode until it has passed its checks"
    else:
        reason = "it takes the place of an outdated host"
    if _too_early(view) and not view.target.canary_only:
        return
    taken = [name for host in view.snapshot.hosts for name in (host.name, host.session_host_name or host.name)]
    for name in next_names(view.target.name_prefix, taken, max(count, 0)):
        yield Action(Kind.CREATE, name, reason)


def _retire(view: View) -> Iterable[Action]:
    """Takes empty hosts out of the way, one step a look: each step is seen to have happened before the next is taken."""
    for host in view.left:
        if not host.registered:
            if host.power not in OFF:
                yield Action(Kind.DEALLOCATE, host.name, "it is out of the pool")
            elif tags.RETIRED_AT not in host.tags:
                yield Action(Kind.MARK_RETIRED, host.name, "it is switched off")
        elif not host.allow_new_session and host.session_count == 0 and tags.DRAINED_AT in host.tags:
            if tags.EMPTY_SINCE not in host.tags:
                yield Action(Kind.NOTE_EMPTY, host.name, "the broker shows nobody on it any more")
            elif not _time_left(host, view):
                yield Action(Kind.REMOVE_FROM_POOL, host.name, "it has drained, and been empty long enough")


def _time_left(host: Host, view: View) -> timedelta:
    """How long an empty host still has to drain and settle; zero when it is over."""
    drained = tags.parse_time(host.tags.get(tags.DRAINED_AT)) or view.now
    empty = tags.parse_time(host.tags.get(tags.EMPTY_SINCE)) or view.now
    over = max(
        drained + timedelta(minutes=view.policy.min_drain_minutes),
        empty + timedelta(minutes=view.policy.settle_minutes),
    )
    return max(over - view.now, timedelta(0))


def _drain(view: View) -> Iterable[Action]:
    """Drains the emptiest first, as many as leave the floor standing."""
    spare = view.capacity - view.floor
    for host in sorted(view.left, key=lambda each: (each.session_count, each.name.casefold())):
        if not host.registered or (not host.allow_new_session and tags.DRAINED_AT in host.tags):
            continue
        costs = view.limit if is_serving(host, view.policy, view.now) else 0
        if costs <= spare:
            spare -= costs
            yield Action(Kind.DRAIN, host.name, "it is outdated, and enough room is left without it")


def _move_users(view: View) -> Iterable[Action]:
    """Warns, then signs out: only when every outdated host drains, so that nobody is moved twice, and only into free slots."""
    if view.policy.release_method not in MOVES_USERS or not _all_drain(view):
        return
    room = _free_slots(view)
    for host in sorted(view.left, key=lambda each: each.name.casefold()):
        if not host.registered or not host.sessions:
            continue
        if len(host.sessions) > room:
            break
        room -= len(host.sessions)
        warned = tags.parse_time(host.tags.get(tags.WARNED_AT))
        unwarned = tuple(
            s.id for s in host.sessions if warned is None or (s.created_at is not None and s.created_at > warned)
        )
        if unwarned:
            yield Action(Kind.WARN, host.name, "its users are about to be moved to new hosts", unwarned)
        elif warned is not None and view.now - warned >= timedelta(minutes=view.policy.warn_minutes):
            everyone = tuple(session.id for session in host.sessions)
            yield Action(Kind.SIGN_OUT, host.name, f"they were warned {view.policy.warn_minutes} minutes ago", everyone)


def _all_drain(view: View) -> bool:
    return all(
        not host.registered or (not host.allow_new_session and tags.DRAINED_AT in host.tags) for host in view.left
    )


def _free_slots(view: View) -> int:
    """Slots on serving hosts of the target version that nobody has taken."""
    return sum(
        max(view.limit - host.session_count, 0)
        for host in view.snapshot.hosts
        if _on_target(host, view.target) and is_serving(host, view.policy, view.now)
    )


def _canary_serves(view: View) -> bool:
    """Whether this version has proven itself: elsewhere, or by a host here that has passed its checks and serves."""
    return view.target.canary_proven or any(
        tags.CHECKED_AT in host.tags and is_serving(host, view.policy, view.now) for host in view.fresh
    )


def _too_early(view: View) -> bool:
    start = view.policy.scheduled_start
    return view.policy.release_method == "scheduled" and start is not None and view.now < start


def _why_halted(view: View) -> str | None:
    failures = view.target.failures_before + len(view.failed)
    if failures <= view.policy.failure_budget:
        return None
    causes = "; ".join(f"{host.name}: {why_failed(host, view.policy, view.now)}" for host in view.failed)
    return (
        f"{failures} new hosts failed, and the failure budget is {view.policy.failure_budget}. {causes or 'They have been removed.'} "
        f"{len(view.outdated) - len(view.left)} of {len(view.outdated)} outdated hosts were replaced before that. Nothing more is created, "
        "drained or signed out, and outdated hosts that were in drain mode because of this rollout serve again. "
        "What to do: look at the failed hosts, which are left as they are; then start the rollout again, or roll back."
    )


def _put_back(view: View) -> Iterable[Action]:
    for host in view.left:
        if (
            host.registered
            and not host.allow_new_session
            and tags.DRAINED_AT in host.tags
            and tags.WAS_DRAINED not in host.tags
        ):
            yield Action(Kind.UNDRAIN, host.name, "the rollout has halted, and its users need room")


def _is_done(view: View) -> bool:
    if view.target.canary_only:
        return any(tags.CHECKED_AT in host.tags and is_healthy(host, view.policy, view.now) for host in view.good)
    serving = sum(1 for host in view.good if tags.CHECKED_AT in host.tags and is_serving(host, view.policy, view.now))
    return not view.left and serving >= view.target.size


def _waiting_for(view: View) -> str:
    """What nothing can be done about but wait, in words."""
    if view.target.hold:
        return f"the hold to be lifted: {view.target.hold}"
    if _too_early(view):
        return f"the scheduled start, {view.policy.scheduled_start:%Y-%m-%d %H:%M %Z}"
    coming = [host.name for host in view.good if tags.CHECKED_AT not in host.tags]
    with_users = [host for host in view.left if host.registered and host.session_count]
    if coming:
        return f"{_listed(coming)} to come up"
    if with_users and view.policy.release_method in MOVES_USERS and not _all_drain(view):
        return (
            f"users of {_listed([host.name for host in with_users])} to leave: not every outdated host can drain without falling below "
            "the capacity floor, and nobody is signed out before all of them do; a larger max_surge would make room"
        )
    if with_users:
        return f"{sum(host.session_count for host in with_users)} users of {_listed([host.name for host in with_users])} to leave"
    emptying = [host.name for host in view.left if host.registered and not host.allow_new_session]
    if emptying:
        return f"{_listed(emptying)} to drain and settle"
    return "Azure to show what was done"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _on_target(host: Host, target: Target) -> bool:
    return (host.image_version_id or "").casefold() == target.image_version_id.casefold()


def _note(host: Host, view: View) -> Note:
    """One host's state and reason, for people."""
    if is_frozen(host, view.target):
        return _outdated_note(host, view)
    if is_new(host, view.target):
        return _new_note(host, view)
    if tags.KEEP in host.tags:
        return Note("kept", f"somebody has tagged it {tags.KEEP}: it is never touched")
    if _on_target(host, view.target):
        return Note("up to date", "it is on the target version")
    if not host.registered:
        return Note("not in the pool", "it belongs to an earlier rollout, and is not touched by this one")
    return Note("not part of this", "it was not among the hosts frozen when the rollout started")


def _outdated_note(host: Host, view: View) -> Note:
    if is_retired(host):
        return Note("retired", f"kept until {host.tags.get(tags.RETAIN_UNTIL, 'its time is up')}")
    if not host.registered:
        return Note("removed", "out of the pool, about to be switched off and kept")
    if host.allow_new_session:
        return Note("serving", "outdated; it drains as soon as the capacity floor allows")
    if host.session_count:
        warned = host.tags.get(tags.WARNED_AT)
        reason = f"users were warned at {warned}" if warned else f"waits for {host.session_count} users to leave"
        return Note("draining", reason)
    minutes = -(-_time_left(host, view).total_seconds() // 60)
    return Note("emptying", f"nobody on it; {minutes:.0f} minutes until it may go")


def _new_note(host: Host, view: View) -> Note:
    if reason := why_failed(host, view.policy, view.now):
        return Note("failed", reason)
    if not host.registered:
        step = "creating" if host.provisioning_state != "Succeeded" else "joining"
        return Note(step, "new; not in the pool yet")
    if not is_healthy(host, view.policy, view.now):
        return Note("settling", f"new; the broker shows {host.status}")
    if tags.CHECKED_AT not in host.tags:
        return Note("ready", "new and healthy; in drain mode until it is checked")
    if host.allow_new_session:
        return Note("serving", "on the target version")
    return Note("checked", "passed its checks; in drain mode")
