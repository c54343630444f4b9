"""What is kept with the runs, as artifacts that a later run reads again: the record of a rollout over time, and the evidence of a refresh.

Nothing depends on them but the report: what a rollout must remember stands in Azure. Where the Prefect server was lost, the report says
from when to when nobody has a record.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect import get_client
from prefect.artifacts import Artifact, acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException
from pydantic import ValidationError

from evergold.config.models import ImageSet
from evergold.images.guest import StepFailure
from evergold.rollout.engine import Tick
from evergold.rollout.model import Target
from evergold.validation.timeline import Sample, sample_of
from evergold.validation.verdicts import ORDER, Check, Evidence

log = logging.getLogger("evergold.report")

WRITTEN_AT_LEAST = timedelta(minutes=30)
FENCE = "```json\n"


class Record:
    """The record of one pool's rollout. Gone on with where an earlier run of the same rollout left one."""

    def __init__(self, pool: str, target: Target) -> None:
        self._pool = pool
        self._target = target
        self._samples: list[Sample] | None = None
        self._artifact: UUID | None = None
        self._written_at: datetime | None = None

    async def note(self, tick: Tick) -> None:
        """Keeps what is new in a tick; written when a host has come further, and now and then."""
        if self._samples is None:
            self._samples = await self._kept()
        sample = sample_of(tick.at, tick.snapshot, tick.plan, self._target, self._samples)
        if sample is None:
            return
        self._samples.append(sample)
        if sample.phases or self._written_at is None or tick.at - self._written_at >= WRITTEN_AT_LEAST:
            await self._write(tick.at)

    async def close(self) -> None:
        """Writes what is not written yet."""
        if self._samples:
            await self._write(self._samples[-1].at)

    async def _kept(self) -> list[Sample]:
        try:
            return list(await timeline_of(self._pool, self._target.refresh))
        except (PrefectException, HTTPError) as problem:
            log.warning("%s: the record for the report cannot be read, and begins anew: %s", self._pool, problem)
            return []

    async def _write(self, now: datetime) -> None:
        rows = [row_of(sample) for sample in self._samples or []]
        try:
            if self._artifact is None:
                said = f"{self._target.refresh}: what was seen of {self._pool}, a line whenever something had changed"
                self._artifact = await acreate_table_artifact(rows, key=timeline_key(self._pool), description=said)
            else:
                async with get_client() as client:
                    await client.update_artifact(self._artifact, ArtifactUpdate(data=json.dumps(rows)))
        except (PrefectException, HTTPError) as problem:
            # A picture less is no reason to stop moving people.
            log.warning("%s: the record for the report was not written: %s", self._pool, problem)
            return
        self._written_at = now


def timeline_key(pool: str) -> str:
    """The key of a pool's record."""
    return f"timeline-{slug(pool)}"


def slug(name: str) -> str:
    """A name as Prefect allows it in an artifact's key."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def row_of(sample: Sample) -> dict[str, Any]:
    """A line of the record as the table in the UI shows it."""
    return {
        "time": sample.at.isoformat(),
        "capacity %": sample.capacity_percent,
        "replaced": sample.replaced,
        "of": sample.total,
        "users on old hosts": sample.users_to_move,
        "waiting for": sample.waiting_for,
        "hosts": ", ".join(f"{host}: {phase}" for host, phase in sample.phases.items()),
    }


def sample_in(row: Mapping[str, Any]) -> Sample:
    """The line that `row_of` made such a row from. Raises a ValueError where it is none."""
    news = [each.rpartition(": ") for each in str(row.get("hosts") or "").split(", ") if each]
    return Sample.model_validate(
        {
            "at": row.get("time"),
            "capacity_percent": row.get("capacity %"),
            "replaced": row.get("replaced"),
            "total": row.get("of"),
            "users_to_move": row.get("users on old hosts"),
            "waiting_for": row.get("waiting for") or "",
            "phases": {host: phase for host, _, phase in news},
        }
    )


async def timeline_of(pool: str, refresh: str) -> Sequence[Sample]:
    """What is kept of a pool's rollout by this refresh; empty where nothing is."""
    found = await Artifact.aget(timeline_key(pool))
    if found is None or not (found.description or "").startswith(f"{refresh}:"):
        return ()
    try:
        return [sample_in(row) for row in json.loads(str(found.data))]
    except (ValidationError, ValueError) as problem:
        log.warning("%s: the record for the report cannot be read, and begins anew: %s", pool, problem)
        return ()


# Checks


async def show_failed_step(image_set: ImageSet, failure: StepFailure) -> None:
    """The step of a build that failed, with the end of its log, as an artifact of the run."""
    await acreate_markdown_artifact(
        failure.to_markdown(),
        key=f"failed-step-{image_set.name}",
        description=f"{failure.step} failed on {failure.machine}",
    )


async def show_preflight(image_set: ImageSet, checks: Sequence[Check]) -> None:
    """Everything that was looked at before anything is changed, as a table; the worst first."""
    counts = Counter(check.verdict for check in checks)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(ORDER) if counts[verdict])
    await acreate_table_artifact(
        [row_of_check(check) for check in sorted(checks, key=lambda each: -ORDER.index(each.verdict))],
        key=f"preflight-{slug(image_set.name)}",
        description=f"What a refresh of {image_set.name} needs: {told}",
    )


def row_of_check(check: Check) -> dict[str, Any]:
    """A verdict as the tables in the UI show it."""
    return {
        "verdict": check.verdict,
        "check": check.name,
        "found": check.measured,
        "asked for": check.threshold,
        "what to do": check.remedy,
    }


# Evidence


def evidence_key(image_set: str) -> str:
    """The key of an image set's evidence."""
    return f"evidence-{slug(image_set)}"


async def keep_evidence(evidence: Evidence) -> None:
    """The evidence stands in the UI, for people above and as a JSON document below."""
    text = (
        f"{evidence.to_markdown()}\n### The document\n\nSHA-256 `{evidence.digest}`\n\n{FENCE}{evidence.to_json()}```\n"
    )
    said = f"{evidence.refresh}: evidence {evidence.digest}"
    await acreate_markdown_artifact(text, key=evidence_key(evidence.image_set), description=said)


async def evidence_of(image_set: str, digest: str) -> Evidence | None:
    """The evidence with this digest; None where it is not kept any more, or reads otherwise now."""
    found = await Artifact.aget(evidence_key(image_set))
    _, fence, document = str(found.data if found else "").rpartition(FENCE)
    if not fence:
        return None
    try:
        evidence = Evidence.model_validate(json.loads(document.removesuffix("```\n"))["evidence"])
    except (ValidationError, ValueError, KeyError, TypeError):
        return None
    return evidence if evidence.digest == digest else None
