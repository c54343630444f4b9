"""An image version as a custom image of Windows 365: checked, imported, waited for; and the old ones taken away.

An image is known by its name and version, so what has begun is found again. Its name carries the version (`cloud_pcs.image_name`), because
a Cloud PC tells of the image that is on it no more than that name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from evergold.azure import Azure, AzureFailure
from evergold.azure.cloudpcs import DeviceImage
from evergold.azure.ids import image_version_id
from evergold.azure.pipeline import wait_until
from evergold.cloudpc.policies import images_to_keep
from evergold.config.models import CloudPcs, ImageSet

log = logging.getLogger("evergold.cloudpc")

MOST_IMAGES = 20  # custom images in a tenant: learn.microsoft.com, "Device images overview"
POLL_SECONDS = 120.0
TRIES = 3  # of an upload that failed for a reason that may pass

Progress = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Reason:
    """Why Windows 365 did not take an image, in words, whether the same may work later, and what to do."""

    words: str
    retryable: bool
    remedy: str


# errorCode of a cloudPcDeviceImage: learn.microsoft.com, "cloudPcDeviceImage resource type".
REASONS: Mapping[str, Reason] = {
    "internalservererror": Reason(
        "Windows 365 had a fault.", True, "It was tried again. Try tomorrow, or ask Microsoft's support."
    ),
    "sourceimagenotfound": Reason(
        "Windows 365 does not see the source image.",
        False,
        "Give the enterprise application Windows 365 (0af06dc6-e4b5-4f28-818e-e78e62d137a5) the role Reader on the subscription; where "
        "the source is a gallery version (public preview), try source: managed_image.",
    ),
    "osversionnotsupported": Reason(
        "Windows 365 does not support this Windows.",
        False,
        "Use a single-session Enterprise image of a serviced release.",
    ),
    "sourceimageinvalid": Reason(
        "No Windows machine can be made from this image.",
        False,
        "Check its generation (2), and that a VM made from it boots.",
    ),
    "sourceimagenotgeneralized": Reason(
        "The image is not generalised.", False, "Build it again, and read its sysprep proof."
    ),
    "vmalreadyazureadjoined": Reason(
        "The machine that the image was made of was joined to Microsoft Entra ID.",
        False,
        "Build from a source that was never joined: a machine that was, stays so after sysprep.",
    ),
    "paidsourceimagenotsupport": Reason(
        "The image stems from a paid image of the marketplace.", False, "Start from Microsoft's own Windows image."
    ),
    "sourceimagenotsupportcustomizevmname": Reason(
        "The image does not let Windows be given a name.",
        False,
        "Remove the computer name from the answer file (unattend.xml).",
    ),
    "sourceimagesizeexceedslimitation": Reason("The image is too large.", False, "Build it with a smaller OS disk."),
}
UNKNOWN = Reason(
    "Windows 365 gives a reason that Evergold does not know.",
    False,
    "Look at the image in Intune (Devices, Windows 365).",
)


def settings_of(image_set: ImageSet) -> CloudPcs:
    """The image set's Windows 365 part; raises where it has none."""
    if image_set.cloud_pcs is None:
        raise AzureFailure(
            "find the Cloud PCs",
            image_set.name,
            "NoCloudPcs",
            "The image set serves none.",
            retryable=False,
            remedy=f"Add cloud_pcs to deployments/image_sets/{image_set.name}.yaml (docs/windows-365.md), or choose another one.",
        )
    return image_set.cloud_pcs


def name_for(image_set: ImageSet, version: str) -> str:
    """What a version is called in Intune."""
    return settings_of(image_set).image_name.replace("{image_set}", image_set.name).replace("{version}", version)


def is_ours(image_set: ImageSet, image: DeviceImage) -> bool:
    """Whether an image is one that this image set imports: called so, for its own version."""
    return re.fullmatch(r"\d+\.\d+\.\d+", image.version) is not None and image.name == name_for(
        image_set, image.version
    )


def source_of(azure: Azure, image_set: ImageSet, version: str) -> str:
    """The resource id of what is imported."""
    settings, gallery = settings_of(image_set), image_set.gallery
    subscription = str(azure.environment.subscription_id)
    if settings.managed_image is not None:
        name = settings.managed_image.replace("{version}", version)
        group = f"/subscriptions/{subscription}/resourceGroups/{gallery.resource_group}"
        return f"{group}/providers/Microsoft.Compute/images/{name}"
    return image_version_id(subscription, gallery.resource_group, gallery.name, gallery.image_definition, version)


async def find_image(azure: Azure, image_set: ImageSet, version: str) -> DeviceImage | None:
    """The custom image of a version, in whatever state; None where there is none."""
    name = name_for(image_set, version)
    return next((i for i in await azure.cloud_pcs.images() if (i.name, i.version) == (name, version)), None)


