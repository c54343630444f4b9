"""From a generalised machine to an image version, and what becomes of it: candidate, approved, promoted or rejected.

A version is published as a candidate, excluded from latest, so that nobody gets it by accident. The state, the decision (who, when, why and
on which evidence) and the manifest stand in its tags. It is promoted only on an approval of exactly the evidence in question.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NoReturn

from azure.mgmt.compute.models import GalleryImageVersion

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.errors import raise_failed
from evergold.azure.galleries import Progress, Region, VersionSpec, plain, provisioning_of, replication_of
from evergold.azure.pipeline import wait_until
from evergold.config.models import RELEASE_METHODS, ImageSet, Pool, ReleaseMethod
from evergold.config.models import Region as PublishRegion
from evergold.images.build import own_vm, publishable_disk_id, publishable_vm_id
from evergold.images.manifest import Manifest, from_tags, tag_names
from evergold.images.refresh import Refresh, definition_of, definition_tags, latest_in
from evergold.images.replication import ensure_replicated, failed_as_a_whole, in_own_region

log = logging.getLogger("evergold.images")

State = Literal["candidate", "approved", "promoted", "rejected"]
STATES: tuple[State, ...] = ("candidate", "approved", "promoted", "rejected")
HOSTS_PER_REPLICA = 20
MOST_REPLICAS = 100


class PromotionRefused(Exception):  # noqa: N818  (it is what happened)
    """A version was not promoted, because nobody has approved this evidence of it. Says what was approved instead."""


@dataclass(frozen=True)
class Decision:
    """What a person has decided about a candidate.

    Attributes:
        digest: of the evidence that they saw.
        reason: as they gave it; may be "".
        not_before: when the rollout may begin; None: at once.
        release_method: chosen for this rollout; "": as the image set says.
        given_from: where they answered, as far as it is known.

    """

    approved: bool
    by: str
    at: datetime
    digest: str
    reason: str = ""
    not_before: datetime | None = None
    release_method: ReleaseMethod | Literal[""] = ""
    given_from: str = ""


@dataclass(frozen=True)
class Candidate:
    """An image version that Evergold knows of.

    Attributes:
        version_id: its resource id.
        refresh: the refresh that made it; "" for one that was made otherwise.
        excluded: it is excluded from latest.
        tags: all that stands on it.

    """

    version: str
    version_id: str
    refresh: str
    state: State
    excluded: bool
    manifest: Manifest | None
    decision: Decision | None
    tags: Mapping[str, str] = field(default_factory=dict)


# Publishing


async def find_candidate(azure: Azure, image_set: ImageSet, refresh: Refresh) -> Candidate | None:
    """The version of this refresh if it is whole: published, and replicated to every region."""
    version = await azure.galleries.get_version(definition_of(image_set), refresh.version)
    if version is None:
        return None
    _assert_ours(version, refresh)
    regions = [region.name for region in image_set.publish.regions]
    if provisioning_of(version) != "Succeeded" or not replication_of(version).completed(regions):
        return None
    return candidate_of(version)


async def is_captured(azure: Azure, image_set: ImageSet, refresh: Refresh) -> bool:
    """Whether this refresh's version is in its own region: then there is nothing to build, though other regions may lack it still."""
    version = await azure.galleries.get_version(definition_of(image_set), refresh.version)
    if version is None:
        return False
    _assert_ours(version, refresh)
    return provisioning_of(version) != "Deleting" and not failed_as_a_whole(version) and in_own_region(version)


async def find_version(azure: Azure, image_set: ImageSet, version: str) -> Candidate | None:
    """A version of the image set's definition, whoever made it; None where there is none."""
    found = await azure.galleries.get_version(definition_of(image_set), version, replication=False)
    return candidate_of(found) if found is not None else None


async def find_previous(azure: Azure, image_set: ImageSet, refresh: Refresh) -> Candidate | None:
    """The version that everyone gets now, apart from the one that this refresh makes; None where there is none."""
    definition = definition_of(image_set)
    version = await latest_in(azure, definition, image_set.location, other_than=refresh.version)
    found = await azure.galleries.get_version(definition, version, replication=False) if version else None
    return candidate_of(found) if found is not None else None


