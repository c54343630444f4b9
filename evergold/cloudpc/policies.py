"""Provisioning policies: which image new Cloud PCs are made from, and which it was before.

The image that a policy had is noted before it is changed, in a tag of the image definition: a policy has no room for notes but its
description, which belongs to people. Cloud PCs that are there do not change with their policy, until they are reprovisioned.
"""

from __future__ import annotations

from dataclasses import dataclass

from evergold.azure import Azure
from evergold.azure.cloudpcs import ProvisioningPolicy
from evergold.azure.errors import raise_failed
from evergold.config.models import ImageSet
from evergold.images.refresh import definition_of

FORMER = "evergold-former"  # "evergold-former-<first part of the policy's id>": "<new image's id>|<type>|<id>|<name>" of the former one
UNCHANGED = "Cloud PCs that are there keep their image until they are reprovisioned; new ones are made from this one."


@dataclass(frozen=True)
class Image:
    """An image as a policy names it; type custom or gallery."""

    type: str
    id: str
    name: str


@dataclass(frozen=True)
class Change:
    """What became of a policy; `changed` False where it had the image already."""

    policy: ProvisioningPolicy
    former: Image
    now: Image
    changed: bool

    @property
    def words(self) -> str:
        """The change in a sentence for whoever started it."""
        if not self.changed:
            return f"{self.policy.name} has {self.now.name} already. {UNCHANGED}"
        return f"{self.policy.name}: {self.former.name} became {self.now.name}. {UNCHANGED}"


async def policies_of(azure: Azure, names: tuple[str, ...]) -> list[ProvisioningPolicy]:
    """The policies of these names; raises where one is missing."""
    return [await azure.cloud_pcs.policy_named(name) for name in names]


async def ensure_policy_image(
    azure: Azure, image_set: ImageSet, policy: ProvisioningPolicy, image: Image, *, note_former: bool = True
) -> Change:
    """The policy makes new Cloud PCs from this image, and what it had before is noted (not so on the way back)."""
    former = Image(policy.image_type, policy.image_id, policy.image_name)
    if former.id == image.id:
        noted = (await formers(azure, image_set)).get(policy.id.partition("-")[0])
        return Change(policy, noted[1] if noted else former, image, changed=False)
    if note_former:
        value = "|".join((image.id, former.type, former.id, former.name))[:256]
        name = f"{FORMER}-{policy.id.partition('-')[0]}"
        await azure.galleries.update_definition_tags(definition_of(image_set), {name: value})
    await azure.cloud_pcs.set_policy_image(policy, image.type, image.id, image.name)
    seen = await azure.cloud_pcs.policy_named(policy.name)
    if seen.image_id != image.id:
        raise_failed("set the image of the policy", policy.name, "NotTaken", f"It still names {seen.image_name}.")
    return Change(policy, former, image, changed=True)


async def formers(azure: Azure, image_set: ImageSet) -> dict[str, tuple[str, Image]]:
    """For the first part of each policy's id: the id of the image it was changed to, and the image that it had before."""
    definition = await azure.galleries.get_definition(definition_of(image_set))
    found = {}
    for name, value in ((definition.tags if definition else None) or {}).items():
        parts = value.split("|", 3)
        if name.startswith(f"{FORMER}-") and len(parts) == 4:
            found[name.removeprefix(f"{FORMER}-")] = (parts[0], Image(*parts[1:]))
    return found


async def images_to_keep(azure: Azure, image_set: ImageSet) -> set[str]:
    """Ids and names of images that something needs: policies, Cloud PCs, and the way back."""
    policies = await azure.cloud_pcs.policies()
    desks = await azure.cloud_pcs.list_all()
    former = (await formers(azure, image_set)).values()
    return {p.image_id for p in policies} | {desk.image for desk in desks} | {image.id for _, image in former}
