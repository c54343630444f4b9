"""The report of a refresh as one document: the evidence, the decision, and what became of every pool and host.

Pure. One JSON document with a digest, from which every rendering is made (evergold.validation.page, tasks/report.py).
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from evergold import tags
from evergold.validation.timeline import Lane, Sample, gaps
from evergold.validation.verdicts import Evidence

Outcome = Literal["well", "look", "stopped"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Approval(_Part):
    """Who decided, when, on which evidence and why."""

    by: str
    at: datetime
    digest: str
    reason: str = ""
    given_from: str = ""


class Retained(_Part):
    """A host that is switched off and kept: the way back."""

    host: str
    until: str


class PoolStory(_Part):
    """How one pool came through.

    Attributes:
        hosts, on_version: hosts in the pool, and those of them on the new version.
        lowest_percent: the lowest share of its session capacity that was open; None where nobody measured it.
        users: sessions on outdated hosts when the rollout came to the pool.

    """

    pool: str
    ring: str
    release_method: str
    hosts: int
    on_version: int
    floor_percent: int
    lowest_percent: int | None
    warned: int
    moved: int
    retained: tuple[Retained, ...] = ()
    lanes: tuple[Lane, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def users(self) -> int:
        """Sessions on outdated hosts when the rollout began; 0 where nobody noted it."""
        return max((sample.users_to_move for sample in self.samples), default=0)

    @property
    def failed(self) -> tuple[str, ...]:
        """New hosts that did not come up."""
        return tuple(lane.host for lane in self.lanes if any(span.phase == "failed" for span in lane.spans))

    @property
    def gaps(self) -> tuple[tuple[datetime, datetime], ...]:
        """The times in which nobody looked at it."""
        return gaps(self.samples)


class CloudPcStory(_Part):
    """How the Cloud PCs came through.

    Attributes:
        image: what it is called in Windows 365.
        cloud_pcs, on_image: Cloud PCs of the image set's policies, and those of them that run the image.
        remaining: "user: what became of it, why", of those that do not.
        waivers: "user: reason", as they were approved.

    """

    image: str
    cloud_pcs: int
    on_image: int
    remaining: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()
    approved_by: str = ""


class Report(_Part):
    """A refresh, finished or stopped.

    Attributes:
        problem: why it stopped, in words; "" where it did not.
        evidence: what was approved; None where it is not kept any more.

    """

    form: Literal[1] = Field(default=1, description="The form of this document; another number is another form.")
    image_set: str
    version: str
    refresh: str
    source: str
    written_at: datetime
    problem: str = ""
    approval: Approval | None = None
    evidence: Evidence | None = None
    pools: tuple[PoolStory, ...] = ()
    cloud_pcs: CloudPcStory | None = None

    @property
    def outcome(self) -> Outcome:
        """In one word: it went well; it went through and there is something to look at; it stopped."""
        if self.problem or any(pool.on_version < pool.hosts for pool in self.pools):
            return "stopped"
        return "look" if self.remarks else "well"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should look at, in sentences: nobody knows of it yet."""
        found = [
            f"Capacity of {pool.pool} fell to {pool.lowest_percent} %, below its floor of {pool.floor_percent} %."
            for pool in self.pools
            if pool.lowest_percent is not None and pool.lowest_percent < pool.floor_percent
        ]
        found += [f"In {pool.pool}, {', '.join(pool.failed)} did not come up." for pool in self.pools if pool.failed]
        if self.cloud_pcs is not None and self.cloud_pcs.on_image < self.cloud_pcs.cloud_pcs:
            told = "; ".join(self.cloud_pcs.remaining) or "nobody was to be reprovisioned, or it is not done yet"
            found.append(f"Cloud PCs that are not on {self.cloud_pcs.image}: {told}.")
        if self.evidence is not None and not self.evidence.passed:
            found.append(f"Approved though not everything had passed: {_named(self.evidence)}.")
        return tuple(found)

    @property
    def approved_with(self) -> str:
        """What the approver saw and let pass, in a sentence; "" where there was nothing. No reason to look once more."""
        seen = self.evidence is not None and self.evidence.passed and _named(self.evidence)
        return f"Approved with warnings: {seen}." if seen else ""

    @property
    def served(self) -> str:
        """What is on the new version, and of how many."""
        done, hosts = sum(pool.on_version for pool in self.pools), sum(pool.hosts for pool in self.pools)
        served = [f"{done} of {hosts} hosts"] if self.pools or self.cloud_pcs is None else []
        if self.cloud_pcs is not None:
            served.append(f"{self.cloud_pcs.on_image} of {self.cloud_pcs.cloud_pcs} Cloud PCs")
        return " and ".join(served)

    @property
    def headline(self) -> str:
        """How it went, in a sentence."""
        return f"{self.served} on {self.version}."

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the whole document."""
        return hashlib.sha256(self._canonical().encode()).hexdigest()

    def to_json(self) -> str:
        """The document, with its digest beside it."""
        document = {"digest": self.digest, "report": json.loads(self._canonical())}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def _canonical(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _named(evidence: Evidence) -> str:
    """The checks that did not pass."""
    return ", ".join(check.name for check in evidence.checks if check.verdict != "pass")


def treated(warned: int, moved: int, *, ended: bool = True) -> str:
    """What the users met, in a sentence; `ended` where every host that was to go has gone."""
    if not warned and not moved:
        return f"Nobody was warned or signed out{': every host went when its last user had left' if ended else ''}."
    people = "1 user was" if warned == 1 else f"{warned} users were"
    if not moved:
        return f"{people} warned, and left before anybody had to be signed out."
    if moved >= warned:
        return f"{people} warned and then signed out."
    return f"{people} warned; {moved} of them were then signed out, the others had left by themselves."


def until_in_words(moment: str) -> str:
    """A time as it stands in a tag, for people: "Tue 17 Nov 03:51 UTC"."""
    at = tags.parse_time(moment)
    return f"{at:%a %d %b %H:%M} UTC" if at else moment