async def ensure_version_published(
    azure: Azure, image_set: ImageSet, refresh: Refresh, notes: str = "", progress: Progress | None = None
) -> Candidate:
    """The refresh's version is published as a candidate, and every target region has it.

    Needs the machine proven and generalised, until the version is in its own region. One that is under way is waited for; a region that
    failed is tried again by itself; a version that failed as a whole at an earlier try is deleted and published again. What a failure
    leaves: the machine, and the version in whatever state, for the next try.
    """
    definition = definition_of(image_set)
    present = await azure.galleries.get_version(definition, refresh.version)
    if present is not None:
        _assert_ours(present, refresh)
        present = await _usable_or_removed(azure, image_set, refresh, present)
    regions = [await _region(azure, image_set, region) for region in image_set.publish.regions]
    if present is None:
        spec = await _version_spec(azure, image_set, refresh, notes, regions)
        await azure.galleries.begin_create_version(definition, spec)
    timeout_s = image_set.publish.timeout_minutes * 60
    return candidate_of(
        await ensure_replicated(azure, definition, refresh.version, regions, timeout_s, progress=progress)
    )


# Deciding


async def ensure_decided(azure: Azure, image_set: ImageSet, refresh: Refresh, decision: Decision) -> Candidate:
    """The decision stands in the version's tags. One about the same evidence that stands there already stays as it is."""
    candidate = candidate_of(await _own_version(azure, image_set, refresh))
    standing = candidate.decision
    if candidate.state in ("promoted", "rejected") or (standing is not None and standing.digest == decision.digest):
        return candidate
    words = f"{'approve' if decision.approved else 'reject'}: {decision.reason.strip()}"
    more = {
        tags.ROLL_OUT_AFTER: tags.format_time(decision.not_before) if decision.not_before else "",
        tags.RELEASE_METHOD: decision.release_method,
        tags.APPROVED_FROM: decision.given_from.strip()[: tags.LONGEST_VALUE],
    }
    return await _update(
        azure,
        image_set,
        refresh,
        {
            tags.STATE: "approved" if decision.approved else "candidate",
            tags.DECISION: words[: tags.LONGEST_VALUE],
            tags.APPROVED_BY: decision.by.strip()[: tags.LONGEST_VALUE],
            tags.APPROVED_AT: tags.format_time(decision.at),
            tags.APPROVED_DIGEST: decision.digest,
            **{name: value for name, value in more.items() if value or name in candidate.tags},
        },
    )


async def ensure_promoted(azure: Azure, image_set: ImageSet, refresh: Refresh, digest: str) -> Candidate:
    """Everyone gets this version from now on. Raises PromotionRefused unless the evidence with this digest was approved."""
    candidate = candidate_of(await _own_version(azure, image_set, refresh))
    if candidate.state == "promoted" and not candidate.excluded:
        return candidate
    decision = candidate.decision
    if candidate.state == "rejected" or decision is None or not decision.approved or decision.digest != digest:
        _refuse(candidate, digest)
    return await _update(azure, image_set, refresh, {tags.STATE: "promoted"}, excluded=False)


async def ensure_ring_approved(
    azure: Azure, image_set: ImageSet, refresh: Refresh, ring: str, by: str, release_method: str
) -> None:
    """It stands on the version that somebody has let it into this ring: nobody is asked that again."""
    value = f"{tags.format_time(azure.clock.now())}|{release_method}|{by.strip()}"[: tags.LONGEST_VALUE]
    await _update(azure, image_set, refresh, {tags.RING + ring: value})


async def ensure_promoted_by_hand(azure: Azure, image_set: ImageSet, version: str, by: str, reason: str) -> Candidate:
    """Everyone gets this version from now on; who says so and why stands on it.

    The approval that it needs is the one that stands on it, with the digest of its evidence. Raises PromotionRefused without one.
    """
    found = await find_version(azure, image_set, version)
    if found is None:
        raise PromotionRefused(
            f"There is no version {version} of {image_set.name}. Nothing was changed. What to do: choose one from the table "
            f"versions-{image_set.name}."
        )
    if found.state == "promoted" and not found.excluded:
        return found
    if found.state != "approved" or found.decision is None or not found.decision.approved:
        raise PromotionRefused(
            f"{image_set.name} {version} is {found.state}, and only an approved version is promoted. Nothing was changed. "
            "What to do: run refresh-image, which asks for the approval; or choose an approved version."
        )
    words = f"{tags.format_time(azure.clock.now())}|{by.strip()}|{reason.strip()}"[: tags.LONGEST_VALUE]
    owner = Refresh(found.refresh, version, found.tags.get(tags.SOURCE, ""), image_set.name)
    named = {tags.STATE: "promoted", tags.PROMOTED_BY: words}
    return await _update(azure, image_set, owner, named, excluded=False)


