"""A look at a pool as the planner sees it: which hosts are what to the rollout, what room there is, and whose turn it is.

What capacity, floor and quiet time are, `evergold.rollout.plan` says on its first page. Everything here is told from one snapshot, once,
and is pure; what is done about it is decided there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from evergold import tags
from evergold.config.models import SIGN_OUT_MINUTES
from evergold.rollout.frozen import hosts_to_freeze
from evergold.rollout.hosts import (
    LOOK_LAG,
    is_asleep,
    is_checked,
    is_draining,
    is_empty,
    is_frozen,
    is_going,
    is_held_open,
    is_kept,
    is_lost,
    is_new,
    is_put_away,
    is_retained,
    is_retired,
    is_serving,
    is_shut_since_woken,
    is_usable,
    is_waking,
    on_target,
    ready_at,
    sleeps,
    wakes_anew,
    was_just_drained,
    why_failed,
)
from evergold.rollout.model import PERSONAL, Host, Policy, Snapshot, Target
from evergold.rollout.quiet import Quiet, quiet_at
from evergold.rollout.windows import open_until

MOVES_USERS = ("immediate", "scheduled")
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

    @property
    def has_suspended_plan(self) -> bool:
        """Whether a scaling plan is suspended for the pool while its hosts are replaced."""
        return tags.SCALING in self.snapshot.pool.tags

    @cached_property
    def quiet(self) -> Quiet | None:
        """The pool's quiet time, if it is quiet now. By day, and where no scaling plan is suspended for the pool, it is None."""
        return quiet_at(self.policy.schedules, self.now) if self.has_suspended_plan else None

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
            staying = [host for host in self.left if host.registered and not is_warned(host)]
            return self.allowed - self._away(staying)
        if self.allowed >= self.needed:
            return len(self.outdated)
        share = -(-len(self.outdated) * self.allowed // self.needed)
        taken = sum(1 for host in self.outdated if not host.registered or is_warned(host))
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
        if not self.has_suspended_plan:
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
    def shut_since_woken(self) -> tuple[Host, ...]:
        """Hosts that were woken a moment ago, are up, and are shut yet as their scaling plan had shut them."""
        candidates = (host for host in (*self.left, *self.others) if not is_kept(host) and not host.assigned_user)
        return tuple(host for host in candidates if is_shut_since_woken(host, self.now))

    @cached_property
    def undrainable(self) -> frozenset[str]:
        """Names of outdated hosts that nobody drains now: held open, about to be opened, or perhaps asleep, as far as is known.

        In quiet time one that runs and has long been silent may have been switched on a moment ago, by whoever needs it.
        """
        shut = (each for each in self.left if self.has_suspended_plan and not each.allow_new_session)
        unknown = (each for each in shut if each.power == "unknown")
        lost = self.lost if self.night is not None else frozenset()
        return lost | {host.name for host in (*self.held_open, *self.shut_since_woken, *unknown)}

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

    @cached_property
    def not_frozen(self) -> tuple[str, ...]:
        """Hosts that the rollout should replace, where none bears its mark: it was never really started."""
        mark = f"{self.target.refresh}/"
        begun = self.target.frozen is not None or self.target.vacant_names
        if begun or any(host.tags.get(tags.REPLACE, "").startswith(mark) for host in self.snapshot.hosts):
            return ()
        return hosts_to_freeze(self.snapshot, self.target)


def total(view: View) -> int:
    """Outdated hosts that this rollout replaces; those that were deleted in place are known by what is missing."""
    return max(view.needed, len(view.outdated)) if view.in_place else len(view.outdated)


def time_left(host: Host, view: View) -> timedelta:
    """How long an empty host still has to drain and settle; zero when it is over."""
    return max(may_go_at(host, view) - view.now, timedelta(0))


def may_go_at(host: Host, view: View) -> datetime:
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


def is_reserve(host: Host, view: View) -> bool:
    """Whether a drained host is worth keeping: other hosts died, the floor is broken, and this one could serve again, now or by day."""
    never_ours = tags.WAS_DRAINED in host.tags  # nobody here will open it
    could_serve = is_usable(host, view.policy, view.now) or (view.night is not None and is_asleep(host))
    return not never_ours and view.missing > 0 and could_serve


def is_warned(host: Host) -> bool:
    """Whether those who are on a host were told that they are about to be moved."""
    return tags.WARNED_AT in host.tags


def _checked_by(host: Host, moment: datetime) -> bool:
    checked = tags.parse_time(host.tags.get(tags.CHECKED_AT))
    return checked is not None and checked <= moment


def reminds_at(host: Host, warned: datetime, policy: Policy) -> datetime | None:
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


def _sleeps_open(host: Host) -> bool:
    """Switched off by a scaling plan, and out of drain mode: it served, and will again."""
    return is_asleep(host) and host.allow_new_session
