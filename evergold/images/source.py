"""A session host as the source of an image: which one, and what to do to it next.

Pure: decisions only. `evergold.images.source_host` looks, does what is decided here, and looks again.

The host is on loan. How it was (drain mode, power) is noted on it before anything is done to it, and it is put back so on every way out.
Its states while it is copied, each known by what Azure shows, each with one way on:

| state | goes on when |
| --- | --- |
| serving | the pool's capacity floor holds without it: it is noted, then drained |
| draining | its users have left; or, under immediate release, were warned, had their minutes, and have room elsewhere: then signed out |
| empty | it has been empty for `settle_minutes`, and drained for `min_drain_minutes`: it is deallocated |
| off | at once: the snapshot of its OS disk is taken |
| copied | it is started again, and serves again: drain mode is put back as it was, and the note is taken away |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from evergold import tags
from evergold.config.models import ImageSet, SessionHostSource
from evergold.images.versions import Version
from evergold.rollout.frozen import frozen_into_any
from evergold.rollout.hosts import OFF, is_healthy, is_kept, is_serving
from evergold.rollout.model import Frozen, Host, Policy, Session, Snapshot

Copy = Literal["none", "under way", "done"]


class NoSourceHostError(Exception):
    """No session host can be copied now; says why not, host by host, and what to do."""


@dataclass(frozen=True)
class SourceHost:
    """The very machine that is copied: its id, and the GUID that tells it from a later one of the same name."""

    resource_id: str
    vm_id: str

    def __str__(self) -> str:
        return f"{self.resource_id}@{self.vm_id}"

    @property
    def name(self) -> str:
        """The VM's name."""
        return self.resource_id.rpartition("/")[2]

    @classmethod
    def parse(cls, source: str) -> SourceHost | None:
        """The host in the exact source of a refresh; None where it is another kind of source."""
        resource_id, at, vm_id = source.rpartition("@")
        return cls(resource_id, vm_id) if at and resource_id.startswith("/") and vm_id else None


@dataclass(frozen=True)
class Loan:
    """How a host was before it was taken out of service, and how far it is since.

    Attributes:
        refresh: whose loan it is.
        was_drained, was_off: in drain mode before; switched off before.
        since: when it was noted.
        warned_at, warned_sessions, empty_since: as in a rollout.

    """

    refresh: str
    was_drained: bool
    was_off: bool
    since: datetime
    warned_at: datetime | None = None
    warned_sessions: str = ""
    empty_since: datetime | None = None

    @property
    def value(self) -> str:
        """The note as it stands in the VM's tag."""
        drained, off = "drained" if self.was_drained else "open", "off" if self.was_off else "on"
        return f"{self.refresh}|{drained}|{off}|{tags.format_time(self.since)}"

    @classmethod
    def read(cls, named: Mapping[str, str]) -> Loan | None:
        """The loan in a VM's tags; None where there is none."""
        parts = named.get(tags.SOURCE_OF, "").split("|")
        since = tags.parse_time(parts[3]) if len(parts) == 4 else None
        if since is None:
            return None
        warned, empty = (tags.parse_time(named.get(tag)) for tag in (tags.SOURCE_WARNED_AT, tags.SOURCE_EMPTY_SINCE))
        told = named.get(tags.SOURCE_WARNED_SESSIONS, "")
        return cls(parts[0], parts[1] == "drained", parts[2] == "off", since, warned, told, empty)


class Step(StrEnum):
    """What can be done to the host."""

    NOTE = "note how it is"
    DRAIN = "drain"
    WARN = "warn"
    SIGN_OUT = "sign out"
    NOTE_EMPTY = "note empty"
    FORGET_EMPTY = "forget empty"
    DEALLOCATE = "deallocate"
    SNAPSHOT = "take the snapshot"
    START = "start again"
    PUT_BACK = "put drain mode back"
    FORGET = "take the note away"
    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True)
class Next:
    """What to do now, and why, in words. `sessions` are those that a sign-out is for."""

    step: Step
    reason: str
    sessions: tuple[str, ...] = ()


