"""What a plan says in words: what it waits for and until when, and how each host stands. For whoever reads it at two in the morning.

Nothing is decided here: what is said is what `evergold.rollout.plan` has decided, from the same view of the pool. Pure.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from evergold import tags
from evergold.rollout.hosts import (
    awaited_since,
    is_asleep,
    is_back,
    is_checked,
    is_draining,
    is_empty,
    is_going,
    is_healthy,
    is_kept,
    is_ready,
    is_retained,
    is_retired,
    on_target,
    ready_at,
    sleeps,
)
from evergold.rollout.model import Host, Note
from evergold.rollout.quiet import next_ramp_down
from evergold.rollout.view import MOVES_USERS, View, is_reserve, is_warned, may_go_at, reminds_at, time_left
from evergold.rollout.windows import next_opening


def waiting_for(view: View) -> str:
    """What nothing can be done about but wait, in words."""
    if view.target.hold:
        return f"the hold to be lifted: {view.target.hold}"
    if view.too_early:
        return f"the scheduled start, {view.policy.scheduled_start:%Y-%m-%d %H:%M %Z}"
    if view.is_outside:
        return f"the next maintenance window{_at(next_opening(view.policy.windows, view.now))}"
    coming = [host.name for host in view.good if not is_checked(host)]
    if coming:
        return f"{listed(coming)} to come up"
    proving = [host.name for host in view.good if not host.allow_new_session]
    if proving:
        return f"{listed(proving)} to have been healthy for {view.policy.min_ready_minutes} minutes"
    if strays := view.not_frozen:
        return f"{listed(strays)} to be marked for this rollout: they are outdated, and nothing is marked yet"
    if view.held_open and all(host in view.held_open or not host.registered for host in view.left):
        return _waiting_for_other_hands(view)
    if view.to_judge and view.target.sign_in_unseen:
        return f"somebody to be able to say how sign-in goes on new hosts, before the next wave: {view.target.sign_in_unseen}"
    occupied = [host for host in view.left if host.registered and not is_empty(host)]
    if occupied:
        return _waiting_for_users(occupied, view)
    return _waiting_for_hosts(view)


def _waiting_for_other_hands(view: View) -> str:
    names = listed([host.name for host in view.held_open])
    return (
        f"a person to decide about {names}: drained twice by this rollout, and opened again by other hands. Drain it by hand, and the "
        f"rollout goes on with it; or tag it {tags.KEEP}, and it stays"
    )


def _waiting_for_users(occupied: Sequence[Host], view: View) -> str:
    names = listed([host.name for host in occupied])
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
        return f"hosts to serve again: the pool is below its capacity floor without our doing, and {listed(emptying)} stay as a reserve"
    if emptying and view.may_take <= 0:
        return f"{_wave(view)}, before more outdated hosts go"
    if emptying:
        return f"{listed(emptying)} to drain and settle"
    serving = [host.name for host in view.left if host.registered]
    if serving and view.canary_serves:
        return f"more hosts to serve: {listed(serving)} cannot drain without falling below the capacity floor{_until_day(view)}"
    return _waiting_for_new_hosts(view)


def _until_day(view: View) -> str:
    """Who sleeps of those that would be room, and when that ends."""
    kept = [host.name for host in view.others if is_asleep(host) and is_kept(host)]
    alone = f". {listed(kept)} is switched off, and somebody keeps it: only a person may switch it on" if kept else ""
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
        kept = f"; {listed(dead)} are not heard of, and only a person may delete them" if dead else ""
        return f"room within the surge: hosts that failed, or are being deleted, take it up{kept}"
    silent = [host.name for host in view.good if host.name not in view.serving]
    if silent:
        return f"{listed(silent)} to serve again"
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


def next_moment(view: View) -> datetime | None:
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
            yield may_go_at(host, view)
        warned = tags.parse_time(host.tags.get(tags.WARNED_AT))
        if warned is not None and not is_empty(host):
            yield warned + timedelta(minutes=policy.warn_minutes)
            if (again := reminds_at(host, warned, policy)) is not None:
                yield again


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: the first four, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def note(host: Host, view: View) -> Note:
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
    if is_reserve(host, view):
        return Note("emptying", "nobody on it; stays as a reserve while the pool is below its capacity floor")
    if view.may_take <= 0 and not is_warned(host):
        return Note("emptying", "nobody on it; it stays until the open wave's new hosts serve")
    minutes = -(-time_left(host, view).total_seconds() // 60)
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
