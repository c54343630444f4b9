"""Cloud PCs in a refresh: what proves an image that no host pool has a canary for, and what the report tells of them."""

from __future__ import annotations

from contextlib import suppress

from evergold.azure import Azure
from evergold.azure.cloudpcs import DeviceImage
from evergold.cloudpc import campaign as notes
from evergold.cloudpc.checks import check_version
from evergold.cloudpc.engine import Place, look
from evergold.cloudpc.images import find_image, name_for, settings_of
from evergold.cloudpc.model import Plan
from evergold.cloudpc.observe import PolicyChangedError
from evergold.cloudpc.policies import images_to_keep, policies_of
from evergold.config.models import ImageSet
from evergold.images.customise import by_hand
from evergold.images.manifest import difference
from evergold.images.publish import Candidate, find_previous
from evergold.images.refresh import Refresh
from evergold.validation.image_checks import check_source
from evergold.validation.report import CloudPcStory
from evergold.validation.verdicts import Check, Evidence, judge_difference, judge_steps_by_hand


async def gather_evidence(
    azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate, image: DeviceImage
) -> Evidence:
    """All that is known of an imported candidate before a Cloud PC is made from it. The pilot ring is the first that boots it."""
    before = await find_previous(azure, image_set, refresh)
    known = before is not None and before.manifest is not None and candidate.manifest is not None
    change = difference(before.manifest, candidate.manifest) if known else None  # type: ignore[union-attr,arg-type]  # known
    imported = Check(
        name="Windows 365: import",
        verdict="pass" if image.status == "ready" else "fail",
        measured=f"{image.name} is {image.status}.",
        threshold="ready in Windows 365",
        remedy="" if image.status == "ready" else "Run import-cloud-pc-image.",
    )
    return Evidence(
        refresh=refresh.id,
        image_set=image_set.name,
        version=candidate.version,
        image_version_id=candidate.version_id,
        source=refresh.source,
        checks=(
            *await check_version(azure, image_set, candidate.version),
            imported,
            await check_source(azure, refresh.source),
            *judge_steps_by_hand(by_hand(candidate.tags)),
            judge_difference(change),
        ),
        manifest=candidate.manifest,
        difference=change,
        compared_with=before.version if before else "",
    )


async def story_of(azure: Azure, image_set: ImageSet, version: str) -> CloudPcStory:
    """How the Cloud PCs of the image set stand: counted in Graph; why some are not on the image, as long as the campaign is noted."""
    settings, image = settings_of(image_set), name_for(image_set, version)
    ids = {policy.id for policy in await policies_of(azure, settings.provisioning_policies)}
    desks = [desk for desk in await azure.cloud_pcs.list_all() if desk.policy_id in ids]
    campaign = await notes.current(azure, image_set)
    if campaign is not None and campaign.version != version:
        campaign = None
    seen = Plan(())
    if campaign is not None and campaign.approved_by:
        # Between the approval and the policies' change, and where somebody else has changed them, there is nothing to be told.
        with suppress(PolicyChangedError):
            seen = await look(Place(azure, image_set, settings), campaign)
    return CloudPcStory(
        image=image,
        cloud_pcs=len(desks),
        on_image=sum(desk.image == image and desk.status.startswith("provisioned") for desk in desks),
        remaining=tuple(f"{v.desk.user}: {v.fate}, {v.why}" for v in seen.verdicts if v.fate != "done"),
        waivers=tuple(f"{user}: {reason}" for user, reason in campaign.waivers.items()) if campaign else (),
        approved_by=campaign.approved_by if campaign else "",
    )


async def ensure_image_forgotten(azure: Azure, image_set: ImageSet, version: str) -> bool:
    """The image of a rejected version is not in Windows 365, unless something needs it. Returns whether it is gone."""
    image = await find_image(azure, image_set, version)
    if image is None:
        return True
    needed = await images_to_keep(azure, image_set)
    if image.id in needed or image.name in needed:
        return False
    await azure.cloud_pcs.delete_image(image.id)
    return True
