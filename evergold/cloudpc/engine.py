"""Reprovisioning the Cloud PCs of a campaign: look, decide, act, again, until none is left to do.

What to do is decided in `plan` alone. A tick can be the last one of a process: everything that the next one needs stands in Graph (what was
asked for, in bulk actions that carry the campaign's id) and in the note of the campaign. Just before Cloud PCs lose their disks, each is
looked at once more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evergold.azure import Azure, AzureFailure
from evergold.cloudpc import campaign as notes
from evergold.cloudpc import lease
from evergold.cloudpc.model import SETTLED, Campaign, Desk, Plan, Verdict
from evergold.cloudpc.observe import RESTORE_POINTS, WARNED, bulk_name, look_closely, observe, rings_of, rules_of
from evergold.cloudpc.plan import CAN_BE_REPROVISIONED, in_turn, plan
from evergold.config.models import CloudPcs, ImageSet
from evergold.rollout.lease import Lease

log = logging.getLogger("evergold.cloudpc")

TICK_S = 600.0
IDLE_TICK_S = 3600.0  # while nothing can be done before some moment
LONGEST_BLINDNESS = 12  # looks in a row that fail before it gives up: two hours

Tell = Callable[[Literal["ahead", "today", "now"], Campaign, Sequence[Verdict]], Awaitable[None]]
Show = Callable[[Campaign, Plan], Awaitable[None]]


class ReprovisionHaltedError(Exception):
    """It has stopped by itself, over its failure budget; says which Cloud PCs failed, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where and how Cloud PCs are reprovisioned."""

    azure: Azure
    image_set: ImageSet
    settings: CloudPcs


async def look(place: Place, campaign: Campaign, *, closely: Literal["all", "in turn", "none"] = "all") -> Plan:
    """What is to be done now, without doing it. `closely` names the Cloud PCs that are asked about one by one."""
    azure, settings, rules = place.azure, place.settings, rules_of(place.settings)
    desks = await observe(azure, settings, campaign, await rings_of(azure, settings))
    if closely != "none":
        turn = in_turn(plan(desks, campaign, rules, azure.clock.now()), rules) if closely == "in turn" else None
        chosen = [desk for desk in desks if turn is None or desk.id in turn]
        closer = {desk.id: desk for desk in await look_closely(azure, settings, chosen)}
        desks = [closer.get(desk.id, desk) for desk in desks]
    return plan(desks, campaign, rules, azure.clock.now())


async def reprovision(place: Place, campaign: Campaign, tell: Tell, show: Show, holder: str) -> Plan:
    """Every Cloud PC of the campaign is done, has failed or is left, and the last plan says which and why.

    `tell` brings word to users; `show` is given every tick; `holder` names the run in the lease. Raises ReprovisionHaltedError,
    PolicyChangedError, LeaseHeldError or AzureFailure.
    """
    held = await lease.take(place.azure, place.image_set, campaign, holder)
    try:
        return await _loop(place, campaign, tell, show, held)
    finally:
        await lease.release(place.azure, place.image_set, held)


async def _loop(place: Place, campaign: Campaign, tell: Tell, show: Show, held: Lease) -> Plan:
    blind = 0
    while True:
        wait_s = TICK_S
        try:
            held = await lease.keep(place.azure, place.image_set, campaign, held)
            campaign, decided = await _tick(place, campaign, tell)
            blind = 0
        except AzureFailure as failure:
            blind += 1
            if not failure.retryable or blind >= LONGEST_BLINDNESS:
                raise
            log.warning("Nothing is done until Graph can be read again. %s", failure)
        else:
            await show(campaign, decided)
            if decided.halted:
                raise ReprovisionHaltedError(decided.halted)
            if decided.done:
                return decided
            if decided.nothing_before is not None:
                left_s = (decided.nothing_before - place.azure.clock.now()).total_seconds()
                wait_s = min(max(left_s, TICK_S), IDLE_TICK_S)
        await place.azure.clock.sleep(wait_s)


async def _tick(place: Place, campaign: Campaign, tell: Tell) -> tuple[Campaign, Plan]:
    azure = place.azure
    decided = await look(place, campaign, closely="in turn" if campaign.told_again_at else "none")
    if decided.tell:
        await tell(decided.tell, campaign, [v for v in decided.verdicts if v.fate not in SETTLED])
        now = azure.clock.now()
        told = {"told_at": now} if decided.tell == "ahead" else {"told_again_at": now}
        campaign = await notes.note(azure, place.image_set, replace(campaign, **told))  # type: ignore[arg-type]  # both are times
    if decided.warn:
        # Told first: a warning that is given twice is better than one that is noted and was never given.
        await tell("now", campaign, [v for v in decided.verdicts if v.desk.id in decided.warn])
        await _ask_for_restore_points(place, campaign, decided.warn, WARNED)
    if decided.snapshot:
        await _ask_for_restore_points(place, campaign, decided.snapshot, RESTORE_POINTS)
    if decided.reprovision:
        await _send(place, campaign, decided)
    return campaign, decided


async def _ask_for_restore_points(place: Place, campaign: Campaign, ids: Sequence[str], what: str) -> None:
    share = place.settings.safety.share_snapshots_to or ""
    name = bulk_name(campaign, what)
    await place.azure.cloud_pcs.begin_bulk("snapshot", name, ids, share)
    log.info("Restore points of %d Cloud PCs are asked for%s", len(ids), f", and copies in {share}" if share else "")


async def _send(place: Place, campaign: Campaign, decided: Plan) -> None:
    """Reprovision those of the plan that, on a second look, may still be."""
    chosen = [v.desk for v in decided.verdicts if v.desk.id in decided.reprovision]
    ready = [desk for desk in chosen if await _still_free(place, desk)]
    if not ready:
        return
    if place.settings.api == "single":
        for desk in ready:
            await place.azure.cloud_pcs.reprovision_one(desk.id)
    else:
        await place.azure.cloud_pcs.begin_bulk("reprovision", bulk_name(campaign), [desk.id for desk in ready])
    log.info("Being reprovisioned: %s", ", ".join(desk.user for desk in ready))


async def _still_free(place: Place, desk: Desk) -> bool:
    """Whether nothing has happened to a Cloud PC since it was looked at: nobody came, and nobody did anything to it."""
    seen = await place.azure.cloud_pcs.get(desk.id)
    if seen is None or seen.status not in CAN_BE_REPROVISIONED or seen.image != desk.image:
        return False
    begun = seen.action_started if seen.action.casefold() == "reprovision" else None
    if begun != desk.reprovision_begun or seen.last_login != desk.last_login:
        return False
    (closer,) = await look_closely(place.azure, place.settings, [desk])
    if closer.signed_in:
        return bool(desk.signed_in)  # somebody who was warned, and has not signed in anew
    return closer.signed_in is False or desk.status == "failed"
