"""One campaign a provisioning policy at a time: a lease beside the campaign's note, in a tag of the image definition.

Graph has nothing to hold one: a policy has a description, which belongs to people, and no ETag; a bulk action cannot be taken back. The
definition has the campaign's note already and needs no further right; the note names the policies, so that the leases of the gallery's
other definitions are found as well. Image sets of *different* galleries would not see each other here: the configuration refuses a policy
that two of them name, and where they stand in two repositories the first one stops as soon as its policy names another image
(`PolicyChangedError`).

A lease lasts while its holder (a flow run) renews it. One that died blocks others for no longer than `LEASE_MINUTES`, and nobody when it is
started again under its own name.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from evergold.azure import Azure
from evergold.cloudpc.campaign import TAG, from_tags
from evergold.cloudpc.model import Campaign
from evergold.config.models import ImageSet
from evergold.images.refresh import definition_of
from evergold.rollout.lease import Lease, LeaseHeldError, parse

LEASE_TAG = "evergold-cloud-pc-lease"
LEASE_MINUTES = 150  # looks are up to an hour apart, and it is renewed when half of it is over
# Long enough for a write that was sent at the same moment to be seen.
READ_BACK_AFTER_S = 5


async def take(azure: Azure, image_set: ImageSet, campaign: Campaign, holder: str) -> Lease:
    """Takes the lease of the campaign's policies, or keeps the one this holder has. Raises LeaseHeldError, with nothing changed."""
    await refuse_held(azure, image_set, campaign.targets.keys(), holder)
    held = await _write(azure, image_set, campaign.id, holder)
    await azure.clock.sleep(READ_BACK_AFTER_S)
    try:
        await refuse_held(azure, image_set, campaign.targets.keys(), holder)
    except LeaseHeldError:
        await release(azure, image_set, held)
        raise
    return held


async def keep(azure: Azure, image_set: ImageSet, campaign: Campaign, held: Lease) -> Lease:
    """Renews the lease when half its time is over. Raises LeaseHeldError where somebody else has it now."""
    if held.until - azure.clock.now() > timedelta(minutes=LEASE_MINUTES / 2):
        return held
    await refuse_held(azure, image_set, campaign.targets.keys(), held.holder)
    return await _write(azure, image_set, campaign.id, held.holder)


async def release(azure: Azure, image_set: ImageSet, held: Lease) -> None:
    """Gives the lease back, unless somebody else has it by now."""
    definition = await azure.galleries.get_definition(definition_of(image_set))
    standing = parse((definition.tags or {}).get(LEASE_TAG)) if definition else None
    if standing is not None and standing.holder == held.holder:
        await azure.galleries.update_definition_tags(definition_of(image_set), {}, remove=(LEASE_TAG,))


async def refuse_held(azure: Azure, image_set: ImageSet, policies: Collection[str], holder: str) -> None:
    """Raises LeaseHeldError while another run reprovisions Cloud PCs of one of these policies, by the first parts of their ids.

    Whatever other run holds the image set's own lease counts too.
    """
    where, now = definition_of(image_set), azure.clock.now()
    for definition in await azure.galleries.list_definitions(where.resource_group, where.gallery):
        present = dict(definition.tags or {})
        held = parse(present.get(LEASE_TAG))
        if held is None or held.holder == holder or held.until <= now:
            continue
        campaign = from_tags(present)
        shared = set(policies) & set(campaign.targets if campaign else ())
        if shared or (definition.name or "").casefold() == where.name.casefold():
            raise LeaseHeldError(
                f"{held.refresh} is reprovisioning Cloud PCs of the same provisioning policies (flow run {held.holder}; noted on the image "
                f"definition {definition.name} as {TAG}), until {held.until:%Y-%m-%d %H:%M} UTC unless it goes on. Nothing was changed. "
                f"Wait for that run, or cancel it in the Prefect UI; its hold ends by itself {LEASE_MINUTES} minutes after it stopped."
            )


async def _write(azure: Azure, image_set: ImageSet, campaign_id: str, holder: str) -> Lease:
    # To the second, as the tag keeps it.
    until = azure.clock.now().replace(microsecond=0) + timedelta(minutes=LEASE_MINUTES)
    held = Lease(campaign_id, holder, until)
    await azure.galleries.update_definition_tags(definition_of(image_set), {LEASE_TAG: str(held)})
    return held