def policy_of(image_set: ImageSet, source: SessionHostSource) -> Policy:
    """By which rules the host's users are moved: the rollout's, with the source's own release method."""
    rollout = image_set.rollout
    return Policy(
        release_method=source.release_method,
        floor_percent=rollout.capacity_floor_percent,
        warn_minutes=rollout.warn_minutes,
        settle_minutes=rollout.settle_minutes,
        min_drain_minutes=rollout.min_drain_minutes,
        heartbeat_max_age_minutes=rollout.heartbeat_max_age_minutes,
        allowed_failing_health_checks=image_set.checks.allowed_failing_health_checks,
    )


# Which host


def choose(snapshot: Snapshot, source: SessionHostSource, definition_id: str, policy: Policy, now: datetime) -> Host:
    """The host to copy: the one that the image set names, or else the one that disturbs the fewest people.

    Among hosts that serve and that nobody keeps: those on the newest version of the image definition that any of them has, and of
    these the one with the fewest sessions. Raises NoSourceHostError.
    """
    if source.host:
        return _named(snapshot, source)
    frozen = frozen_into_any(snapshot.pool.tags)
    fit = [host for host in snapshot.hosts if _why_unfit(host, frozen, policy, now) is None]
    if not fit:
        why = (
            "; ".join(f"{host.name} {_why_unfit(host, frozen, policy, now)}" for host in snapshot.hosts)
            or "it has none"
        )
        raise NoSourceHostError(
            f"No host of {source.pool} can be copied: {why}. What to do: mend one of them, or name one as source.host."
        )
    return min(fit, key=lambda host: (*_age(host, definition_id), host.session_count, host.name.casefold()))


def _named(snapshot: Snapshot, source: SessionHostSource) -> Host:
    found = next((host for host in snapshot.hosts if host.name.casefold() == (source.host or "").casefold()), None)
    if found is None or not found.has_vm or not found.registered:
        known = ", ".join(host.name for host in snapshot.hosts if host.registered) or "none"
        raise NoSourceHostError(
            f"{source.pool} has no session host {source.host} (it has: {known}). What to do: correct source.host, or leave it out."
        )
    if is_kept(found):
        raise NoSourceHostError(
            f"Somebody has tagged {found.name} {tags.KEEP}, so it is not touched. What to do: ask them, or name another source.host."
        )
    return found


def _why_unfit(host: Host, frozen: Frozen | None, policy: Policy, now: datetime) -> str | None:
    if not host.has_vm or not host.registered:
        return "is no registered host with a machine"
    if is_kept(host):
        return f"is tagged {tags.KEEP}"
    if tags.REPLACE in host.tags or (frozen is not None and frozen.has(host)):
        return "is being replaced by a rollout"
    if not host.allow_new_session:
        return "is in drain mode"
    return None if is_healthy(host, policy, now) else "does not serve"


def _age(host: Host, definition_id: str) -> tuple[int, int, int]:
    """Sorts the newest version of the definition first; hosts from any other image last."""
    image, _, number = (host.image_version_id or "").casefold().rpartition("/versions/")
    if image != definition_id.casefold():
        return (1, 0, 0)
    version = Version.parse(number)
    return (-version.major, -version.minor, -version.patch)


# What next


