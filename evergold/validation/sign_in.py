"""Whether people get in: sign-in on new hosts held against the old ones, a gate against regressions.

What counts as an attempt and as a failure says queries/sign-in.kql.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from evergold.azure import Azure
from evergold.azure.ids import host_pool_id
from evergold.config.models import ImageSet, Pool
from evergold.validation.arriving import PartialAnswerError, rows_of
from evergold.validation.looking import failed, passed, unknown, warned
from evergold.validation.queries import query
from evergold.validation.verdicts import Check

SIGN_IN = "sign-in"
LOOK_BACK = timedelta(hours=24)
PATIENCE = timedelta(minutes=5)

_REMEDY = (
    "Look at WVDErrors for these hosts: the code says what stopped people. Hold the rollout until it is clear: "
    "`evergold hold`, or drain the new hosts."
)


@dataclass(frozen=True)
class Tally:
    """Attempts to sign in, how many of them failed, and the code of one of the failures."""

    attempts: int = 0
    failures: int = 0
    code: str = ""

    @property
    def percent(self) -> float:
        """Failures as a share of the attempts; 0 where there were none."""
        return 100 * self.failures / self.attempts if self.attempts else 0.0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.attempts + other.attempts, self.failures + other.failures, self.code or other.code)


async def check_sign_in(
    azure: Azure,
    image_set: ImageSet,
    pool: Pool,
    new_hosts: Iterable[str],
    *,
    whole_pool: bool = True,
    within: timedelta = LOOK_BACK,
) -> Check:
    """Sign-in on the new hosts does not fail more often than on the others of the pool, in the time that is looked back on.

    With `whole_pool`, people for whom the broker found no host at all are a warning.
    """
    margin = image_set.checks.sign_in_margin_percent
    threshold = f"failures at most {margin} points above the old hosts'"
    kql = query("sign-in", pool=_pool_id(azure, pool), within=within, patience=PATIENCE)
    try:
        rows = await rows_of(azure, kql, within, "look at sign-ins")
    except PartialAnswerError as problem:
        return unknown(SIGN_IN, str(problem), threshold, "Start the run again.")
    new_names = {name.casefold() for name in new_hosts}
    new, old, nowhere = Tally(), Tally(), Tally()
    for row in rows:
        tally = Tally(int(row["Attempts"]), int(row["Failures"]), str(row["Code"] or ""))
        # By its first label: a host that joined a domain is listed under its full name.
        host = str(row["SessionHost"] or "").partition(".")[0].casefold()
        if not host:
            nowhere = nowhere.plus(tally) if whole_pool else nowhere
        elif host in new_names:
            new = new.plus(tally)
        else:
            old = old.plus(tally)
    return judge_sign_in(new, old, nowhere, image_set.checks.sign_in_min_attempts, margin)


def judge_sign_in(new: Tally, old: Tally, nowhere: Tally, min_attempts: int, margin_percent: int) -> Check:
    """The verdict over these tallies; `nowhere` are people for whom the broker found no host."""
    threshold = f"failures at most {margin_percent} points above the old hosts'"
    measured = f"New hosts: {_told(new)}. Others: {_told(old)}."
    if nowhere.failures:
        measured += f" {nowhere.failures} times the broker found no host{f' ({nowhere.code})' if nowhere.code else ''}."
    worse = new.percent > old.percent + margin_percent
    if worse and new.attempts >= min_attempts:
        return failed(SIGN_IN, measured, threshold, _REMEDY, (new.code,) if new.code else ())
    if new.failures and worse:
        few = f" Too few attempts to judge (fewer than {min_attempts})."
        return warned(SIGN_IN, measured + few, threshold, _REMEDY)
    if nowhere.failures:
        remedy = "See if the pool had too few open hosts at that time: capacity_floor_percent, the scaling plan."
        return warned(SIGN_IN, measured, threshold, remedy)
    return passed(SIGN_IN, measured, threshold)


def _told(tally: Tally) -> str:
    if not tally.attempts:
        return "nobody tried to sign in"
    code = f" ({tally.code})" if tally.code else ""
    return f"{tally.failures} of {tally.attempts} attempts failed{code}"


def _pool_id(azure: Azure, pool: Pool) -> str:
    return host_pool_id(str(azure.environment.subscription_id), pool.resource_group, pool.name)
