"""What a rollout looked like over time: one line a change, and from these a lane for every host.

Pure. The rollout notes what it saw at each tick; what counts is kept, a line whenever something changed and one now and then when nothing
did. Moments that stand in Azure (a host's tags) count before what was noted: they outlive every process. Time in which nobody looked is
a gap, and is shown as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evergold import tags
from evergold.rollout.hosts import is_checked, is_empty, is_frozen, is_new, is_retired, sleeps
from evergold.rollout.model import Host, Plan, Snapshot, Target

Phase = Literal["created", "joined", "checked", "serving", "failed", "old serving", "drained", "users gone", "retired"]
NEW: tuple[Phase, ...] = ("created", "joined", "checked", "serving", "failed")
OLD: tuple[Phase, ...] = ("old serving", "drained", "users gone", "retired")
KEPT_ANYHOW = timedelta(minutes=15)
GAP = timedelta(hours=1)  # a rollout looks every minute; so long without a line, and nobody looked
# Where what a rollout waited for (evergold/rollout/plan.py words it) is put, the first that fits.
CAUSES: tuple[tuple[str, str], ...] = (
    ("hold to be lifted", "a hold that a person set"),
    ("scheduled start", "the scheduled start"),
    ("to save their work", "the warning time of users"),
    ("users of", "users to leave"),
    ("before more outdated hosts go", "the wave before to prove itself"),
    ("to come up", "new hosts to come up"),
    ("healthy for", "new hosts to come up"),
    ("capacity floor", "capacity"),
    ("to drain and settle", "empty hosts to settle"),
    ("next try", "another try after a failure"),
    ("room within the surge", "another try after a failure"),
)
OTHER_CAUSE = "Azure"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sample(_Part):
    """What was seen at one moment; `phases` are those of the hosts that had come into another one."""

    at: datetime
    capacity_percent: int
    replaced: int
    total: int
    users_to_move: int
    waiting_for: str = ""
    phases: Mapping[str, Phase] = {}


class Span(_Part):
    """A part of a host's lane; `until` None: to the end of the picture."""

    phase: Phase
    since: datetime
    until: datetime | None


class Lane(_Part):
    """One host through the rollout."""

    host: str
    is_new: bool
    spans: tuple[Span, ...]
    warned: int = 0
    moved: int = 0


def sample_of(at: datetime, snapshot: Snapshot, plan: Plan, target: Target, before: Sequence[Sample]) -> Sample | None:
    """The line to keep of one tick; None where it says nothing new."""
    if not snapshot.complete:
        return None
    known = last_phases(before)
    now = {host.name: phase for host in snapshot.hosts if (phase := phase_of(host, target)) is not None}
    news = {name: phase for name, phase in now.items() if known.get(name) != phase}
    sample = Sample(
        at=at,
        capacity_percent=plan.capacity_percent,
        replaced=plan.replaced,
        total=plan.total,
        users_to_move=plan.users_to_move,
        waiting_for=plan.waiting_for,
        phases=news,
    )
    if not before or news or plan.done or at - before[-1].at >= KEPT_ANYHOW or _differs(before[-1], sample):
        return sample
    return None


def _differs(one: Sample, other: Sample) -> bool:
    same_numbers = (one.capacity_percent, one.replaced) == (other.capacity_percent, other.replaced)
    return not same_numbers or cause_of(one.waiting_for) != cause_of(other.waiting_for)


def last_phases(samples: Iterable[Sample]) -> dict[str, Phase]:
    """In which phase each host was last seen."""
    known: dict[str, Phase] = {}
    for sample in samples:
        known.update(sample.phases)
    return known


def phase_of(host: Host, target: Target) -> Phase | None:
    """How far a host is; None for one that this rollout has nothing to do with."""
    if is_new(host, target):
        return _phase_of_new(host)
    if not is_frozen(host, target):
        return None
    if is_retired(host):
        return "retired"
    if host.registered and (host.allow_new_session or sleeps(host)):
        return "old serving"
    return "users gone" if is_empty(host) else "drained"


