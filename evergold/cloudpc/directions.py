"""Where a campaign leads: forward to an imported version, or back to what the policies had before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evergold.azure import Azure
from evergold.azure.cloudpcs import DeviceImage, ProvisioningPolicy
from evergold.azure.errors import raise_failed
from evergold.cloudpc import campaign as notes
from evergold.cloudpc.images import find_image, name_for, settings_of
from evergold.cloudpc.model import Campaign
from evergold.cloudpc.observe import first_part
from evergold.cloudpc.policies import Change, Image, ensure_policy_image, formers, policies_of
from evergold.config.models import ImageSet


async def ready_image(azure: Azure, image_set: ImageSet, version: str) -> DeviceImage:
    """The custom image of a version; raises where it is not there, or not ready."""
    image = await find_image(azure, image_set, version)
    if image is None or image.status != "ready":
        says = "Windows 365 does not have it." if image is None else f"It is {image.status}."
        raise_failed(
            "use the image", name_for(image_set, version), "ImageNotFound", f"{says} Run import-cloud-pc-image first."
        )
    return image


async def begin_forward(azure: Azure, image_set: ImageSet, version: str, *, policies_follow: bool = False) -> Campaign:
    """The campaign to this version: the one that is under way, or a new one.

    Every policy must have the image already, unless `policies_follow`: in a refresh they are set when somebody has approved.
    """
    image = await ready_image(azure, image_set, version)
    policies = await policies_of(azure, settings_of(image_set).provisioning_policies)
    others = [policy.name for policy in policies if policy.image_id != image.id]
    if others and not policies_follow:
        raise_failed(
            "reprovision Cloud PCs",
            ", ".join(others),
            "PolicyNotSet",
            f"They do not have {image.name}, and a reprovision brings what the policy has. Run update-provisioning-policy first.",
        )
    targets = {first_part(policy): image.name for policy in policies}
    return await notes.begin(azure, image_set, targets, version, "forward")


async def begin_back(azure: Azure, image_set: ImageSet, version: str) -> tuple[Campaign, list[Change]]:
    """A campaign back from this version is under way, and every policy has the image again that it had before it.

    The campaign is noted first, and what a policy had before stays noted: a run that died half-way knows which way it was going.
    """
    left = await ready_image(azure, image_set, version)
    policies = await policies_of(azure, settings_of(image_set).provisioning_policies)
    noted = await formers(azure, image_set)
    wanted = {key: image for key, (changed_to, image) in noted.items() if changed_to == left.id}
    campaign = await _noted_back(azure, image_set, version, policies, wanted)
    changes = [
        await ensure_policy_image(azure, image_set, policy, wanted[first_part(policy)], note_former=False)
        for policy in policies
    ]
    return campaign, changes


async def _noted_back(
    azure: Azure,
    image_set: ImageSet,
    version: str,
    policies: Sequence[ProvisioningPolicy],
    wanted: Mapping[str, Image],
) -> Campaign:
    missing = [policy.name for policy in policies if first_part(policy) not in wanted]
    if missing:
        raise_failed(
            "roll Cloud PCs back",
            ", ".join(missing),
            "NoWayBack",
            f"Nothing tells which image came before {name_for(image_set, version)}: it was not Evergold that set it there last.",
        )
    targets = {first_part(policy): wanted[first_part(policy)].name for policy in policies}
    return await notes.begin(azure, image_set, targets, version, "back")


async def end_by_id(azure: Azure, image_set: ImageSet, campaign_id: str) -> None:
    """The campaign of this id is over. What it has sent is not called back."""
    standing = await notes.current(azure, image_set)
    if standing is None or standing.id != campaign_id:
        says = f"{standing.id if standing else 'No campaign'} is under way."
        raise_failed("give the campaign up", campaign_id, "ResourceNotFound", says)
    await notes.end(azure, image_set, standing)
