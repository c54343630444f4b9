"""Other hands: hosts that somebody else deletes from a pool, or brings into it, while a rollout is at work there.

They are told, with the time, and nothing else: the planner takes the pool as it is. What a look lacks may come from a list that was cut
short, so a change is told when a second look in a row shows it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from evergold.rollout.hosts import is_frozen, is_going, is_new, is_retired
from evergold.rollout.model import Host, Snapshot, Target

log = logging.getLogger("evergold.rollout")


@dataclass
class Hands:
    """What other hands have done, as far as one run has seen it; `told` in sentences with their times, oldest first."""

    told: tuple[str, ...] = ()
    _known: dict[str, Host] | None = None
    _doubted: set[str] = field(default_factory=set)

    def look(self, snapshot: Snapshot, target: Target, now: datetime) -> None:
        """Compares a whole look with the ones before it."""
        there = {host.vm_id: host for host in snapshot.hosts if host.has_vm and host.vm_id}
        if self._known is None:
            self._known = there
            return
        gone = {each for each in self._known.keys() - there.keys() if not _is_ours_to_remove(self._known[each], target)}
        new = there.keys() - self._known.keys()
        come = {each for each in new if there[each].registered and not _is_ours(there[each], target)}
        changed = gone | come
        sure = changed & self._doubted
        for name in sorted(self._known[each].name for each in sure & gone):
            self._tell(name, "is gone", now)
        for name in sorted(there[each].name for each in sure & come):
            self._tell(name, "has come into the pool", now)
        self._doubted = changed - sure
        doubtful = {each: self._known[each] for each in self._doubted & gone}
        self._known = {**{each: host for each, host in there.items() if each not in self._doubted}, **doubtful}

    def _tell(self, name: str, what: str, now: datetime) -> None:
        log.warning("%s %s, and not by this rollout", name, what)
        self.told += (f"{now:%H:%M} UTC: {name} {what}",)


def _is_ours(host: Host, target: Target) -> bool:
    return is_new(host, target) or is_frozen(host, target)


def _is_ours_to_remove(host: Host, target: Target) -> bool:
    """Whether Evergold removes it: a new one that failed, one that makes room in place, and one that was retained and whose time is up."""
    in_place = is_frozen(host, target) and host.name in target.vacant_names
    return in_place or is_retired(host) or host.name in target.spent_names or (is_going(host) and is_new(host, target))
