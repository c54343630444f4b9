"""Looking at an image set and at an image version for what Windows 365 asks of them, before anything is changed."""

from __future__ import annotations

from evergold.azure import Azure
from evergold.azure.enums import text_of
from evergold.cloudpc.images import MOST_IMAGES, settings_of, source_of
from evergold.cloudpc.policies import policies_of
from evergold.cloudpc.prerequisites import CHECK_SCRIPT, GENERATIONS, Facts, judge
from evergold.config.models import ImageSet, MarketplaceSource, ScriptStep
from evergold.images.manifest import from_tags
from evergold.images.refresh import definition_of
from evergold.validation.verdicts import Check

# How Microsoft's marketplace names what is multi-session: win11-25h2-avd-m365, win10-22h2-evd.
MULTI_SESSION = ("avd", "evd", "multi-session")


async def check_version(azure: Azure, image_set: ImageSet, version: str) -> list[Check]:
    """Every prerequisite of an image version."""
    return judge(await facts_of(azure, image_set, version), settings_of(image_set).rules, azure.clock.now().date())


async def facts_of(azure: Azure, image_set: ImageSet, version: str) -> Facts:
    """What Azure, the version's manifest and the image set tell of it."""
    settings = settings_of(image_set)
    definition = await azure.galleries.get_definition(definition_of(image_set))
    found = await azure.galleries.get_version(definition_of(image_set), version, replication=False)
    told = definition.properties if definition else None
    storage = found.properties.storage_profile if found and found.properties else None
    manifest = from_tags(dict((found.tags if found else None) or {}))
    features = {feature.name: feature.value for feature in (told.features if told else None) or []}
    reachable = None
    if settings.source == "managed_image":
        reachable = source_of(azure, image_set, version).lower() in await azure.cloud_pcs.source_images()
    return Facts(
        edition=manifest.os.name if manifest else None,
        build=manifest.os.build if manifest else None,
        generation=text_of(told.hyper_v_generation) if told else None,
        generalised=None if told is None else text_of(told.os_state) == "Generalized",
        security_type=str(features.get("SecurityType") or ""),
        os_disk_gb=storage.os_disk_image.size_in_gb if storage and storage.os_disk_image else None,
        data_disks=len(storage.data_disk_images or []) if storage else None,
        software=tuple(manifest.software) if manifest and not manifest.software_left_out else None,
        looked_inside=looks_inside(image_set),
        source=settings.source,
        reachable=reachable,
    )


def looks_inside(image_set: ImageSet) -> bool:
    """Whether a step of the build looks for what can be seen from inside only."""
    return any(isinstance(step, ScriptStep) and step.script == CHECK_SCRIPT for step in image_set.customise)


async def check_cloud_pcs(azure: Azure, image_set: ImageSet) -> list[Check]:
    """What a refresh of the image set will need of Windows 365, as far as it can be seen before there is an image."""
    return [
        _source(image_set),
        await _generation(azure, image_set),
        _script(image_set),
        await _policies(azure, image_set),
        await _room(azure),
    ]


def _source(image_set: ImageSet) -> Check:
    source = image_set.source
    sku = source.sku if isinstance(source, MarketplaceSource) else ""
    parts = f"{source.offer}-{sku}".casefold().split("-") if isinstance(source, MarketplaceSource) else []
    multi = any(word in parts for word in MULTI_SESSION)
    return Check(
        name="Windows 365: source",
        verdict="fail" if multi else "pass",
        measured=f"The source {sku} is multi-session." if multi else "Nothing says that the source is multi-session.",
        threshold="a single-session Windows Enterprise image",
        remedy="Take cloud_pcs out of this image set, and give Cloud PCs one of their own, with a source such as offer windows-ent-cpc: a "
        "multi-session image serves Azure Virtual Desktop only."
        if multi
        else "",
    )


async def _generation(azure: Azure, image_set: ImageSet) -> Check:
    definition = await azure.galleries.get_definition(definition_of(image_set))
    generation = (
        text_of(definition.properties.hyper_v_generation) if definition and definition.properties else "unknown"
    )
    wanted, source = GENERATIONS[settings_of(image_set).rules]
    return Check(
        name="Windows 365: generation",
        verdict="pass" if generation == wanted else "fail",
        measured=f"The image definition is of generation {generation}.",
        threshold=f"{wanted} ({source})",
        remedy=""
        if generation == wanted
        else "Publish to an image definition of that generation, or choose the other cloud_pcs.rules.",
    )


def _script(image_set: ImageSet) -> Check:
    there = looks_inside(image_set)
    return Check(
        name="Windows 365: check in the build",
        verdict="pass" if there else "fail",
        measured=f"{CHECK_SCRIPT} is {'a' if there else 'no'} step of the build.",
        threshold="a step of the build, after all others",
        remedy="" if there else f"Add {CHECK_SCRIPT} as the last step under customise.",
    )


async def _policies(azure: Azure, image_set: ImageSet) -> Check:
    found = await policies_of(azure, settings_of(image_set).provisioning_policies)
    return Check(
        name="Windows 365: provisioning policies",
        verdict="pass",
        measured=f"There: {', '.join(policy.name for policy in found)}.",
        threshold="each is there, and can be read",
        remedy="",
    )


async def _room(azure: Azure) -> Check:
    images = await azure.cloud_pcs.images()
    full = len(images) >= MOST_IMAGES
    return Check(
        name="Windows 365: room for an image",
        verdict="warn" if full else "pass",
        measured=f"The tenant has {len(images)} of {MOST_IMAGES} custom images.",
        threshold=f"fewer than {MOST_IMAGES}",
        remedy="The import takes away this image set's own that nothing needs; where there is none, delete one in Intune."
        if full
        else "",
    )