def _phase_of_new(host: Host) -> Phase:
    if tags.FAILED in host.tags:
        return "failed"
    if not host.registered:
        return "created"
    if host.allow_new_session:
        return "serving" if is_checked(host) else "joined"
    return "checked" if is_checked(host) else "joined"


def cause_of(waiting_for: str) -> str:
    """What kind of thing a rollout waited for; "" where it did not wait."""
    if not waiting_for:
        return ""
    return next((cause for part, cause in CAUSES if part in waiting_for), OTHER_CAUSE)


def waits(samples: Sequence[Sample]) -> dict[str, float]:
    """Minutes of waiting by cause, most first. Gaps are nobody's."""
    minutes: dict[str, float] = {}
    for one, following in pairwise(samples):
        cause = cause_of(one.waiting_for)
        if cause and following.at - one.at <= GAP:
            minutes[cause] = minutes.get(cause, 0) + (following.at - one.at).total_seconds() / 60
    return dict(sorted(minutes.items(), key=lambda each: -each[1]))


def gaps(samples: Sequence[Sample]) -> tuple[tuple[datetime, datetime], ...]:
    """The times in which nobody looked."""
    return tuple((a.at, b.at) for a, b in pairwise(samples) if b.at - a.at > GAP)


def lanes(hosts: Sequence[Host], samples: Sequence[Sample], target: Target) -> tuple[Lane, ...]:
    """A lane for every host that this rollout made or replaced: old ones first, each kind in the order in which it went."""
    by_name = {host.name: host for host in hosts}
    seen = _moments_noted(samples)
    for host in hosts:
        if phase_of(host, target) is not None:
            seen.setdefault(host.name, {}).update(_moments_in_azure(host))
    began = samples[0].at if samples else min((min(each.values()) for each in seen.values() if each), default=None)
    found = []
    for name, moments in seen.items():
        is_new_host = any(phase in moments for phase in NEW)
        if not is_new_host and began is not None:
            moments.setdefault("old serving", min([began, *moments.values()]))
        tags_now = by_name[name].tags if name in by_name else {}
        found.append(
            Lane(
                host=name,
                is_new=is_new_host,
                spans=_spans(moments, NEW if is_new_host else OLD),
                warned=_number(tags_now.get(tags.WARNED_USERS)),
                moved=_number(tags_now.get(tags.MOVED_USERS)),
            )
        )
    return tuple(
        sorted(found, key=lambda lane: (lane.is_new, lane.spans[0].since if lane.is_new else _end(lane), lane.host))
    )


def _end(lane: Lane) -> datetime:
    return lane.spans[-1].since


def _moments_noted(samples: Sequence[Sample]) -> dict[str, dict[Phase, datetime]]:
    seen: dict[str, dict[Phase, datetime]] = {}
    for sample in samples:
        for name, phase in sample.phases.items():
            # The last time it came into a phase counts: a host that was drained and let go is drained anew.
            seen.setdefault(name, {})[phase] = sample.at
    return seen


def _moments_in_azure(host: Host) -> dict[Phase, datetime]:
    replaced = tags.REPLACE in host.tags
    if replaced:
        noted: dict[Phase, str | None] = {
            "drained": host.tags.get(tags.DRAINED_AT),
            "users gone": host.tags.get(tags.EMPTY_SINCE),
            "retired": host.tags.get(tags.RETIRED_AT),
        }
    else:
        noted = {"checked": host.tags.get(tags.CHECKED_AT)}
    moments = {phase: moment for phase, value in noted.items() if (moment := tags.parse_time(value)) is not None}
    if not replaced and host.created_at is not None:
        moments["created"] = host.created_at
    return moments


def _spans(moments: Mapping[Phase, datetime], order: Sequence[Phase]) -> tuple[Span, ...]:
    there = sorted((moments[phase], order.index(phase), phase) for phase in order if phase in moments)
    ends = [since for since, _, _ in there[1:]]
    return tuple(
        Span(phase=phase, since=since, until=until)
        for (since, _, phase), until in zip(there, [*ends, None], strict=True)
    )


def _number(value: str | None) -> int:
    return int(value) if value and value.isdigit() else 0
