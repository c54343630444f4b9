"""Whether a build machine is fit for sysprep: what guest/preflight.ps1 finds on it, before anything is taken away from it.

Promise: what sysprep is known to break on stops the build here, with the remedy, and the machine is left as it was; what prepare mends
is told and no more; while Windows services itself it is waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from evergold.azure import Azure
from evergold.images.guest import RUN_AGAIN, Facts, Machine, Step, StepFailure, ensure_fresh_step

log = logging.getLogger("evergold.images")

NAME: Final = "preflight"
LOOKS: Final = 15
BETWEEN_LOOKS_S: Final = 120.0


class Finding(BaseModel):
    """One thing that was looked at: `verdict` "wait" is Windows being busy, which passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    verdict: Literal["pass", "warn", "wait", "fail"]
    measured: str
    remedy: str = ""


async def ensure_fit_for_sysprep(azure: Azure, machine: Machine, command_tags: dict[str, str]) -> tuple[Finding, ...]:
    """What was found, once nothing is in the way of sysprep. Raises StepFailure with the remedy where only a person can mend it."""
    step = Step(NAME, "guest/preflight.ps1", timeout_minutes=20, tags=command_tags)
    for left in reversed(range(LOOKS)):
        facts = await ensure_fresh_step(azure, machine, step)
        findings = findings_of(machine, facts)
        busy = [each for each in findings if each.verdict == "wait"]
        if not busy or not left:
            break
        log.info("%s: %s It is waited for.", machine.name, busy[0].measured)
        await azure.clock.sleep(BETWEEN_LOOKS_S)
    if bad := [each for each in findings if each.verdict in ("fail", "wait")]:
        raise StepFailure(
            NAME, machine.name, _sentences([each.measured for each in bad]), _sentences([e.remedy for e in bad])
        )
    for each in findings:
        if each.verdict == "warn":
            log.info("%s: %s %s", machine.name, each.measured, each.remedy)
    return findings


def findings_of(machine: Machine, facts: Facts) -> tuple[Finding, ...]:
    """The script's findings; an answer without any proves nothing, and is a failure."""
    try:
        findings = tuple(Finding.model_validate(each) for each in facts.get("findings") or ())
    except ValidationError as problem:
        raise StepFailure(NAME, machine.name, "What it answered cannot be read.", RUN_AGAIN, str(problem)) from problem
    if not findings:
        raise StepFailure(NAME, machine.name, "It answered without any finding.", RUN_AGAIN)
    return findings


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(text for text in texts if text)