async def ensure_rejected(azure: Azure, image_set: ImageSet, refresh: Refresh) -> Candidate:
    """Nobody gets this version, and it says so. It stays in the gallery with its evidence until retention removes it."""
    return await _update(azure, image_set, refresh, {tags.STATE: "rejected"}, excluded=True)


async def ensure_withdrawn(azure: Azure, image_set: ImageSet, version: str, by: str, reason: str) -> None:
    """A version that served and is rolled back from: nobody gets it any more, and it says who decided that, when and why.

    One that is not in the gallery any more, or was withdrawn before, is left as it is.
    """
    found = await find_version(azure, image_set, version)
    if found is None or (tags.WITHDRAWN in found.tags and found.excluded):
        return
    words = f"{tags.format_time(azure.clock.now())}|{by.strip()}|{reason.strip()}"[: tags.LONGEST_VALUE]
    await azure.galleries.update_version(
        definition_of(image_set),
        version,
        exclude_from_latest=True,
        set_tags={tags.STATE: "rejected", tags.WITHDRAWN: words},
    )
    seen = await find_version(azure, image_set, version)
    if seen is None or not seen.excluded or seen.state != "rejected":
        raise_failed(
            "withdraw the version",
            f"{image_set.name} {version}",
            "NotExcluded",
            "It was excluded, and reads otherwise now.",
        )
    log.info("%s %s is excluded from latest, and marked as rolled back: %s", image_set.name, version, reason)


# Parts


def _refuse(candidate: Candidate, digest: str) -> NoReturn:
    decision = candidate.decision
    standing = (
        f"{decision.by} {'approved' if decision.approved else 'rejected'} evidence {decision.digest[:12]}"
        if decision
        else "nobody has decided anything"
    )
    raise PromotionRefused(
        f"Version {candidate.version} was not promoted: it is {candidate.state}, and needs an approval of evidence {digest[:12]}; "
        f"{standing}. What to do: start the run again, and decide on the evidence that it shows."
    )


async def _update(
    azure: Azure,
    image_set: ImageSet,
    refresh: Refresh,
    set_tags: Mapping[str, str],
    *,
    excluded: bool | None = None,
) -> Candidate:
    """Changes the version in one write, and reads back what is there."""
    await _own_version(azure, image_set, refresh)
    await azure.galleries.update_version(
        definition_of(image_set), refresh.version, exclude_from_latest=excluded, set_tags=set_tags
    )
    candidate = candidate_of(seen := await _own_version(azure, image_set, refresh))
    if any((seen.tags or {}).get(name) != value for name, value in set_tags.items()):
        raise_failed("note the decision", candidate.version_id, "TagsLost", "It was written, and reads otherwise now.")
    return candidate


async def _own_version(azure: Azure, image_set: ImageSet, refresh: Refresh) -> GalleryImageVersion:
    definition = definition_of(image_set)
    version = await azure.galleries.get_version(definition, refresh.version, replication=False)
    if version is None:
        raise_failed(
            "read the image version", f"{definition}/{refresh.version}", "ResourceNotFound", "There is no such version."
        )
    _assert_ours(version, refresh)
    return version


def _assert_ours(version: GalleryImageVersion, refresh: Refresh) -> None:
    owner = (version.tags or {}).get(tags.REFRESH)
    if owner != refresh.id:
        raise AzureFailure(
            "use the image version",
            version.id or refresh.version,
            "VersionTaken",
            f"It was made by {owner or 'somebody else'}, not by {refresh.id}.",
            retryable=False,
            remedy="It was left alone. End this refresh, and begin another: it takes the next number.",
        )


async def _usable_or_removed(
    azure: Azure, image_set: ImageSet, refresh: Refresh, version: GalleryImageVersion
) -> GalleryImageVersion | None:
    """The version if it is published or on its way; None once one that failed, or was being deleted, is gone."""
    definition = definition_of(image_set)
    if failed_as_a_whole(version):
        log.warning("%s failed at an earlier try: deleted, and published again", refresh.version)
        if await publishable_disk_id(azure, image_set, refresh) is None:
            await publishable_vm_id(azure, image_set, refresh)  # nothing is deleted that could not be made again
        await azure.galleries.delete_version(definition, refresh.version)
        return None
    if provisioning_of(version) != "Deleting":
        return version

    async def gone() -> bool | None:
        return True if await azure.galleries.get_version(definition, refresh.version) is None else None

    await wait_until(gone, "see the image version deleted", refresh.version, azure.clock, 3600, 30)
    return None


