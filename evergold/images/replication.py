"""An image version in every region that is to have it: a region that fails is tried again by itself, and not the whole version.

Azure's own advice, in the error of a replication that failed in some regions: "please do an update by removing the failed regions and
update again by adding them back". So each is one write, and what stands in the gallery says which is next: a run that died between the
two finds a region missing, and adds it. What cannot be mended so is a version that its own region has not got: it failed as a whole.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import NoReturn

from azure.mgmt.compute.models import GalleryImageVersion

from evergold.azure import Azure, AzureFailure
from evergold.azure.galleries import (
    Definition,
    Progress,
    Region,
    Replication,
    plain,
    provisioning_of,
    replication_of,
    target_regions,
)

log = logging.getLogger("evergold.images")

REGION_RETRIES = 2  # how often one run adds a region again that failed


async def ensure_replicated(
    azure: Azure,
    definition: Definition,
    version: str,
    regions: Sequence[Region],
    timeout_s: float,
    progress: Progress | None = None,
) -> GalleryImageVersion:
    """The version, once it is published and every one of `regions` has it. `timeout_s` is for all of it, retries included.

    Raises AzureFailure where it failed as a whole, and where a region has failed `REGION_RETRIES` times more: that region is named.
    """
    retried: Counter[str] = Counter()
    told: set[str] | None = None
    until = azure.clock.now() + timedelta(seconds=timeout_s)
    while True:
        left_s = max((until - azure.clock.now()).total_seconds(), 0.0)
        found = await azure.galleries.wait_until_settled(definition, version, left_s, told, progress=progress)
        if failed_as_a_whole(found):
            _raise_whole(definition, version, found)
        lost = lost_regions(found)
        missing = [region for region in regions if plain(region.name) not in target_regions(found)]
        if lost:
            _refuse_more_retries(definition, version, found, lost, retried)
            log.warning(
                "%s was not replicated to %s (%s): taken out there, and added again",
                *(version, ", ".join(sorted(lost)), _details(found, lost)),
            )
            retried.update(lost)
            told = await azure.galleries.begin_change_regions(definition, version, without=lost)
        elif missing:
            log.info("%s is added to %s", version, ", ".join(region.name for region in missing))
            told = await azure.galleries.begin_change_regions(definition, version, add=missing)
        else:
            return found


def in_own_region(version: GalleryImageVersion) -> bool:
    """Whether the version is in the region that it was made in: from there the others get it."""
    return replication_of(version).completed([version.location])


def failed_as_a_whole(version: GalleryImageVersion) -> bool:
    """Whether Azure has given this version up, and no change of its regions can mend it."""
    if provisioning_of(version) == "Failed":
        return not (in_own_region(version) and lost_regions(version))
    home = replication_of(version).state(version.location)
    return home is not None and home.state == "Failed"


def lost_regions(version: GalleryImageVersion) -> set[str]:
    """The regions that a settled version was to be in and is not, as `plain` names."""
    replication = replication_of(version)
    return {region for region in target_regions(version) if not replication.completed([region])}


def progress_table(replication: Replication) -> str:
    """How far each region is, as a Markdown table, in the order of their names."""
    rows = [
        f"| {region.region} | {region.state} | {region.progress} % | {region.details} |"
        for region in sorted(replication.regions, key=lambda region: region.region)
    ]
    if not rows:
        return "Azure is making the version; no region has begun."
    return "\n".join(["| region | state | done | Azure says |", "| --- | --- | --- | --- |", *rows])


def _refuse_more_retries(
    definition: Definition, version: str, found: GalleryImageVersion, lost: set[str], retried: Counter[str]
) -> None:
    spent = sorted(region for region in lost if retried[region] >= REGION_RETRIES)
    if not spent:
        return
    message = (
        f"Azure could not replicate it to {', '.join(spent)} ({_details(found, lost)}). It was taken out there and added again "
        f"{REGION_RETRIES} times; the other regions have it."
    )
    remedy = (
        f"Look at Azure's status and quota in {', '.join(spent)}, and start the run again: it tries that region alone. Where the region "
        "is not needed now, take it out of publish.regions: the run then goes on without it."
    )
    raise AzureFailure(
        "publish the image version",
        f"{definition}/{version}",
        "ReplicationFailed",
        message,
        retryable=False,
        remedy=remedy,
    )


def _raise_whole(definition: Definition, version: str, found: GalleryImageVersion) -> NoReturn:
    raise AzureFailure(
        "publish the image version",
        f"{definition}/{version}",
        "ProvisioningFailed",
        f"It failed as a whole: its own region, {found.location}, has not got it ({_details(found, target_regions(found))}).",
        retryable=False,
        remedy="Start the run again: it removes this version, and publishes the build machine again under the same number.",
    )


def _details(version: GalleryImageVersion, regions: set[str]) -> str:
    states = [replication_of(version).state(region) for region in sorted(regions)]
    given = [f"{state.region}: {state.details or 'no details'}" for state in states if state is not None]
    return "; ".join(given) or "nothing more"
