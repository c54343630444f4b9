"""The managed image of a refresh, where the image set asks for one: Windows 365 takes its images from there.

It is made of the same generalised build machine as the gallery version, before that is published. A Trusted Launch machine cannot make one
(Azure refuses; preflight says so first).
"""

from __future__ import annotations

import logging

from azure.mgmt.compute.models import Image

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.config.models import ImageSet
from evergold.images.build import publishable_vm_id
from evergold.images.refresh import Refresh, definition_of

log = logging.getLogger("evergold.images")

WAITING = ("Creating", "Updating")


def image_name(image_set: ImageSet, version: str) -> str:
    """What the managed image of a version is called; "" where the image set asks for none."""
    wanted = image_set.publish.managed_image
    return wanted.name_pattern.format(image_set=image_set.name, version=version) if wanted else ""


async def ensure_managed_image(azure: Azure, image_set: ImageSet, refresh: Refresh) -> str | None:
    """The managed image of this refresh is there; returns its resource id, or None where the image set asks for none.

    Needs the machine proven, off and generalised. One that failed at an earlier try is deleted and made again; one of that name that is
    somebody else's is left alone, and AzureFailure raised.
    """
    wanted = image_set.publish.managed_image
    if wanted is None:
        return None
    group, name = wanted.resource_group, image_name(image_set, refresh.version)
    present = await azure.images.get_image(group, name)
    if present is not None:
        _assert_ours(present, refresh)
        if _state(present) == "Succeeded":
            return present.id
    machine = await publishable_vm_id(azure, image_set, refresh)
    if present is not None and _state(present) not in WAITING:
        log.warning("%s: the managed image failed at an earlier try (%s): made anew", name, _state(present))
        await azure.images.delete_image(group, name)
    definition = await azure.galleries.get_definition(definition_of(image_set))
    generation = definition.properties.hyper_v_generation if definition and definition.properties else None
    made = await azure.images.create_image_from_vm(
        group,
        name,
        image_set.location,
        machine,
        {**refresh.tags, tags.SOURCE: refresh.source, tags.IMAGE_VERSION: refresh.version},
        generation="V1" if generation == "V1" else "V2",
    )
    log.info("Managed image %s is made", name)
    return made.id


async def ensure_managed_image_removed(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The managed image of a refresh that is given up is gone; one that is somebody else's is left alone."""
    wanted = image_set.publish.managed_image
    if wanted is None:
        return
    group, name = wanted.resource_group, image_name(image_set, refresh.version)
    present = await azure.images.get_image(group, name)
    if present is not None and (present.tags or {}).get(tags.REFRESH) == refresh.id:
        await azure.images.delete_image(group, name)


def _state(image: Image) -> str:
    return (image.properties.provisioning_state if image.properties else None) or ""


def _assert_ours(image: Image, refresh: Refresh) -> None:
    owner = (image.tags or {}).get(tags.REFRESH)
    if owner != refresh.id:
        raise AzureFailure(
            "make the managed image",
            image.id or "",
            "NameTaken",
            f"One of that name was made by {owner or 'somebody else'}, not by {refresh.id}.",
            retryable=False,
            remedy="It was left alone. Remove it if nothing needs it, or change publish.managed_image.name_pattern; then start again.",
        )