def capacity_without(snapshot: Snapshot, name: str, policy: Policy, now: datetime) -> tuple[int, int]:
    """The pool's session slots that are open without this host, and the capacity floor, both in slots."""
    limit = snapshot.pool.max_session_limit
    size = sum(host.registered and host.has_vm for host in snapshot.hosts)
    others = sum(is_serving(host, policy, now) for host in snapshot.hosts if host.name != name)
    return others * limit, -(-size * limit * policy.floor_percent // 100)


def next_step(snapshot: Snapshot, host: Host, copy: Copy, policy: Policy, now: datetime) -> Next:
    """What to do now to a host of this (whole) look at its pool, so that in the end its disk is copied. DONE means copied."""
    loan = Loan.read(host.tags)
    if copy == "done":
        return Next(Step.DONE, "its disk is copied")
    if loan is None:
        return _begin(snapshot, host, policy, now)
    if host.power == "deallocated":
        return Next(Step.WAIT, "its snapshot") if copy == "under way" else Next(Step.SNAPSHOT, "it is switched off")
    if host.power not in ("running", "stopped"):
        return Next(Step.WAIT, f"the machine, which is {host.power}")
    if host.allow_new_session:
        return _drain(snapshot, host, policy, now)
    if host.session_count or host.sessions:
        return _vacate(snapshot, host, loan, policy, now)
    return _empty(loan, policy, now)


def way_back(host: Host, policy: Policy, now: datetime) -> Next:
    """What to do now so that the host serves as it did before it was taken. DONE means that it does."""
    loan = Loan.read(host.tags)
    if loan is None:
        return Next(Step.DONE, "it is as it was")
    if not loan.was_off:
        if host.power in ("deallocated", "stopped"):
            return Next(Step.START, "it ran before")
        if host.power != "running" or not is_healthy(host, policy, now):
            return Next(Step.WAIT, f"it to serve again (it is {host.power}, to the broker {host.status or 'unknown'})")
    if host.allow_new_session is loan.was_drained:
        return Next(Step.PUT_BACK, f"drain mode was {'on' if loan.was_drained else 'off'} before")
    return Next(Step.FORGET, "it is as it was")


def _begin(snapshot: Snapshot, host: Host, policy: Policy, now: datetime) -> Next:
    if is_kept(host):
        raise NoSourceHostError(
            f"Somebody has tagged {host.name} {tags.KEEP}. What to do: ask them, or give this refresh up."
        )
    broken = _below_floor(snapshot, host, policy, now)
    return Next(Step.WAIT, broken) if broken else Next(Step.NOTE, "it is to be copied")


def _drain(snapshot: Snapshot, host: Host, policy: Policy, now: datetime) -> Next:
    broken = _below_floor(snapshot, host, policy, now)
    return Next(Step.WAIT, broken) if broken else Next(Step.DRAIN, "it is to be switched off and copied")


def _below_floor(snapshot: Snapshot, host: Host, policy: Policy, now: datetime) -> str:
    """Why the pool cannot do without the host now; "" where it can. One that takes nobody costs nothing."""
    if not is_serving(host, policy, now):
        return ""
    without, floor = capacity_without(snapshot, host.name, policy, now)
    if without >= floor:
        return ""
    return f"room: without it the pool has {without} open session slots, and its capacity floor is {floor}"


def _vacate(snapshot: Snapshot, host: Host, loan: Loan, policy: Policy, now: datetime) -> Next:
    """The users' way off: their own under opportunistic release; otherwise warned, and moved into room that is free for them."""
    if loan.empty_since is not None:
        return Next(Step.FORGET_EMPTY, "somebody is on it again")
    leaving = f"{host.session_count} users to leave"
    if policy.release_method == "opportunistic":
        return Next(Step.WAIT, leaving)
    told = loan.warned_at
    if told is None or any(_is_untold(each, told, loan) for each in host.sessions):
        return Next(Step.WARN, "its users are to move")
    if now - told < timedelta(minutes=policy.warn_minutes):
        return Next(Step.WAIT, f"{leaving}; they were told {policy.warn_minutes} minutes before")
    if _free_elsewhere(snapshot, host, policy, now) < len(host.sessions):
        return Next(Step.WAIT, f"{leaving}, or room for them on other hosts")
    return Next(Step.SIGN_OUT, "they have had their minutes", tuple(session.id for session in host.sessions))


def _is_untold(session: Session, told: datetime, loan: Loan) -> bool:
    """Whether somebody was not there when the others were told: by the note of who was, and by when they signed in."""
    later = session.created_at is not None and session.created_at > told
    return later or not tags.is_among(session.id, loan.warned_sessions)


def _free_elsewhere(snapshot: Snapshot, host: Host, policy: Policy, now: datetime) -> int:
    limit = snapshot.pool.max_session_limit
    serving: Iterable[Host] = (each for each in snapshot.hosts if each != host and is_serving(each, policy, now))
    return sum(max(0, limit - each.session_count) for each in serving)


def _empty(loan: Loan, policy: Policy, now: datetime) -> Next:
    if loan.empty_since is None:
        return Next(Step.NOTE_EMPTY, "nobody is on it")
    ready = max(
        loan.empty_since + timedelta(minutes=policy.settle_minutes),
        loan.since + timedelta(minutes=policy.min_drain_minutes),
    )
    if now < ready:
        return Next(Step.WAIT, f"it to settle until {ready:%H:%M} UTC")
    return Next(Step.DEALLOCATE, "nobody is on it, and nobody can get on to it")


def is_off(host: Host) -> bool:
    """Whether the host is switched off: then it was so before, and stays so."""
    return host.power in OFF or host.power == "stopped"
