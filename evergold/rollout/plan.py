"""The planner: where every host's fate is decided, and the only place.

`plan(snapshot, target, policy, now)` is a pure function: the same look at the same time gives the same plan. It remembers nothing;
all it knows of the past stands in the tags of what it sees. It is total: a look from which nothing may follow has a plan too, to wait.

An outdated host that is frozen into the rollout goes through these states, each with one way on:

| state | known by | goes on when |
| --- | --- | --- |
| serving | not in drain mode | the canary serves and the capacity floor lets it drain: then it is drained |
| draining | in drain mode, with sessions | its users leave; or, under immediate release, are warned and then signed out |
| emptying | in drain mode, no session | it has drained and been empty long enough: then it is removed from the pool |
| removed | not in the pool | at once: it is switched off (after settling, if it was not seen empty before it left the pool) |
| retired | marked, once it is deallocated | it is done, and kept until `retain_days` are over |

In place it is deleted as soon as it is removed and has settled, and its successor bears its name. So there the first one goes before
the canary is made, and no second one drains until the canary serves; then as many as the open wave replaces.

A new host goes through these; it is in drain mode until it has been checked:

| state | known by | goes on when |
| --- | --- | --- |
| creating, joining | not in the pool | it registers |
| settling | in the pool, not healthy | it is `Available`, with a fresh heartbeat |
| ready | healthy, not checked | its checks have passed |
| checked | checked, in drain mode | it has been healthy for `min_ready_minutes` since: then it is opened to users |
| serving | not in drain mode | it stays |
| failed | not up in time, or silent as long | it is shut and nobody is on it: then it is deleted, within the failure budget |

In a roll back the hosts that are retained on the target version come first: switched on all at once, since their quota, addresses and
names are there already, and registered again. From there on each is as a new host, but that one which fails is switched off and kept.

What holds for all of them:

| rule | why |
| --- | --- |
| the first new host is the canary; nothing drains and no second is created until it serves | a bad image meets no user |
| the surge bounds all hosts until they are off or gone, failed ones and those in creation too | quota, addresses and money are bounded |
| a host drains only if the floor holds without it, now and by day | users must find room, in the morning too |
| what a scaling plan has switched off sleeps on until shortly before the plan's ramp-up, unless it is needed | nights are for saving |
| users are signed out only when every outdated host drains | nobody lands on a host from which they are moved again |
| ... after the warning, and into slots that are free for them | nobody loses work or a desktop |
| new hosts come, and outdated ones go, in waves: the next share begins when the one before serves | a fault meets few users |
| ... has been in use for `wave_bake_minutes`, and people get in as they do to outdated hosts | so does one that no check sees |
| after a failure it waits, longer each time, and begins again with the first share | a bad image costs little |
| a step is planned when the one before it is seen to have happened | a lost write or a crash costs a tick, and no more |
| ... but what follows a removal from the pool is planned with it, and done once that is seen | a host that nobody can use costs money |
| a scheduled rollout begins nothing that its window has no time for, and opens occupied hosts again when it ends | days are for work |
| a host that other hands open again is drained once more, and then left to them | nobody fights with colleagues or their tools |
| in a personal pool a host that is somebody's own is never touched, and opened if it became so while it drained | they have no other |
| over the failure budget, drained hosts that still stand are opened again | a halted rollout takes nothing from anybody |

**Capacity** is the number of session slots on hosts that take new sessions: `max_session_limit` for each host that is running, in the
pool, out of drain mode, `Available` or `NeedsAssistance`, with a fresh heartbeat, and, if it is new, checked: the broker opens a host as
soon as it registers, and it is shut again at once. A draining host counts nothing, even while
people work on it: they keep what they have, but nobody else finds room there. The nominal capacity is the pool's size times the limit,
and the floor a share of that. A host that does not serve at the moment (agent update, switched off by a scaling plan) may serve again: it
drains only if the floor would hold without it, were all such hosts back. A host that is lost costs nothing.

The pool's load-balancing type changes nothing of this. Depth-first fills one host up to the limit before the next, breadth-first spreads
over the emptier half; either sends nobody to a host that is full or in drain mode, so that slots are slots, whichever host they are on
(learn.microsoft.com, "Host pool load balancing algorithms"). Without a limit there are none to count: by hosts the floor holds all the
same, but nobody is signed out, since all could come back to one host. Depth-first they would.

**Quiet time** is from the ramp-down of the pool's suspended scaling plan until `quiet.AHEAD` of its next ramp-up. What must be open then is
the plan's least share, one host at least, and no more than the floor. The floor itself is kept by what is *at hand*: hosts that serve, that
sleep, or that were woken a moment ago; so whatever happens at night, waking what sleeps is enough for the day. Hosts are woken then as the
plan would wake them, for its share or for people, and new ones always. When it ends all are woken, and the floor is of what is open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from evergold import tags
from evergold.config.models import SIGN_OUT_MINUTES
from evergold.rollout.frozen import frozen_into
from evergold.rollout.hosts import (
    LOOK_LAG,
    OFF,
    awaited_since,
    is_asleep,
    is_back,
    is_checked,
    is_draining,
    is_empty,
    is_frozen,
    is_going,
    is_healthy,
    is_held_open,
    is_kept,
    is_lost,
    is_lower,
    is_marked,
    is_new,
    is_put_away,
    is_ready,
    is_retained,
    is_retired,
    is_serving,
    is_stray,
    is_usable,
    is_waking,
    on_target,
    ready_at,
    sleeps,
    wakes_anew,
    was_just_drained,
    why_failed,
)
from evergold.rollout.model import Action, Host, Kind, Note, Plan, Policy, Snapshot, Target
from evergold.rollout.quiet import Quiet, next_ramp_down, quiet_at
from evergold.rollout.windows import next_opening, open_until

MOVES_USERS = ("immediate", "scheduled")
SNAPSHOT_MAX_AGE = timedelta(minutes=5)
NAME_LIMIT = 15  # Windows computer names
PERSONAL = "Personal"
NO_LIMIT = 999_999  # what Azure takes for a pool without a session limit
# Users who were signed out are expected back within this time: their slots are not given to others.
RETURN_TIME = timedelta(minutes=10)
LONGEST_RETRY = timedelta(hours=1)


@dataclass(frozen=True)
class View:
    """A snapshot, sorted by what each host is to the rollout. What is costly to tell is told once."""

    snapshot: Snapshot
    target: Target
    policy: Policy
    now: datetime

    @cached_property
    def outdated(self) -> tuple[Host, ...]:
        """Hosts that this rollout replaces, retired ones too."""
        return tuple(host for host in self.snapshot.hosts if is_frozen(host, self.target))

    @cached_property
    def fresh(self) -> tuple[Host, ...]:
        """Hosts that this rollout made, in whatever state."""
        return tuple(host for host in self.snapshot.hosts if is_new(host, self.target))

    @cached_property
    def replaced_names(self) -> frozenset[str]:
        """Names of the hosts that this rollout replaces."""
        return frozenset(host.name for host in self.outdated)

    @cached_property
    def made_names(self) -> frozenset[str]:
        """Names of the hosts that this rollout made."""
        return frozenset(host.name for host in self.fresh)

    @cached_property
    def lost(self) -> frozenset[str]:
        """Names of the hosts that will not come back by themselves."""
        return frozenset(host.name for host in self.snapshot.hosts if is_lost(host, self.policy, self.now))

    @cached_property
    def left(self) -> tuple[Host, ...]:
        """Outdated hosts that are not retired yet."""
        return tuple(host for host in self.outdated if not is_retired(host))

    @cached_property
    def failures(self) -> dict[str, str]:
        """New hosts that did not come up or were lost, with the reason; but not one that is somebody's own already: it is never deleted.

        One that is being deleted was counted before.
        """
        found = {}
        for host in self.fresh:
            reason = (
                None if is_going(host) or host.assigned_user else why_failed(host, self.target, self.policy, self.now)
            )
            if reason is not None:
                found[host.name] = reason
        return found

    @cached_property
    def good(self) -> tuple[Host, ...]:
        """New hosts that have not failed."""
        return tuple(host for host in self.fresh if host.name not in self.failures and not is_going(host))

    @cached_property
    def retained(self) -> tuple[Host, ...]:
        """In a roll back, the hosts that are switched off on the target version and can be brought back: the way back itself."""
        return tuple(host for host in self.snapshot.hosts if is_retained(host, self.target))

    @cached_property
    def others(self) -> tuple[Host, ...]:
        """Hosts of the pool that this rollout neither made nor replaces: kept, up to date already, or added by somebody."""
        ours = self.replaced_names | self.made_names
        return tuple(host for host in self.snapshot.hosts if host.registered and host.has_vm and host.name not in ours)

    @property
    def limit(self) -> int:
        """Session slots of one host."""
        if self.snapshot.pool.host_pool_type == PERSONAL:
            return 1
        return self.snapshot.pool.max_session_limit if self.snapshot.pool.max_session_limit > 0 else NO_LIMIT

    @cached_property
    def floor(self) -> int:
        """Slots that must stay open by day, rounded up; in quiet time they must be there for the day, asleep or not."""
        return -(-self.target.size * self.limit * self.policy.floor_percent // 100)

    @cached_property
    def quiet(self) -> Quiet | None:
        """The pool's quiet time, if it is quiet now. By day, and where no scaling plan is suspended for the pool, it is None."""
        return quiet_at(self.policy.schedules, self.now) if tags.SCALING in self.snapshot.pool.tags else None

    @property
    def night(self) -> Quiet | None:
        """The quiet time until its sleepers are woken; from then on what holds by day holds already."""
        return self.quiet if self.quiet is not None and self.now < self.quiet.wakes_at else None

    @cached_property
    def open_floor(self) -> int:
        """Slots that must be open now: in quiet time as many as the scaling plan would keep, but one host's at least.

        With the plan suspended, nobody would switch one on for whoever comes.
        """
        if self.night is None:
            return self.floor
        hosts = -(-self.target.size * self.night.least_percent // 100)
        return min(max(hosts, 1) * self.limit, self.floor)

    @cached_property
    def closing(self) -> frozenset[str]:
        """Names of hosts that are no capacity though they look open.

        New ones that are not checked are about to be shut. Outdated ones that were drained a moment ago are so already: the look is old.
        """
        unchecked = {host.name for host in self.fresh if not is_checked(host)}
        return frozenset(unchecked | {host.name for host in self.left if was_just_drained(host, self.now)})

    @cached_property
    def serving(self) -> frozenset[str]:
        """Names of the hosts that take new sessions, now and when this plan has been carried out but for its drains."""
        return frozenset(
            host.name
            for host in self.snapshot.hosts
            if is_serving(host, self.policy, self.now) and host.name not in self.closing
        )

    @cached_property
    def capacity(self) -> int:
        """Slots that are open now."""
        return self.limit * len(self.serving)

    @cached_property
    def at_hand(self) -> frozenset[str]:
        """Names of the hosts that take new sessions, or will as soon as they are woken: what the pool has for the day."""
        resting = {host.name for host in self.snapshot.hosts if sleeps(host)} - self.closing
        return self.serving | resting | self.waking

    @cached_property
    def waking(self) -> frozenset[str]:
        """Names of hosts that were woken a moment ago, and take new sessions as soon as they are heard of."""
        return frozenset(
            host.name
            for host in self.snapshot.hosts
            if is_waking(host, self.policy, self.now)
            and (host.allow_new_session or sleeps(host))
            and host.name not in self.closing
        )

    @property
    def missing(self) -> int:
        """Slots that the pool lacks: of those that must be open now, or of those that must be at hand for the day."""
        return max(self.open_floor - self.capacity, self.floor - self.limit * len(self.at_hand))

    @property
    def potential(self) -> int:
        """Slots that would be open if every host that is merely asleep or unwell came back."""
        return self.limit * sum(
            1
            for host in self.snapshot.hosts
            if host.registered
            and (host.allow_new_session or sleeps(host))
            and host.has_vm
            and host.name not in self.closing
            and host.name not in self.lost
        )

    @cached_property
    def needed(self) -> int:
        """New hosts that this rollout has to bring the pool, beside those that others keep alive in it."""
        if self.target.canary_only:
            return 1
        alive = [host for host in self.others if not is_going(host) and host.name not in self.lost]
        return max(self.target.size - len(alive), 0)

    @cached_property
    def proven(self) -> tuple[Host, ...]:
        """New hosts that were opened to users and serve, or sleep as a scaling plan has them do."""
        return tuple(
            host for host in self.good if is_checked(host) and (host.name in self.serving or _sleeps_open(host))
        )

    @cached_property
    def allowed(self) -> int:
        """New hosts that the open wave allows. After a failure the waves begin anew, with what was not in good use before it."""
        if self.target.rollback:
            return self.needed
        failed = self.target.last_failure
        before = sum(1 for host in self.used if failed is not None and _checked_by(host, failed))
        rest = self.needed - before
        for share in self.policy.waves:
            bound = before + -(-rest * share // 100)
            if len(self.used) < bound:
                return bound
        return self.needed

    @cached_property
    def used(self) -> tuple[Host, ...]:
        """New hosts that serve, and to which sign-in was found to be no worse than to the outdated ones."""
        return tuple(host for host in self.proven if host.name in self.target.sign_in_seen)

    @cached_property
    def baked_at(self) -> datetime | None:
        """When the new hosts of the open wave have been in use long enough to judge it; None while some do not serve, or after the last."""
        if self.allowed >= self.needed or len(self.proven) < self.allowed:
            return None
        opened = sorted(at for host in self.proven if (at := ready_at(host, self.policy)) is not None)
        last = opened[: self.allowed][-1] if opened else self.now
        return last + timedelta(minutes=self.policy.wave_bake_minutes)

    @property
    def to_judge(self) -> tuple[str, ...]:
        """New hosts to which sign-in has to be looked at before the next wave opens."""
        due = self.baked_at is not None and self.now >= self.baked_at and not self.target.canary_only
        return tuple(host.name for host in self.proven) if due else ()

    @cached_property
    def may_take(self) -> int:
        """Outdated hosts that may still lose their users or leave the pool in the open wave: its share, and what its own hosts need."""
        if self.in_place and not self.target.rollback:
            staying = [host for host in self.left if host.registered and not _is_warned(host)]
            return self.allowed - self._away(staying)
        if self.allowed >= self.needed:
            return len(self.outdated)
        share = -(-len(self.outdated) * self.allowed // self.needed)
        taken = sum(1 for host in self.outdated if not host.registered or _is_warned(host))
        return max(share - taken, self.allowed - len(self.good) if self.room <= 0 else 0)

    @cached_property
    def retry_at(self) -> datetime | None:
        """When a host may be made again after the last failure; None where none has failed."""
        if self.target.last_failure is None:
            return None
        doublings = min(max(self.target.failures_before - 1, 0), 16)
        pause = timedelta(minutes=self.policy.retry_minutes * (1 << doublings))
        return self.target.last_failure + min(pause, LONGEST_RETRY)

    @property
    def must_pause(self) -> bool:
        """Whether a new host failed so lately that no other is tried yet. One that served before it was lost says nothing of the image."""
        young = any(not is_checked(host) for host in self.fresh if host.name in self.failures)
        return young or (self.retry_at is not None and self.now < self.retry_at)

    @property
    def in_place(self) -> bool:
        """Whether an outdated host goes before its successor is made."""
        return self.policy.strategy == "in_place"

    @cached_property
    def turns(self) -> int:
        """Outdated hosts that may begin to drain: in place no more than the open wave replaces, and one until the canary serves.

        Never all that stand: a look that shows no host at all is not believed.
        """
        if not self.in_place:
            return len(self.left)
        staying = [host for host in self.left if host.registered and not is_draining(host)]
        if self.target.rollback:  # hosts that are brought back stand beside the others, and there are no waves
            return min(len(staying), self.standing - 1)
        allowed = self.allowed if self.canary_serves else min(self.allowed, 1)
        return min(allowed - self._away(staying), self.standing - 1)

    @cached_property
    def standing(self) -> int:
        """Hosts of the pool that serve and are not going, or are thought to: outdated, new and others."""
        staying = [host for host in self.left if host.registered and not is_draining(host)]
        return len(staying) + len(self.proven) + len(self.others)

    def _away(self, staying: Sequence[Host]) -> int:
        """Outdated hosts that have gone or are going, in place: those that are missing, or that can be seen, whichever are more."""
        return max(self.needed - len(staying), len(self.left) - len(staying) + len(self.fresh))

    @property
    def room(self) -> int:
        """Hosts that may still be created within the surge. Dead ones take up room too: they have their quota and address."""
        # In place a host that is off is still to be deleted, and its name and address are its successor's.
        left = self.left if self.in_place else [host for host in self.left if not is_put_away(host)]
        standing = len(left) + len(self.fresh) + len(self.others)
        # The canary of a refresh stands beside the pool while people look at it.
        surge = 1 if self.in_place and self.target.canary_only else self.policy.surge
        room = self.target.size + surge - standing
        # Where an unfinished rollout has left more hosts than the pool is to have, none of them goes before there is a canary.
        return max(room, 1) if not (self.in_place or self.fresh or self.canary_serves) else room

    @property
    def has_more_to_come(self) -> bool:
        """Whether a host is on its way to serving, or may be made now."""
        wakes = any(
            host.name in self.to_wake and sleeps(host) and wakes_anew(host, self.now) for host in self.snapshot.hosts
        )
        if wakes or self.waking or any(not is_checked(host) or not host.allow_new_session for host in self.good):
            return True
        return self.may_begin and not self.must_pause and min(self.allowed - len(self.good), self.room) > 0

    @cached_property
    def to_wake(self) -> frozenset[str]:
        """Names of hosts that the suspended scaling plan has switched off, to be switched on now: in quiet time those that are needed."""
        if tags.SCALING not in self.snapshot.pool.tags:
            return frozenset()
        off = [
            host
            for host in self.snapshot.hosts
            if is_asleep(host) and host.power == "deallocated" and not is_kept(host)
        ]
        if self.night is None:
            return frozenset(host.name for host in off)
        # Nothing can be told of a new version by hosts that are off.
        ours = [host.name for host in off if host.name in self.made_names]
        others = [host.name for host in off if sleeps(host) and host.name not in self.made_names | self.waking]
        others.sort(key=lambda name: (name in self.replaced_names, name.casefold()))
        return frozenset([*ours, *others[: self._lacking(self.night)]])

    @property
    def called(self) -> frozenset[str]:
        """Names of hosts that are woken in the middle of the night because they are needed then and there."""
        return self.to_wake | self.waking if self.night is not None else frozenset()

    def _lacking(self, quiet: Quiet) -> int:
        """Hosts that a scaling plan would switch on in quiet time, beside those that come up: for its least share, or for people."""
        people = sum(host.session_count for host in self.snapshot.hosts if host.name in self.serving)
        wanted = max(self.open_floor, -(-people * 100 // quiet.full_percent))
        return max(-(-(wanted - self.capacity) // self.limit) - len(self.waking), 0)

    @cached_property
    def canary_serves(self) -> bool:
        """Whether this version has proven itself: elsewhere, or by a host here that has passed its checks and serves."""
        if self.target.canary_proven or any(is_checked(host) and host.name in self.serving for host in self.fresh):
            return True
        return self.target.rollback and any(
            host.name in self.serving and on_target(host, self.target) for host in self.others
        )

    @cached_property
    def held_open(self) -> tuple[Host, ...]:
        """Outdated hosts that somebody keeps out of drain mode: nobody fights over them."""
        return tuple(host for host in self.left if is_held_open(host, self.now))

    @cached_property
    def all_drain(self) -> bool:
        """Whether no outdated host of the pool takes new sessions."""
        return all(not host.registered or is_draining(host) for host in self.left)

    @property
    def too_early(self) -> bool:
        """Whether a scheduled rollout has not begun."""
        start = self.policy.scheduled_start
        return self.policy.release_method == "scheduled" and start is not None and self.now < start

    @property
    def has_windows(self) -> bool:
        """Whether there are times in which this rollout may not go on."""
        return self.policy.release_method == "scheduled" and bool(self.policy.windows)

    @cached_property
    def closes_at(self) -> datetime | None:
        """When the open maintenance window ends; None where none is open, or none is asked for."""
        return open_until(self.policy.windows, self.now) if self.has_windows else None

    @property
    def is_outside(self) -> bool:
        """Whether no maintenance window is open, and one has to be."""
        return self.has_windows and self.closes_at is None

    @cached_property
    def last_begin(self) -> datetime | None:
        """Until when something may be begun in the open window, so that users can be warned and signed out before its end."""
        if self.closes_at is None:
            return None
        return self.closes_at - timedelta(minutes=self.policy.warn_minutes + SIGN_OUT_MINUTES)

    @property
    def may_begin(self) -> bool:
        """Whether there is time to begin something new."""
        return not self.is_outside and (self.last_begin is None or self.now <= self.last_begin)

    @property
    def is_unlimited(self) -> bool:
        """Whether the pool has no session limit: how many users a host of it can take in, nobody can say."""
        return self.limit >= NO_LIMIT

    @property
    def free_slots(self) -> int:
        """Slots on serving hosts of the target version that nobody has taken and nobody is on the way to."""
        if self.is_unlimited:
            return 0
        free = sum(
            max(self.limit - host.session_count, 0)
            for host in self.snapshot.hosts
            if host.name in self.serving and on_target(host, self.target)
        )
        return free - sum(_on_their_way(host, self.policy, self.now) for host in self.outdated)


def plan(snapshot: Snapshot, target: Target, policy: Policy, now: datetime) -> Plan:
    """What to do with the pool now, why, and what each host's state is."""
    if reason := why_unfit(snapshot, target, policy, now):
        return Plan(waiting_for=reason)
    view = View(snapshot, target, policy, now)
    halted = _why_halted(view)
    actions = tuple(_actions(view, halted is not None))
    to_judge = () if halted or target.hold else view.to_judge
    done = not halted and not target.hold and not actions and _is_done(view)
    waiting = not (done or halted or actions)
    return Plan(
        actions=actions,
        notes={host.name: _note(host, view) for host in snapshot.hosts},
        waiting_for=_waiting_for(view) if waiting else "",
        until=_next_moment(view) if waiting else None,
        done=done,
        halted=halted,
        capacity_percent=view.capacity * 100 // max(target.size * view.limit, 1),
        replaced=_total(view) - len(view.left),
        total=_total(view),
        users_to_move=sum(host.session_count for host in view.left),
        quiet_until=view.quiet.ends if view.quiet is not None else None,
        to_wake=tuple(sorted(view.to_wake)),
        to_judge=to_judge,
    )


def _total(view: View) -> int:
    """Outdated hosts that this rollout replaces; those that were deleted in place are known by what is missing."""
    return max(view.needed, len(view.outdated)) if view.in_place else len(view.outdated)


def why_unfit(snapshot: Snapshot, target: Target, policy: Policy, now: datetime) -> str:
    """Why nothing may follow from a look at the pool, as something to wait for; an empty text where it can be relied on."""
    if not snapshot.complete:
        return f"a whole look at the pool: {snapshot.problem}"
    if abs(now - snapshot.taken_at) > SNAPSHOT_MAX_AGE:
        return f"a fresh look at the pool: the last one is of {snapshot.taken_at:%Y-%m-%d %H:%M} UTC"
    if target.size > 0 and not any(host.registered for host in snapshot.hosts) and not _may_be_empty(snapshot, target):
        return "a believable look at the pool: Azure shows no host in it at all"
    fresh_after = now - timedelta(minutes=policy.heartbeat_max_age_minutes)
    headless = [
        host.name
        for host in snapshot.hosts
        if host.registered
        and not host.has_vm
        and host.last_heartbeat is not None
        and host.last_heartbeat >= fresh_after
    ]
    if headless:
        return (
            f"a whole look at the pool: {_listed(headless)} are heard of in it, and no such VM was found. If this lasts, their VMs are "
            "not in the resource group that the image set names for the pool's hosts"
        )
    return ""


def _may_be_empty(snapshot: Snapshot, target: Target) -> bool:
    """Whether no machine that is there has to be in the pool: all are retired, on their way out, or new and not in it yet.

    So it is where the last new host of a small pool died, and had to be removed. Outdated hosts that were noted as empty before may be
    gone too: whoever took them out, nobody was on them.
    """
    return bool(snapshot.hosts) and all(
        is_retired(host)
        or is_going(host)
        or tags.EMPTY_SINCE in host.tags
        or (is_new(host, target) and not is_checked(host))
        for host in snapshot.hosts
    )


def hosts_to_freeze(snapshot: Snapshot, target: Target) -> tuple[str, ...]:
    """The hosts that a rollout replaces, decided once, when it starts: in the pool, on another image, not kept, nobody's own.

    Those too that an unfinished rollout has left on their way into the pool, or out of it: nobody else would see to them.
    Empty for a snapshot that is not complete; ask `why_unfit` before taking an empty answer for an up-to-date pool.
    """
    if not snapshot.complete:
        return ()
    return tuple(
        host.name
        for host in snapshot.hosts
        if (host.registered or is_stray(host, target))
        and host.has_vm
        and host.vm_id
        and not is_kept(host)
        and not host.assigned_user
        and not on_target(host, target)
    )


def pool_size(snapshot: Snapshot, target: Target) -> int:
    """How many hosts the pool is to have: what `Target.size` is to be when a rollout starts.

    Those that it has, but neither those that this rollout made nor what an unfinished one before it has made beside the pool.
    """
    standing = [host for host in snapshot.hosts if host.registered and host.has_vm and not is_new(host, target)]
    return len(standing) - _surplus(standing, snapshot.pool.tags, target)


def _surplus(standing: Sequence[Host], pool_tags: Mapping[str, str], target: Target) -> int:
    """Hosts that the last rollout has made and that have taken nobody's place; hosts that came by hand since are none of them."""
    owner, _, size = pool_tags.get(tags.ROLLOUT, "").partition("|")
    frozen = frozen_into(pool_tags, owner)
    if frozen is None or owner == target.refresh or not (size.isascii() and size.isdecimal()):
        return 0
    made = sum(
        1
        for host in standing
        if host.tags.get(tags.REFRESH) == owner or host.tags.get(tags.BACK, "").startswith(f"{owner}/")
    )
    replaced = len(frozen.names) - sum(1 for host in standing if frozen.has(host))
    return max(min(made - replaced, len(standing) - int(size)), 0)


def put_back(snapshot: Snapshot, target: Target) -> tuple[Action, ...]:
    """What undoes our drain mode on hosts that still stand: for every way out that is not success, a cancellation too."""
    reason = "the rollout has stopped, and its users need room"
    return tuple(
        Action(Kind.UNDRAIN, host.name, reason)
        for host in snapshot.hosts
        if is_marked(host, target) and not is_kept(host) and is_draining(host) and tags.WAS_DRAINED not in host.tags
    )


def next_names(prefix: str, taken: Iterable[str], count: int) -> list[str]:
    """The lowest free names: prefix, hyphen, number. Nothing that exists under a name, in whatever state, is ever doubled.

    The hyphen goes where the name would be too long with it. Fewer names than asked for: the prefix has no more.
    """
    used = {name.casefold() for name in taken}
    names: list[str] = []
    number = 0
    while len(names) < count:
        number += 1
        name = f"{prefix}-{number:03d}"
        if len(name) > NAME_LIMIT:
            name = f"{prefix}{number:03d}"
        if len(name) > NAME_LIMIT:
            break
        if name.casefold() not in used:
            names.append(name)
    return names


def _actions(view: View, halted: bool) -> Iterable[Action]:
    """The rules, in the order in which their actions are to be taken."""
    yield from _close_unchecked(view)
    if halted:
        yield from put_back(view.snapshot, view.target)
        return
    if view.target.hold:
        return
    yield from _give_to_owners(view)
    yield from _delete_failed(view)
    yield from _bring_up(view)
    coming_back = list(_bring_back(view))
    yield from coming_back
    if not any(action.kind is Kind.START for action in coming_back):
        yield from _create(view)
    if view.target.canary_only or view.too_early:
        return
    yield from _retire(view)
    reserves = tuple(_open_reserves(view))
    yield from reserves
    if view.is_outside:
        yield from _give_back(view)
    elif view.canary_serves or view.in_place:
        if view.may_begin:
            yield from _drain(view)
        if not reserves:
            yield from _move_users(view)


def _give_back(view: View) -> Iterable[Action]:
    """Between two windows a drained host that people still work on serves again: a day is long, and the next window begins anew."""
    occupied = {host.name for host in view.left if not is_empty(host)}
    for action in put_back(view.snapshot, view.target):
        if action.host in occupied:
            yield replace(action, reason="its users are still on it, and the maintenance window is over")


def _give_to_owners(view: View) -> Iterable[Action]:
    """A host that has become somebody's own after it was drained here is theirs to use: they have no other."""
    for host in view.others:
        ours = is_marked(host, view.target) and tags.DRAINED_AT in host.tags and tags.WAS_DRAINED not in host.tags
        if host.assigned_user and ours and is_draining(host):
            yield Action(Kind.UNDRAIN, host.name, "it has become somebody's own, and stays as it is")


def _close_unchecked(view: View) -> Iterable[Action]:
    """The broker opens every host as soon as it registers: ours stay shut until they are checked."""
    for host in view.fresh:
        if host.registered and host.allow_new_session and not is_checked(host):
            yield Action(Kind.SHUT, host.name, "it is new, and stays in drain mode until its checks have passed")


def _delete_failed(view: View) -> Iterable[Action]:
    """Failed hosts go once nobody is on them or can get on to them, so that others can be tried in their room.

    What was made earlier is kept.
    """
    for host in view.fresh:
        if host.name not in view.failures:
            continue
        if host.registered and host.allow_new_session and is_checked(host):
            yield Action(Kind.SHUT, host.name, f"it has failed: {view.failures[host.name]}")
        elif is_empty(host):
            kind = Kind.GIVE_UP if is_back(host, view.target) else Kind.DELETE_FAILED
            yield Action(kind, host.name, view.failures[host.name])


def _bring_up(view: View) -> Iterable[Action]:
    """A healthy new host is checked, and opened when it has stayed healthy for a while."""
    for host in view.good:
        if host.allow_new_session:
            continue
        if not is_checked(host):
            if is_healthy(host, view.policy, view.now):
                kind = Kind.CHECK if view.canary_serves or view.target.rollback else Kind.CHECK_CANARY
                yield Action(kind, host.name, "it is healthy, and in drain mode until its checks have passed")
        elif is_ready(host, view.policy, view.now):
            if not view.target.canary_only and not view.too_early:
                yield Action(Kind.ALLOW_SESSIONS, host.name, "its checks have passed, and it has stayed healthy since")
        elif _fell_ill(host, view):
            yield Action(Kind.NOTE_UNWELL, host.name, "it is not healthy any more, and has to prove itself anew")


def _fell_ill(host: Host, view: View) -> bool:
    """Whether a checked host, not open yet, would be taken for proven at the next look though it is not healthy at this one."""
    at = ready_at(host, view.policy)
    proven = at is not None and view.now >= at
    return proven and view.policy.min_ready_minutes > 0 and not is_asleep(host)


def _bring_back(view: View) -> Iterable[Action]:
    """In a roll back: opens what an unfinished rollout left in drain mode, and switches on as many retained hosts as are missing."""
    if not view.target.rollback or view.too_early:
        return
    for host in view.others:
        left_behind = is_draining(host) and on_target(host, view.target) and tags.WAS_DRAINED not in host.tags
        if left_behind and not is_kept(host):
            yield Action(Kind.UNDRAIN, host.name, "it is on the version that the pool goes back to")
    for host in view.retained[: max(view.needed - len(view.good), 0)]:
        yield Action(Kind.START, host.name, "it is retained on the version that the pool goes back to")
    for host in view.good:
        if is_back(host, view.target) and not host.registered:
            if host.power == "running":
                yield Action(Kind.REJOIN, host.name, "it runs again, and the broker does not know it yet")
            elif host.power in (*OFF, "stopped"):
                yield Action(Kind.START, host.name, "it was to be brought back, and does not run")


def _create(view: View) -> Iterable[Action]:
    """As many as are missing, as the surge leaves room for, and as the canary allows."""
    if (view.too_early or not view.may_begin) and not view.target.canary_only:
        return
    count = 0 if view.must_pause else min(view.allowed - len(view.good), view.room)
    reason = "it takes the place of an outdated host"
    if view.target.canary_only or not (view.canary_serves or view.target.rollback):
        count = min(count, 1 - len(view.fresh))
        reason = "it is the canary: the first host on the new version, in drain mode until it has passed its checks"
    taken = {name.casefold() for name in _taken_names(view)}
    # None are noted but in place. The successor of a host that failed has another: a device may be left under the name.
    vacant = [name for name in view.target.vacant_names if name.casefold() not in taken]
    more = next_names(view.target.name_prefix, [*taken, *vacant], max(count - len(vacant), 0))
    for name in [*vacant, *more][: max(count, 0)]:
        yield Action(Kind.CREATE, name, reason)


def _taken_names(view: View) -> Iterable[str]:
    yield from view.snapshot.taken_names
    yield from view.target.spent_names
    for host in view.snapshot.hosts:
        yield host.name
        yield host.session_host_name or host.name


def _retire(view: View) -> Iterable[Action]:
    """Takes empty hosts out of the way: out of the pool, and, once that is done and seen, switched off or deleted."""
    may_go = view.may_take
    for host in view.left:
        if not host.registered:
            yield from _put_away(host, view)
            continue
        for action in _empty(host, view):
            removes = action.kind is Kind.REMOVE_FROM_POOL
            if removes and not _is_warned(host):
                may_go -= 1
                if may_go < 0:
                    continue
            yield action
            if removes:
                yield from _put_away(replace(host, registered=False), view)


def _put_away(host: Host, view: View) -> Iterable[Action]:
    """What becomes of an outdated host that is out of the pool, or will be when it has been removed."""
    if tags.EMPTY_SINCE not in host.tags:
        # Taken out of the pool by others, or missing from a partial list: only if it stays away is it switched off.
        reason = "the broker does not know it, though it was not taken out of the pool here"
        yield Action(Kind.NOTE_EMPTY, host.name, reason)
    elif view.in_place and _went_by_us(host):
        if not _time_left(host, view) and not is_going(host):
            yield Action(Kind.DELETE_OUTDATED, host.name, "it is out of the pool, and its successor takes its name")
    elif host.power not in OFF:
        if not _time_left(host, view):
            yield Action(Kind.DEALLOCATE, host.name, "it is out of the pool")
    elif host.power == "deallocated":
        yield Action(Kind.MARK_RETIRED, host.name, "it is switched off")


def _went_by_us(host: Host) -> bool:
    """Whether it was in drain mode for this rollout, or before it. What other hands took out of the pool may be somebody's: it is kept."""
    return not {tags.DRAINED_AT, tags.WAS_DRAINED}.isdisjoint(host.tags)


def _empty(host: Host, view: View) -> Iterable[Action]:
    """From the last user's leaving to the removal of an outdated host that is still in the pool."""
    noted = tags.EMPTY_SINCE in host.tags
    if noted and (host.allow_new_session or not is_empty(host)):
        yield Action(Kind.FORGET_EMPTY, host.name, "somebody is on it again, or can be")
    elif is_draining(host) and is_empty(host):
        if not noted:
            yield Action(Kind.NOTE_EMPTY, host.name, "the broker shows nobody on it any more")
        elif not _time_left(host, view) and not _is_reserve(host, view):
            yield Action(Kind.REMOVE_FROM_POOL, host.name, "it has drained, and been empty long enough")


def _time_left(host: Host, view: View) -> timedelta:
    """How long an empty host still has to drain and settle; zero when it is over."""
    return max(_may_go_at(host, view) - view.now, timedelta(0))


def _may_go_at(host: Host, view: View) -> datetime:
    """When an empty host has settled and, if it is still in the pool, drained long enough. An unreadable time counts as now."""
    settled = _empty_from(host, view) + timedelta(minutes=view.policy.settle_minutes)
    if not host.registered:
        return settled
    drained = tags.parse_time(host.tags.get(tags.DRAINED_AT)) or view.now
    return max(settled, drained + timedelta(minutes=view.policy.min_drain_minutes))


def _empty_from(host: Host, view: View) -> datetime:
    """Since when nobody has been on a host for sure.

    Where that was noted in the moment in which it was drained, somebody may have come before drain mode held, and gone before the next
    look; or, where nobody looked after the pool then, until somebody did.
    """
    empty = tags.parse_time(host.tags.get(tags.EMPTY_SINCE)) or view.now
    drained = tags.parse_time(host.tags.get(tags.DRAINED_AT))
    if drained is None or empty > drained:
        return empty
    return max(empty + LOOK_LAG, view.target.watched_since or empty)


def _is_reserve(host: Host, view: View) -> bool:
    """Whether a drained host is worth keeping: other hosts died, the floor is broken, and this one could serve again, now or by day."""
    never_ours = tags.WAS_DRAINED in host.tags  # nobody here will open it
    could_serve = is_usable(host, view.policy, view.now) or (view.night is not None and is_asleep(host))
    return not never_ours and view.missing > 0 and could_serve


def _open_reserves(view: View) -> Iterable[Action]:
    """Drained hosts serve again where the pool is below its floor and no new host is on its way, or can be: else nobody would ever move.

    Not once users were told that they are moved: whoever signed in to such a host would be moved a second time.
    """
    missing = view.missing
    if missing <= 0 or view.has_more_to_come or any(_is_warned(host) for host in view.outdated):
        return
    for host in view.left:
        # Nothing else is planned for it at the same time.
        at_rest = (tags.EMPTY_SINCE in host.tags) == is_empty(host)
        if missing > 0 and host.registered and is_draining(host) and at_rest and _is_reserve(host, view):
            missing -= view.limit
            yield Action(
                Kind.UNDRAIN, host.name, "the pool is below its capacity floor, and no other host is on its way"
            )


def _drain(view: View) -> Iterable[Action]:
    """Drains the emptiest first, so that the fewest users are moved, as many as leave the floor standing, now and for the day."""
    spare, turns, called = _spare(view), view.turns, view.called
    for host in sorted(view.left, key=lambda each: (each.session_count, each.name.casefold())):
        if not host.registered or is_draining(host) or host in view.held_open or host.name in called:
            continue
        if turns <= 0:
            break
        if host.name in view.lost or not (host.allow_new_session or sleeps(host)):
            turns -= 1
            yield Action(Kind.DRAIN, host.name, "it is outdated, and takes no new sessions as it is")
            continue
        cost = _cost(host, view)
        if any(slots and slots > left for slots, left in zip(cost, spare, strict=True)):
            continue
        spare, turns = tuple(left - slots for slots, left in zip(cost, spare, strict=True)), turns - 1
        yield Action(Kind.DRAIN, host.name, "it is outdated, and enough room is left without it")


def _spare(view: View) -> tuple[int, ...]:
    """Slots beyond the floor: of those that are open, of those at hand for the day, and of those that may be there again some time."""
    at_hand = view.limit * len(view.at_hand)
    return view.capacity - view.open_floor, at_hand - view.floor, view.potential - view.floor


def _cost(host: Host, view: View) -> tuple[int, ...]:
    """What of each is lost when the host drains."""
    counts = host.name in view.serving, host.name in view.at_hand, True
    return tuple(view.limit if count else 0 for count in counts)


def _move_users(view: View) -> Iterable[Action]:
    """Warns, then signs out, host by host: those who were warned first, then the emptiest, each only with a slot for all its users."""
    if view.policy.release_method not in MOVES_USERS or not view.all_drain:
        return
    free, may_begin = view.free_slots, view.may_take
    for host in sorted(view.left, key=_moving_order):
        users = max(host.session_count, len(host.sessions))
        begun = _is_warned(host)
        if not host.registered or not host.sessions or users > free:
            continue
        if not begun and (may_begin <= 0 or not view.may_begin):
            continue
        free -= users
        may_begin -= not begun
        yield from _warn_or_sign_out(host, view)


def _is_warned(host: Host) -> bool:
    return tags.WARNED_AT in host.tags


def _checked_by(host: Host, moment: datetime) -> bool:
    checked = tags.parse_time(host.tags.get(tags.CHECKED_AT))
    return checked is not None and checked <= moment


def _moving_order(host: Host) -> tuple[bool, int, str]:
    return (not _is_warned(host), host.session_count, host.name.casefold())


def _warn_or_sign_out(host: Host, view: View) -> Iterable[Action]:
    """A session that was not told, or is younger than the warning, is warned first, and all on the host have their minutes again.

    One whose sign-in time Azure does not tell may be younger than any warning: it is never signed out.
    """
    warned = tags.parse_time(host.tags.get(tags.WARNED_AT))
    if warned is None:
        everyone = tuple(session.id for session in host.sessions)
        yield Action(Kind.WARN, host.name, "its users are about to be moved to new hosts", everyone)
        return
    told = [s for s in host.sessions if tags.is_among(s.id, host.tags.get(tags.WARNED_SESSIONS))]
    older = tuple(s.id for s in told if s.created_at is not None and s.created_at <= warned)
    untold = tuple(s.id for s in host.sessions if s not in told or (s.created_at is not None and s.created_at > warned))
    if untold and view.may_begin:
        yield Action(Kind.WARN, host.name, "they signed in after the others on it were warned", untold)
    elif older and view.now - warned >= timedelta(minutes=view.policy.warn_minutes):
        yield Action(Kind.SIGN_OUT, host.name, f"they were warned {view.policy.warn_minutes} minutes ago", older)
    elif older and (again := _reminds_at(host, warned, view.policy)) is not None and view.now >= again:
        yield Action(Kind.REMIND, host.name, "they were warned, and have not left yet", older)


def _reminds_at(host: Host, warned: datetime, policy: Policy) -> datetime | None:
    """When those who were warned on a host are to be told again; None where they are not, before their time is over."""
    if not policy.warn_again_minutes:
        return None
    last = max(warned, tags.parse_time(host.tags.get(tags.REMINDED_AT)) or warned)
    again = last + timedelta(minutes=policy.warn_again_minutes)
    return again if again < warned + timedelta(minutes=policy.warn_minutes) else None


def _on_their_way(host: Host, policy: Policy, now: datetime) -> int:
    """Users who were signed out of an outdated host a moment ago, and are expected on a new one."""
    moved, warned = host.tags.get(tags.MOVED_USERS, ""), tags.parse_time(host.tags.get(tags.WARNED_AT))
    if warned is None or not (moved.isascii() and moved.isdigit()):
        return 0
    since = tags.parse_time(host.tags.get(tags.EMPTY_SINCE))
    if since is None:
        # Seen empty, and not yet noted: it is but a moment ago. With somebody still on it, the end of the notice has to do.
        since = now if is_empty(host) else warned + timedelta(minutes=policy.warn_minutes)
    return int(moved) if now - since < RETURN_TIME else 0


def _why_halted(view: View) -> str | None:
    """Why the rollout stops by itself, in a paragraph for whoever has to go on from there."""
    if view.snapshot.pool.host_pool_type == PERSONAL and not view.in_place:
        return (
            "This is a personal host pool: each user is bound to a host of their own, and would lose it to a new one. Nothing was changed. "
            "What to do: use the strategy in_place, which replaces the hosts that are nobody's yet; or take the pool out of the image "
            "set's rings."
        )
    if lower := _why_lower(view):
        return lower
    if view.target.sign_in_worse:
        return (
            f"Sign-in fails more often on new hosts than on the others of the pool. {view.target.sign_in_worse} {_so_far(view)}"
            "New hosts take users as before. What to do: look at WVDErrors for the new hosts, where the code says what stops people. If "
            "it is the image, roll back. If not, remove the cause and start the rollout again: only the sign-ins of the last hours count."
        )
    if why_never := _why_never_in_place(view):
        return why_never
    failures = view.target.failures_before + len(view.failures.keys() - set(view.target.spent_names))
    if failures <= view.policy.failure_budget:
        return None
    causes = [f"{name}: {reason}" for name, reason in view.failures.items()]
    if view.target.last_cause:
        causes.append(f"removed before, the last one {view.target.last_cause}")
    return (
        f"{failures} new hosts failed, and the failure budget is {view.policy.failure_budget}. "
        f"{'; '.join(causes) or 'They have been removed'}. {_so_far(view)}"
        "What to do: look at the failed hosts, which are left as they are; then start the rollout again, or roll back."
    )


def _so_far(view: View) -> str:
    """What a halt leaves behind."""
    return (
        f"{_total(view) - len(view.left)} of {_total(view)} outdated hosts were replaced before that. {_short_of(view)}"
        "Nothing more is created, drained or signed out, and outdated hosts that were in drain mode because of this rollout serve again. "
    )


def _short_of(view: View) -> str:
    """What a pool lacks whose hosts went before their successors came, in a sentence."""
    missing = view.needed - len(view.proven) - sum(1 for host in view.left if host.registered)
    if not view.in_place or missing <= 0:
        return ""
    return f"The pool is short of {missing} of its {view.target.size} hosts: they went first, and no successor serves. "


def _why_never_in_place(view: View) -> str | None:
    """In place the pool does without a host for a while: where its floor never allows that, nothing is begun.

    Hosts that a roll back has brought back stand beside the others: as many may go for them as there are.
    """
    under_way = any(is_draining(host) or not host.registered for host in view.left)
    coming = view.retained or len(view.proven) < len(view.fresh)
    if not view.in_place or view.target.canary_only or under_way or coming or not view.left:
        return None
    least = max(view.floor, view.limit)  # the last host never goes first
    if least <= (max(view.target.size, view.standing) - 1) * view.limit:
        return None
    if view.target.size == 1:
        return (
            f"It has one host, which cannot go before its successor has come. {_so_far(view)}"
            "What to do: use the strategy surge, which makes the new host first."
        )
    return (
        f"Its hosts are replaced in place, and without one of them the pool's {view.target.size} hosts are below the capacity floor of "
        f"{view.policy.floor_percent} %. {_so_far(view)}"
        "What to do: lower capacity_floor_percent, or use the strategy surge, which makes new hosts first."
    )


def _why_lower(view: View) -> str | None:
    """Going to a lower version needs the word rollback."""
    wanted = view.target.image_version_id
    higher = {host.image_version_id for host in view.left if is_lower(wanted, host.image_version_id)}
    if view.target.rollback or not higher:
        return None
    names = _listed([host.name for host in view.left if host.image_version_id in higher])
    return (
        f"{wanted.rpartition('/')[2]} is lower than the version of {names}, and this rollout is no roll back. Nothing was changed. "
        "What to do: roll the pool back if that is what you mean; otherwise publish a higher version and roll that out."
    )


def _is_done(view: View) -> bool:
    """Every outdated host is out of the way and as many new ones as are needed serve: none seen is no success."""
    if view.target.canary_only:
        return any(is_ready(host, view.policy, view.now) for host in view.good)
    if _not_frozen(view):
        return False
    return not view.left and len(view.proven) >= view.needed


def _sleeps_open(host: Host) -> bool:
    """Switched off by a scaling plan, and out of drain mode: it served, and will again."""
    return is_asleep(host) and host.allow_new_session


def _not_frozen(view: View) -> tuple[str, ...]:
    """Hosts that a rollout should replace, where none bears its mark: it was never really started."""
    mark = f"{view.target.refresh}/"
    begun = view.target.frozen is not None or view.target.vacant_names
    if begun or any(host.tags.get(tags.REPLACE, "").startswith(mark) for host in view.snapshot.hosts):
        return ()
    return hosts_to_freeze(view.snapshot, view.target)


def _waiting_for(view: View) -> str:
    """What nothing can be done about but wait, in words."""
    if view.target.hold:
        return f"the hold to be lifted: {view.target.hold}"
    if view.too_early:
        return f"the scheduled start, {view.policy.scheduled_start:%Y-%m-%d %H:%M %Z}"
    if view.is_outside:
        return f"the next maintenance window{_at(next_opening(view.policy.windows, view.now))}"
    coming = [host.name for host in view.good if not is_checked(host)]
    if coming:
        return f"{_listed(coming)} to come up"
    proving = [host.name for host in view.good if not host.allow_new_session]
    if proving:
        return f"{_listed(proving)} to have been healthy for {view.policy.min_ready_minutes} minutes"
    if strays := _not_frozen(view):
        return f"{_listed(strays)} to be marked for this rollout: they are outdated, and nothing is marked yet"
    if view.held_open and all(host in view.held_open or not host.registered for host in view.left):
        return _waiting_for_other_hands(view)
    if view.to_judge and view.target.sign_in_unseen:
        return f"somebody to be able to say how sign-in goes on new hosts, before the next wave: {view.target.sign_in_unseen}"
    occupied = [host for host in view.left if host.registered and not is_empty(host)]
    if occupied:
        return _waiting_for_users(occupied, view)
    return _waiting_for_hosts(view)


def _waiting_for_other_hands(view: View) -> str:
    names = _listed([host.name for host in view.held_open])
    return (
        f"a person to decide about {names}: drained twice by this rollout, and opened again by other hands. Drain it by hand, and the "
        f"rollout goes on with it; or tag it {tags.KEEP}, and it stays"
    )


def _waiting_for_users(occupied: Sequence[Host], view: View) -> str:
    names = _listed([host.name for host in occupied])
    users = f"{sum(max(host.session_count, len(host.sessions)) for host in occupied)} users of {names}"
    if view.policy.release_method not in MOVES_USERS:
        return f"{users} to leave"
    if view.held_open:
        return f"{users} to leave, and {_waiting_for_other_hands(view)}"
    if not view.all_drain:
        return (
            f"{users} to leave: not every outdated host can drain without falling below the capacity floor, and nobody is "
            f"signed out before all of them do{'' if view.in_place else '; a larger max_surge would make room'}{_until_day(view)}"
        )
    if view.is_unlimited:
        return (
            f"{users} to leave, or a session limit: the host pool has none, so nobody can say how many of them a new host can take in, and "
            "all could come back to one. Set its max session limit, and they are moved"
        )
    if any(tags.WARNED_AT in host.tags for host in occupied):
        return f"{users} to save their work: they are signed out {view.policy.warn_minutes} minutes after the warning, into free slots"
    return f"{users} to leave, or free slots for them: there are {max(view.free_slots, 0)} on new hosts"


def _waiting_for_hosts(view: View) -> str:
    emptying = [host.name for host in view.left if is_draining(host)]
    if emptying and view.missing > 0:
        return f"hosts to serve again: the pool is below its capacity floor without our doing, and {_listed(emptying)} stay as a reserve"
    if emptying and view.may_take <= 0:
        return f"{_wave(view)}, before more outdated hosts go"
    if emptying:
        return f"{_listed(emptying)} to drain and settle"
    serving = [host.name for host in view.left if host.registered]
    if serving and view.canary_serves:
        return f"more hosts to serve: {_listed(serving)} cannot drain without falling below the capacity floor{_until_day(view)}"
    return _waiting_for_new_hosts(view)


def _until_day(view: View) -> str:
    """Who sleeps of those that would be room, and when that ends."""
    kept = [host.name for host in view.others if is_asleep(host) and is_kept(host)]
    alone = f". {_listed(kept)} is switched off, and somebody keeps it: only a person may switch it on" if kept else ""
    if view.night is None or not any(sleeps(host) for host in view.snapshot.hosts):
        return alone
    return (
        f"{alone}. The pool's quiet time lasts until {view.night.ends:%Y-%m-%d %H:%M} UTC; the hosts that its scaling plan has switched "
        f"off are woken ahead of that{_at(view.night.wakes_at)}"
    )


def _waiting_for_new_hosts(view: View) -> str:
    if view.baked_at is not None and view.needed > len(view.good):
        return f"{_wave(view)}, before more new hosts are made"
    if view.must_pause and view.allowed > len(view.good):
        return f"the next try, a while after the last failure{_at(view.retry_at)}"
    if not view.may_begin:
        return f"the end of the maintenance window{_at(view.closes_at)}: too little of it is left to begin anything"
    if view.needed > len(view.good) and view.room <= 0:
        dead = [host.name for host in view.others if host.name in view.lost]
        kept = f"; {_listed(dead)} are not heard of, and only a person may delete them" if dead else ""
        return f"room within the surge: hosts that failed, or are being deleted, take it up{kept}"
    silent = [host.name for host in view.good if host.name not in view.serving]
    if silent:
        return f"{_listed(silent)} to serve again"
    return "Azure to show what was done"


def _wave(view: View) -> str:
    if view.baked_at is not None:
        return (
            f"the open wave's {view.allowed} new hosts to have been in use for {view.policy.wave_bake_minutes} minutes"
            f"{_at(view.baked_at)}, and sign-in to them to go well"
        )
    return f"the open wave's {view.allowed} of {view.needed} new hosts to serve ({len(view.proven)} do)"


def _at(moment: datetime | None) -> str:
    return f", at {moment:%Y-%m-%d %H:%M} UTC" if moment is not None else ""


def _next_moment(view: View) -> datetime | None:
    """The next moment at which time alone changes what the planner answers."""
    later = [moment for moment in _moments(view) if moment > view.now]
    return min(later, default=None)


def _moments(view: View) -> Iterable[datetime]:
    policy = view.policy
    opens_at = next_opening(policy.windows, view.now) if view.has_windows else None
    starts_at = policy.scheduled_start if view.too_early else None
    wakes_at = view.night.wakes_at if view.night is not None else next_ramp_down(policy.schedules, view.now)
    moments = (starts_at, view.retry_at, view.baked_at, view.closes_at, view.last_begin, opens_at, wakes_at)
    yield from (each for each in moments if each is not None)
    for host in view.good:
        since = awaited_since(host, view.target)
        if since is not None and not is_checked(host):
            yield since + timedelta(minutes=policy.join_timeout_minutes)
            yield since + timedelta(minutes=policy.join_timeout_minutes + policy.check_timeout_minutes)
        proven = ready_at(host, policy)
        if proven is not None and not host.allow_new_session:
            yield proven
    for host in view.left:
        if tags.EMPTY_SINCE in host.tags:
            yield _may_go_at(host, view)
        warned = tags.parse_time(host.tags.get(tags.WARNED_AT))
        if warned is not None and not is_empty(host):
            yield warned + timedelta(minutes=policy.warn_minutes)
            if (again := _reminds_at(host, warned, policy)) is not None:
                yield again


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _note(host: Host, view: View) -> Note:
    """One host's state and reason, for people."""
    if not host.has_vm:
        return Note("no VM", "a name in the pool whose VM is gone; not touched")
    if host.name in view.replaced_names:
        return _outdated_note(host, view)
    if host.name in view.made_names:
        return _new_note(host, view)
    if host.assigned_user:
        return Note("assigned", f"it is {host.assigned_user}'s own: it is never touched")
    if is_kept(host):
        return Note("kept", f"somebody has tagged it {tags.KEEP}: it is never touched")
    if is_retained(host, view.target):
        return Note("retained", "on the version that the pool goes back to; it is switched on as soon as it is needed")
    if on_target(host, view.target):
        return Note("up to date", "it is on the target version")
    if not host.registered:
        return Note("not in the pool", "it belongs to an earlier rollout, and is not touched by this one")
    return Note("not part of this", "it was not among the hosts frozen when the rollout started")


def _outdated_note(host: Host, view: View) -> Note:
    if is_retired(host):
        return Note("retired", f"kept until {host.tags.get(tags.RETAIN_UNTIL, 'its time is up')}")
    if not host.registered:
        return Note(
            "removed", f"out of the pool, about to be {'deleted' if view.in_place else 'switched off and kept'}"
        )
    if host in view.held_open:
        again = host.tags.get(tags.REOPENED_AT)
        return Note(
            "held open", f"drained twice, the second time at {again}, and opened again by other hands: left as it is"
        )
    if sleeps(host):
        return Note("asleep", f"outdated; switched off by the scaling plan{_wakes(host, view)}")
    if host.allow_new_session:
        return _serving_note(view)
    if not is_empty(host):
        warned = host.tags.get(tags.WARNED_AT)
        reason = f"its users were warned at {warned}" if warned else f"waits for {host.session_count} users to leave"
        return Note("draining", reason)
    if _is_reserve(host, view):
        return Note("emptying", "nobody on it; stays as a reserve while the pool is below its capacity floor")
    if view.may_take <= 0 and not _is_warned(host):
        return Note("emptying", "nobody on it; it stays until the open wave's new hosts serve")
    minutes = -(-_time_left(host, view).total_seconds() // 60)
    return Note("emptying", f"nobody on it; {minutes:.0f} minutes until it may go")


def _wakes(host: Host, view: View) -> str:
    """What becomes of a host that is off, for people."""
    if host.name in view.to_wake:
        return ", and being switched on"
    return f", and woken ahead of its ramp-up{_at(view.night.wakes_at)}" if view.night is not None else ""


def _serving_note(view: View) -> Note:
    if view.too_early:
        return Note("serving", "outdated; the rollout has not begun")
    if not view.may_begin:
        return Note("serving", "outdated; it drains in the next maintenance window")
    if view.in_place and view.turns <= 0:
        return Note("serving", "outdated; it drains when those before it are replaced, by the shares of the waves")
    if not view.canary_serves and not view.in_place:
        return Note("serving", "outdated; it stays as it is until the canary serves")
    return Note("serving", "outdated; it drains as soon as the capacity floor allows")


def _new_note(host: Host, view: View) -> Note:
    if is_going(host):
        return Note("deleting", "it failed, and is being deleted")
    if host.name in view.failures:
        sessions = max(host.session_count, len(host.sessions))
        shown = f"{sessions} session{'s' if sessions > 1 else ''}"
        waits = f"; it goes once the broker shows nobody on it any more ({shown})" if sessions else ""
        return Note("failed", f"{view.failures[host.name]}{waits}")
    if not host.registered and is_back(host, view.target):
        return Note("coming back", "retained, switched on again; not in the pool yet")
    if not host.registered:
        step = "creating" if host.provisioning_state != "Succeeded" else "joining"
        return Note(step, "new; not in the pool yet")
    if not is_healthy(host, view.policy, view.now):
        return Note("settling", f"new; the broker shows {host.status}")
    if not is_checked(host):
        return Note("ready", "new and healthy; in drain mode until it is checked")
    if host.allow_new_session:
        return Note("serving", "on the target version")
    if not is_ready(host, view.policy, view.now):
        return Note(
            "checked", f"passed its checks; opens when it has been healthy for {view.policy.min_ready_minutes} minutes"
        )
    return Note("checked", "passed its checks; in drain mode")