async def _version_spec(
    azure: Azure, image_set: ImageSet, refresh: Refresh, notes: str, regions: Sequence[Region]
) -> VersionSpec:
    publish = image_set.publish
    anchor = await definition_tags(azure, image_set, refresh)
    named = {
        **refresh.tags,
        tags.STATE: "candidate",
        tags.SOURCE: refresh.source,
        **{name: anchor[name] for name in tag_names(anchor)},
    }
    machine = await own_vm(azure, image_set, refresh)
    named |= {name: value for name, value in (machine.tags or {}).items() if name.startswith(tags.BY_HAND)}
    if refresh.started_by:
        named[tags.STARTED_BY] = refresh.started_by
    why = notes.strip() or anchor.get(tags.NOTES, "")
    if why:
        named[tags.NOTES] = why[: tags.LONGEST_VALUE]
    disk = await publishable_disk_id(azure, image_set, refresh)
    return VersionSpec(
        version=refresh.version,
        location=image_set.location,
        source_vm_id="" if disk else await publishable_vm_id(azure, image_set, refresh),
        source_disk_id=disk,
        regions=tuple(regions),
        storage_account_type=publish.storage_account_type,
        end_of_life=azure.clock.now() + timedelta(days=publish.end_of_life_days),
        tags=named,
        exclude_from_latest=True,
    )


async def _region(azure: Azure, image_set: ImageSet, region: PublishRegion) -> Region:
    """Where the version goes, and in how many replicas. Hosts are made in the image set's own region; elsewhere one replica will do."""
    if region.replicas != "auto":
        return Region(region.name, region.replicas)
    if plain(region.name) != plain(image_set.location):
        return Region(region.name, 1)
    at_once = [sum([await _surge(azure, image_set, pool) for pool in ring.pools]) for ring in image_set.rings]
    return Region(region.name, replicas_for(max(at_once, default=1)))


async def _surge(azure: Azure, image_set: ImageSet, pool: Pool) -> int:
    hosts = await azure.desktops.list_session_hosts(pool.resource_group, pool.name)
    return image_set.rollout.surge_hosts(max(len(hosts), 1))


def replicas_for(created_at_once: int) -> int:
    """How many replicas a region needs: 1 for every 20 machines that are made at the same time; a version may have 100.

    Microsoft's page "Store and share images in an Azure Compute Gallery" names 50 machines a replica: this is the careful side of it.
    """
    return min(max(1, -(-created_at_once // HOSTS_PER_REPLICA)), MOST_REPLICAS)


def candidate_of(version: GalleryImageVersion) -> Candidate:
    """What Evergold knows of a version, from what stands on it."""
    named = version.tags or {}
    profile = version.properties.publishing_profile if version.properties else None
    excluded = bool(profile and profile.exclude_from_latest)
    state = next((known for known in STATES if known == named.get(tags.STATE)), None)
    return Candidate(
        version=version.name or "",
        version_id=version.id or "",
        refresh=named.get(tags.REFRESH, ""),
        state=state or ("candidate" if excluded else "promoted"),
        excluded=excluded,
        manifest=from_tags(named),
        decision=_decision(named),
        tags=dict(named),
    )


def _decision(named: Mapping[str, str]) -> Decision | None:
    """The decision in a version's tags; None where there is none that is whole."""
    word, _, reason = named.get(tags.DECISION, "").partition(":")
    at = tags.parse_time(named.get(tags.APPROVED_AT))
    digest = named.get(tags.APPROVED_DIGEST)
    if word not in ("approve", "reject") or at is None or not digest:
        return None
    return Decision(
        approved=word == "approve",
        by=named.get(tags.APPROVED_BY, ""),
        at=at,
        digest=digest,
        reason=reason.strip(),
        not_before=tags.parse_time(named.get(tags.ROLL_OUT_AFTER)),
        release_method=next((each for each in RELEASE_METHODS if each == named.get(tags.RELEASE_METHOD)), ""),
        given_from=named.get(tags.APPROVED_FROM, ""),
    )
