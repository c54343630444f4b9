"""Other hands: hosts that somebody else deletes from a pool, or brings into it, and tags that they set, while a rollout is at work there.

They are told, with the time, and the planner takes the pool as it is. What a look lacks may come from a list that was cut short, so a
change is told when a second look in a row shows it. New hosts that others delete are more than told: whoever makes them anew for ever
fights with whoever deletes them. `missing` and `taken` say which they are, and the engine counts them as hosts that failed.

Hosts that a tool which replaces hosts has marked as its own are told at the first look: such a tool, at work on the same pool, undoes
what the rollout does.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from evergold.rollout.hosts import is_frozen, is_new, is_retired
from evergold.rollout.model import Host, Snapshot, Target
from evergold.rollout.other_tools import WHAT_TO_DO, counted, mark_of, told_of

log = logging.getLogger("evergold.rollout")

OURS = "evergold-"
LONGEST_SHOWN = 60
MOST_TOLD = 5  # sentences about one tag: some tools write what they measure into one, again and again


@dataclass(frozen=True)
class Change:
    """What became of a tag on one host: its value before and after, None where it was not there."""

    tag: str
    before: str | None
    after: str | None


@dataclass
class Hands:
    """What other hands have done, as far as one run has seen it; `told` in sentences with their times, oldest first.

    `exclusion_tag` is what the rollout itself sets on new hosts for the pool's scaling plan, with the refresh as its value. `missing` are
    the rollout's own new hosts that the last look lacked for the first time, by name; `taken` those that two looks lacked, until somebody
    has seen to them.
    """

    exclusion_tag: str = ""
    told: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    taken: tuple[Host, ...] = ()
    _known: dict[str, Host] | None = None
    _doubted: set[str] = field(default_factory=set)
    # Name and value, by the VM's id and the name in small letters.
    _tags: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    _doubted_tags: dict[tuple[str, str], Change] = field(default_factory=dict)
    _times_told: Counter[str] = field(default_factory=Counter)

    def look(self, snapshot: Snapshot, target: Target, now: datetime) -> None:
        """Compares a whole look with the ones before it."""
        there = {host.vm_id: host for host in snapshot.hosts if host.has_vm and host.vm_id}
        if self._known is None:
            self._known = there
            self._tell_of_other_tools(there, now)
        else:
            self._look_at_hosts(self._known, there, target, now)
        self._look_at_tags(there, target, now)

    def _look_at_hosts(self, known: dict[str, Host], there: dict[str, Host], target: Target, now: datetime) -> None:
        """Which hosts came and went."""
        gone = {each for each in known.keys() - there.keys() if not _is_ours_to_remove(known[each], target)}
        new = there.keys() - known.keys()
        come = {each for each in new if there[each].registered and not _is_ours(there[each], target)}
        changed = gone | come
        sure = changed & self._doubted
        for name in sorted(known[each].name for each in sure & gone):
            self._tell(f"{name} is gone", now)
        for name in sorted(there[each].name for each in sure & come):
            self._tell(f"{name} has come into the pool", now)
        self._doubted = changed - sure
        doubtful = {each: known[each] for each in self._doubted & gone}
        self.taken += tuple(known[each] for each in sorted(sure & gone) if is_new(known[each], target))
        self.missing = tuple(sorted(host.name for host in doubtful.values() if is_new(host, target)))
        self._known = {**{each: host for each, host in there.items() if each not in self._doubted}, **doubtful}

    def _look_at_tags(self, there: Mapping[str, Host], target: Target, now: datetime) -> None:
        """Which tags of hosts that were there before came, changed and went."""
        changed: dict[tuple[str, str], Change] = {}
        for each, host in there.items():
            tags = self._others_tags(host, target)
            # A host that is seen for the first time came with what it has.
            known = self._tags.setdefault(each, tags)
            changed |= {(each, key): _change(known.get(key), tags.get(key)) for key in known.keys() ^ tags.keys()}
            both = known.keys() & tags.keys()
            changed |= {(each, key): _change(known[key], tags[key]) for key in both if known[key][1] != tags[key][1]}
        sure = {place: change for place, change in changed.items() if self._doubted_tags.get(place) == change}
        self._doubted_tags = {place: change for place, change in changed.items() if place not in sure}
        self._tell_of_tags({(there[each].name, key): change for (each, key), change in sure.items()}, now)
        for (each, key), change in sure.items():
            self._tags[each].pop(key, None)
            if change.after is not None:
                self._tags[each][key] = change.tag, change.after

    def _others_tags(self, host: Host, target: Target) -> dict[str, tuple[str, str]]:
        """A host's tags but for those that a rollout sets: Azure knows no capitals in their names."""
        return {
            name.casefold(): (name, value)
            for name, value in host.tags.items()
            if not name.casefold().startswith(OURS)
            and not (name.casefold() == self.exclusion_tag.casefold() and value == target.refresh)
        }

    def _tell_of_tags(self, changes: Mapping[tuple[str, str], Change], now: datetime) -> None:
        """One sentence for all hosts on which the same became of a tag, and not too many for a tag."""
        alike: defaultdict[tuple[str, bool], dict[str, Change]] = defaultdict(dict)
        for name, key in sorted(changes):
            change = changes[name, key]
            alike[key, change.after is None][name] = change
        for (key, _), hosts in sorted(alike.items()):
            self._times_told[key] += 1
            if self._times_told[key] <= MOST_TOLD:
                last = "; no more is told of this tag" if self._times_told[key] == MOST_TOLD else ""
                self._tell(_sentence(hosts) + last, now)

    def _tell_of_other_tools(self, there: Mapping[str, Host], now: datetime) -> None:
        """What other tools have marked as theirs."""
        for sentence in told_of({host.name: host.tags for host in there.values()}):
            log.warning("%s. %s", sentence, WHAT_TO_DO)
            self.told += (f"{now:%H:%M} UTC: {sentence}",)

    def _tell(self, what: str, now: datetime) -> None:
        log.warning("%s, and not by this rollout", what)
        self.told += (f"{now:%H:%M} UTC: {what}",)


def _change(before: tuple[str, str] | None, after: tuple[str, str] | None) -> Change:
    """From one name and value to another; one of the two is there."""
    name, _ = after or before or ("", "")
    return Change(name, before[1] if before else None, after[1] if after else None)


def _sentence(hosts: Mapping[str, Change]) -> str:
    """What became of one tag on these hosts."""
    names, one = tuple(hosts), next(iter(hosts.values()))
    what = f"{counted(names, 'lost' if one.after is None else '')} the tag {one.tag}"
    values = {each.before if one.after is None else each.after for each in hosts.values()}
    value = f": {_shown(values.pop())}" if len(values) == 1 else ", each with a value of its own"
    changed = len(names) == 1 and None not in (one.before, one.after)
    before = f" (before: {_shown(one.before)})" if changed else ""
    mark = mark_of(one.tag, one.after) if one.after is not None else None
    meaning = f" ({mark.tool} {mark.meaning})" if mark else ""
    return f"{what}{value}{before}{meaning}"


def _shown(value: str | None) -> str:
    """A value, short enough for a sentence, and on one line."""
    text = " ".join((value or "").split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _is_ours(host: Host, target: Target) -> bool:
    return is_new(host, target) or is_frozen(host, target)


def _is_ours_to_remove(host: Host, target: Target) -> bool:
    """Whether Evergold removes it: a new one that failed, one that makes room in place, and one that was retained and whose time is up.

    The first two are noted on the pool before they are deleted.
    """
    in_place = is_frozen(host, target) and host.name in target.vacant_names
    return in_place or is_retired(host) or host.name in target.spent_names
