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

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from evergold import tags
from evergold.rollout.hosts import (
    OFF,
    is_asleep,
    is_back,
    is_checked,
    is_draining,
    is_empty,
    is_going,
    is_healthy,
    is_kept,
    is_lower,
    is_marked,
    is_new,
    is_noted_drained,
    is_ready,
    is_retired,
    on_target,
    ready_at,
    sleeps,
)
from evergold.rollout.model import PERSONAL, Action, Host, Kind, Plan, Policy, Snapshot, Target
from evergold.rollout.view import MOVES_USERS, View, is_reserve, is_warned, reminds_at, time_left, total
from evergold.rollout.wording import listed, next_moment, note, waiting_for

NAME_LIMIT = 15  # Windows computer names


def plan(snapshot: Snapshot, target: Target, policy: Policy, now: datetime) -> Plan:
    """What to do with the pool now, why, and what each host's state is."""
    if reason := why_unfit(snapshot, target, policy, now):
        return Plan(waiting_for=reason)
    view = View(snapshot, target, policy, now)
    halted = _why_halted(view)
    actions = tuple(_actions(view, halted is not None))
    leaving = {action.host for action in actions if action.kind is Kind.REMOVE_FROM_POOL}
    to_judge = () if halted or target.hold else view.to_judge
    done = not halted and not target.hold and not actions and _is_done(view)
    waiting = not (done or halted or actions)
    return Plan(
        actions=actions,
        notes={host.name: note(host, view) for host in snapshot.hosts},
        waiting_for=waiting_for(view) if waiting else "",
        until=next_moment(view) if waiting else None,
        done=done,
        halted=halted,
        capacity_percent=view.capacity * 100 // max(target.size * view.limit, 1),
        replaced=total(view) - len(view.left),
        total=total(view),
        users_to_move=sum(host.session_count for host in view.left),
        quiet_until=view.quiet.ends if view.quiet is not None else None,
        to_wake=tuple(sorted(view.to_wake - leaving)),
        to_judge=to_judge,
    )


def why_unfit(snapshot: Snapshot, target: Target, policy: Policy, now: datetime) -> str:
    """Why nothing may follow from a look at the pool, as something to wait for; an empty text where it can be relied on."""
    if not snapshot.complete:
        return f"a whole look at the pool: {snapshot.problem}"
    if abs(now - snapshot.taken_at) > timedelta(seconds=policy.look_max_age_s):
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
            f"a whole look at the pool: {listed(headless)} are heard of in it, and no such VM was found. If this lasts, their VMs are "
            "not in the resource group that the image set names for the pool's hosts"
        )
    return ""


def _may_be_empty(snapshot: Snapshot, target: Target) -> bool:
    """Whether no machine that is there has to be in the pool: all are retired, on their way out, or new and not in it yet.

    So it is where the last new host of a small pool died, and had to be removed; its removal may have broken off half-way. Outdated hosts
    that were noted as empty before may be gone too: whoever took them out, nobody was on them.
    """
    return bool(snapshot.hosts) and all(
        is_retired(host)
        or is_going(host)
        or tags.EMPTY_SINCE in host.tags
        or host.name in target.spent_names
        or (is_new(host, target) and not is_checked(host))
        for host in snapshot.hosts
    )


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
    yield from _open_woken(view)
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


def _open_woken(view: View) -> Iterable[Action]:
    """What was woken a moment ago, is up, and is shut yet as its scaling plan had shut it: the write that opened it was lost."""
    for host in view.shut_since_woken:
        yield Action(Kind.UNDRAIN, host.name, "it was woken, and is in drain mode yet as its scaling plan had it")


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
            if removes and not is_warned(host):
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
    elif view.in_place and is_noted_drained(host):
        # What other hands took out of the pool may be somebody's: it is kept.
        if not time_left(host, view) and not is_going(host):
            yield Action(Kind.DELETE_OUTDATED, host.name, "it is out of the pool, and its successor takes its name")
    elif host.power not in OFF:
        if not time_left(host, view):
            yield Action(Kind.DEALLOCATE, host.name, "it is out of the pool")
    elif host.power == "deallocated":
        yield Action(Kind.MARK_RETIRED, host.name, "it is switched off")


def _empty(host: Host, view: View) -> Iterable[Action]:
    """From the last user's leaving to the removal of an outdated host that is still in the pool."""
    noted = tags.EMPTY_SINCE in host.tags
    if noted and (host.allow_new_session or not is_empty(host)):
        yield Action(Kind.FORGET_EMPTY, host.name, "somebody is on it again, or can be")
    elif is_draining(host) and is_empty(host):
        if not noted:
            yield Action(Kind.NOTE_EMPTY, host.name, "the broker shows nobody on it any more")
        elif not time_left(host, view) and not is_reserve(host, view):
            yield Action(Kind.REMOVE_FROM_POOL, host.name, "it has drained, and been empty long enough")


def _open_reserves(view: View) -> Iterable[Action]:
    """Drained hosts serve again where the pool is below its floor and no new host is on its way, or can be: else nobody would ever move.

    Not once users were told that they are moved: whoever signed in to such a host would be moved a second time.
    """
    missing = view.missing
    if missing <= 0 or view.has_more_to_come or any(is_warned(host) for host in view.outdated):
        return
    for host in view.left:
        # Nothing else is planned for it at the same time.
        at_rest = (tags.EMPTY_SINCE in host.tags) == is_empty(host)
        if missing > 0 and host.registered and is_draining(host) and at_rest and is_reserve(host, view):
            missing -= view.limit
            yield Action(
                Kind.UNDRAIN, host.name, "the pool is below its capacity floor, and no other host is on its way"
            )


def _drain(view: View) -> Iterable[Action]:
    """Drains the emptiest first, so that the fewest users are moved, as many as leave the floor standing, now and for the day."""
    spare, turns, left_alone = _spare(view), view.turns, view.called | view.undrainable
    for host in sorted(view.left, key=lambda each: (each.session_count, each.name.casefold())):
        if not host.registered or is_draining(host) or host.name in left_alone:
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
        begun = is_warned(host)
        if not host.registered or not host.sessions or users > free:
            continue
        if not begun and (may_begin <= 0 or not view.may_begin):
            continue
        free -= users
        may_begin -= not begun
        yield from _warn_or_sign_out(host, view)


def _moving_order(host: Host) -> tuple[bool, int, str]:
    return (not is_warned(host), host.session_count, host.name.casefold())


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
    elif older and (again := reminds_at(host, warned, view.policy)) is not None and view.now >= again:
        yield Action(Kind.REMIND, host.name, "they were warned, and have not left yet", older)


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
        f"{total(view) - len(view.left)} of {total(view)} outdated hosts were replaced before that. {_short_of(view)}"
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
    names = listed([host.name for host in view.left if host.image_version_id in higher])
    return (
        f"{wanted.rpartition('/')[2]} is lower than the version of {names}, and this rollout is no roll back. Nothing was changed. "
        "What to do: roll the pool back if that is what you mean; otherwise publish a higher version and roll that out."
    )


def _is_done(view: View) -> bool:
    """Every outdated host is out of the way and as many new ones as are needed serve: none seen is no success."""
    if view.target.canary_only:
        return any(is_ready(host, view.policy, view.now) for host in view.good)
    if view.not_frozen:
        return False
    # A list that was cut short may have had one too many made: it is not left half-way.
    return not view.left and len(view.proven) >= max(view.needed, len(view.good))
