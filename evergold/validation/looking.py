"""Looking: how every check is run, and how its verdict is put.

A look sees one thing in Azure and returns verdicts about it. Looks run side by side, each with its time on the clock. What could not
be seen (Azure refused, answered in part, or not in time) is "unknown", never "pass".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from evergold.azure import AzureFailure
from evergold.clock import Clock, within
from evergold.images.guest import StepFailure
from evergold.validation.verdicts import Check, Verdict

AGAIN_AFTER_S = 60
# Once more for what could not be seen: Azure answers in part, or late, now and then.
LOOKS = 2


@dataclass(frozen=True)
class Look:
    """Something to look at: `name` stands for it where nothing can be seen; `see` returns one or more verdicts."""

    name: str
    see: Callable[[], Awaitable[Check | Sequence[Check]]]


async def look_at_all(
    clock: Clock, looks: Sequence[Look], timeout_minutes: int, *, repeat_unknown: bool = True
) -> tuple[Check, ...]:
    """The verdicts of all looks, in their order; looks that saw nothing are repeated once, a minute later, unless told otherwise."""
    found = await asyncio.gather(*(_look(clock, look, timeout_minutes) for look in looks))
    for _ in range(LOOKS - 1 if repeat_unknown else 0):
        blind = [place for place, checks in enumerate(found) if any(check.verdict == "unknown" for check in checks)]
        if not blind:
            break
        await clock.sleep(AGAIN_AFTER_S)
        again = await asyncio.gather(*(_look(clock, looks[place], timeout_minutes) for place in blind))
        for place, checks in zip(blind, again, strict=True):
            found[place] = checks
    return tuple(check for checks in found for check in checks)


async def _look(clock: Clock, look: Look, timeout_minutes: int) -> Sequence[Check]:
    try:
        seen = await within(clock, timeout_minutes * 60, _seen(look))
    except TimeoutError:
        problem = f"Nothing was to be seen within {timeout_minutes} minutes."
        return [unknown(look.name, problem, "can be seen", "Start the run again; if it stays so, look at the host.")]
    return [seen] if isinstance(seen, Check) else seen


async def _seen(look: Look) -> Check | Sequence[Check]:
    try:
        return await look.see()
    except AzureFailure as failure:
        problem = f"Could not be read: {failure.code}: {failure.message}"
        return unknown(look.name, problem, "can be read", failure.remedy)
    except StepFailure as failure:
        return unknown(look.name, f"{failure.step}: {failure.problem}", "can be seen", failure.remedy)


def passed(name: str, measured: str, threshold: str, facts: Sequence[str] = ()) -> Check:
    """It is as it should be."""
    return _check(name, "pass", measured, threshold, "", facts)


def warned(name: str, measured: str, threshold: str, remedy: str, facts: Sequence[str] = ()) -> Check:
    """A person should look, and may go on."""
    return _check(name, "warn", measured, threshold, remedy, facts)


def failed(name: str, measured: str, threshold: str, remedy: str, facts: Sequence[str] = ()) -> Check:
    """It is not as it should be."""
    return _check(name, "fail", measured, threshold, remedy, facts)


def unknown(name: str, measured: str, threshold: str, remedy: str) -> Check:
    """Nobody could see."""
    return _check(name, "unknown", measured, threshold, remedy, ())


def age_minutes(now: datetime, moment: datetime | None) -> float | None:
    """How long ago that was, 0 where it is yet to come; None where there was none.

    Ages count from when it was asked, not from when the answer came: a slow answer makes nothing older.
    """
    return None if moment is None else max(0.0, (now - moment).total_seconds() / 60)


def minutes(age: float | None) -> str:
    """An age in words: "1 minute", "20 minutes"."""
    count = round(age or 0)
    return f"{count} minute{'' if count == 1 else 's'}"


def text(value: object) -> str:
    """What an SDK read, as Azure wrote it: an enumeration's member prints as its Python name. "" for None."""
    return str(getattr(value, "value", value) or "")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence, the first few."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _check(name: str, verdict: Verdict, measured: str, threshold: str, remedy: str, facts: Sequence[str]) -> Check:
    return Check(
        name=name, verdict=verdict, measured=measured, threshold=threshold, remedy=remedy, facts=tuple(sorted(facts))
    )