async def ensure_imported(
    azure: Azure, image_set: ImageSet, version: str, progress: Progress | None = None
) -> DeviceImage:
    """The version is a custom image of Windows 365 that is ready. Takes about an hour; one that is under way is waited for.

    `progress` is told the minutes that it has taken. An upload that failed for a reason that may pass is deleted and made again, `TRIES`
    in all. What a failure leaves: the failed image in Intune, to look at; the next run begins by deleting it.
    """
    for attempt in range(1, TRIES + 1):
        image = await _begun(azure, image_set, version)
        image = await _settled(azure, image_set, image, progress)
        if image.status == "ready":
            log.info("%s is in Windows 365 and ready", image.name)
            return image
        reason = REASONS.get(image.error_code.casefold(), UNKNOWN)
        if not reason.retryable or attempt == TRIES:
            raise AzureFailure(
                "import the image into Windows 365",
                image.name,
                image.error_code or image.status,
                reason.words,
                reason.retryable,
                reason.remedy,
            )
        log.warning("%s: %s It is imported again (try %d of %d).", image.name, reason.words, attempt + 1, TRIES)
    raise AssertionError("unreachable")


async def _begun(azure: Azure, image_set: ImageSet, version: str) -> DeviceImage:
    """The image, pending or ready: found, or asked for. One that failed at an earlier try is deleted first."""
    present = await find_image(azure, image_set, version)
    if present is not None and present.status != "failed":
        return present
    if present is not None:
        await azure.cloud_pcs.delete_image(present.id)
    await _make_room(azure, image_set)
    try:
        return await azure.cloud_pcs.import_image(
            name_for(image_set, version), version, source_of(azure, image_set, version)
        )
    except AzureFailure as failure:
        # A request that was tried again may meet what its first try has made.
        found = await find_image(azure, image_set, version) if failure.status == 409 else None
        if found is None:
            raise
        return found


async def _settled(azure: Azure, image_set: ImageSet, image: DeviceImage, progress: Progress | None) -> DeviceImage:
    began, minutes = azure.clock.now(), settings_of(image_set).import_timeout_minutes

    async def look() -> DeviceImage | None:
        seen = await azure.cloud_pcs.image(image.id)
        if seen is None:
            raise AzureFailure(
                "import the image into Windows 365",
                image.name,
                "ImageGone",
                "Somebody has deleted it in the meantime.",
                retryable=False,
                remedy="Start this run again: it is imported anew.",
            )
        if progress is not None:
            await progress((azure.clock.now() - began).total_seconds() / 60)
        return seen if seen.status in ("ready", "failed") else None

    what = "import the image into Windows 365"
    settled: DeviceImage = await wait_until(look, what, image.name, azure.clock, minutes * 60, POLL_SECONDS)
    return settled


async def _make_room(azure: Azure, image_set: ImageSet) -> None:
    """There is room for one more image: the oldest ones of ours that nothing needs go, where there is not."""
    images = await azure.cloud_pcs.images()
    if len(images) < MOST_IMAGES:
        return
    await retire_images(azure, image_set)
    images = await azure.cloud_pcs.images()
    if len(images) >= MOST_IMAGES:
        listed = ", ".join(sorted(image.name for image in images))
        raise AzureFailure(
            "import the image into Windows 365",
            image_set.name,
            "NoRoom",
            f"The tenant has {len(images)} custom images and {MOST_IMAGES} fit: {listed}.",
            retryable=False,
            remedy="Delete one in Intune that no provisioning policy uses, or lower cloud_pcs.keep_images.",
        )


async def retire_images(azure: Azure, image_set: ImageSet) -> list[str]:
    """Deletes images of this image set beyond the newest `keep_images`, and never one that something needs. Returns their names.

    Needed is what a policy names, what a Cloud PC was made from, and what the way back leads to.
    """
    images = await azure.cloud_pcs.images()
    needed = await images_to_keep(azure, image_set)
    gone = []
    for image in unneeded(image_set, images, needed):
        await azure.cloud_pcs.delete_image(image.id)
        log.info("%s: deleted from Windows 365, nothing needs it", image.name)
        gone.append(image.name)
    return gone


def unneeded(image_set: ImageSet, images: Sequence[DeviceImage], needed: set[str]) -> list[DeviceImage]:
    """Which images may go; `needed` holds ids and names that may not. One that is pending is somebody's import."""
    ours = [image for image in images if is_ours(image_set, image) and image.status != "pending"]
    newest_first = sorted(ours, key=lambda image: [int(part) for part in image.version.split(".")], reverse=True)
    return [
        image
        for image in newest_first[settings_of(image_set).keep_images :]
        if image.id not in needed and image.name not in needed
    ]
