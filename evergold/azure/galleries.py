"""Compute galleries: image definitions, their versions, and where those are replicated.

A version's provisioning says that Azure has it; it can be deployed in a region as soon as *that region's* replication is
Completed, which may be much later: `wait_until_settled` looks at the regions. Times are seconds of the bundle's clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from azure.mgmt.compute import models
from azure.mgmt.compute.aio import ComputeManagementClient

from evergold.azure.compute import PurchasePlan, merged
from evergold.azure.errors import explaining, found, gone, raise_failed
from evergold.azure.pipeline import Polling, wait_until
from evergold.clock import Clock

Progress = Callable[["Replication"], Awaitable[None]]
POLL_SECONDS = 60.0  # what Azure asks for itself; status reads of a gallery have a small bucket


@dataclass(frozen=True)
class Definition:
    """Which image definition: versions belong to it."""

    resource_group: str
    gallery: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource_group}/{self.gallery}/{self.name}"


@dataclass(frozen=True)
class Region:
    """A region to publish to, and in how many replicas."""

    name: str
    replicas: int = 1


@dataclass(frozen=True)
class VersionSpec:
    """An image version to publish.

    Attributes:
        version: x.y.z.
        source_vm_id: the generalised VM it is captured from; "" where it is made of a disk.
        source_disk_id: instead of a VM: a disk whose Windows is generalised.
        regions: must contain `location`.
        end_of_life: for people to read; Azure goes on serving the version after it.

    """

    version: str
    location: str
    source_vm_id: str
    regions: tuple[Region, ...]
    storage_account_type: str = "Standard_LRS"
    end_of_life: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    exclude_from_latest: bool = True
    source_disk_id: str | None = None


@dataclass(frozen=True)
class RegionState:
    """How far replication to a region is: Unknown, Replicating, Completed or Failed, and its progress in percent."""

    region: str
    state: str
    progress: int
    details: str = ""


@dataclass(frozen=True)
class Replication:
    """Replication of one version, region by region."""

    regions: tuple[RegionState, ...]

    def state(self, region: str) -> RegionState | None:
        """One region, by its name ("westus") or display name ("West US"); None if Azure does not list it."""
        return next((state for state in self.regions if plain(state.region) == plain(region)), None)

    @property
    def percent(self) -> float:
        """How far it is in all; 0 as long as Azure lists no region."""
        return sum(region.progress for region in self.regions) / max(len(self.regions), 1)

    def completed(self, regions: Sequence[str]) -> bool:
        """Whether every one of these regions is ready to deploy from."""
        states = [self.state(region) for region in regions]
        return all(state is not None and state.state == "Completed" for state in states)


def plain(region: str) -> str:
    """A region's name in the form to compare: Azure uses both "westus" and "West US"."""
    return region.replace(" ", "").casefold()


def replication_of(version: models.GalleryImageVersion) -> Replication:
    """The replication in a version that was read with it; empty where Azure gave none."""
    status = version.properties.replication_status if version.properties else None
    return Replication(
        tuple(
            RegionState(entry.region or "", _text(entry.state) or "Unknown", entry.progress or 0, entry.details or "")
            for entry in (status.summary if status else None) or []
        )
    )


def provisioning_of(version: models.GalleryImageVersion) -> str:
    """What Azure says of the version itself: Creating, Updating, Succeeded, Failed, Deleting; "" where it says nothing."""
    return _text(version.properties.provisioning_state if version.properties else None)


def target_regions(version: models.GalleryImageVersion) -> set[str]:
    """Where the version is to be, ready there or not, as `plain` names."""
    profile = version.properties.publishing_profile if version.properties else None
    return {plain(region.name) for region in (profile.target_regions if profile else None) or []}


class Galleries:
    """Compute galleries in one subscription."""

    def __init__(self, client: ComputeManagementClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def get_gallery(self, resource_group: str, name: str) -> models.Gallery | None:
        """The gallery, or None."""
        return await found(
            lambda: self._client.galleries.get(resource_group, name), "read the gallery", f"{resource_group}/{name}"
        )

    async def get_definition(self, definition: Definition) -> models.GalleryImage | None:
        """The image definition, or None."""
        return await found(
            lambda: self._client.gallery_images.get(definition.resource_group, definition.gallery, definition.name),
            "read the image definition",
            str(definition),
        )

    async def purchase_plan(self, definition: Definition) -> PurchasePlan | None:
        """The plan that images of the definition are sold under, which each machine made from them has to name; None where they are not."""
        image = await self.get_definition(definition)
        plan = image.properties.purchase_plan if image is not None and image.properties else None
        if plan is None or not (plan.publisher and plan.product and plan.name):
            return None
        return PurchasePlan(plan.publisher, plan.product, plan.name)

    async def list_definitions(self, resource_group: str, gallery: str) -> list[models.GalleryImage]:
        """Every image definition of the gallery, with its tags."""
        with explaining("list the image definitions", f"{resource_group}/{gallery}"):
            return [each async for each in self._client.gallery_images.list_by_gallery(resource_group, gallery)]

    async def update_definition_tags(
        self,
        definition: Definition,
        set_tags: Mapping[str, str],
        remove: tuple[str, ...] = (),
        timeout_seconds: float = 600,
    ) -> dict[str, str]:
        """Set and remove tags of the definition, leaving the others; returns what it has now. Waits until that is done."""
        what, label = "tag the image definition", str(definition)
        image = await self.get_definition(definition)
        if image is None:
            raise_failed(what, label, "ResourceNotFound", "There is no such image definition.")
        wanted = merged(image.tags, set_tags, remove)
        if wanted != (image.tags or {}):
            with explaining(what, label):
                poller = await self._client.gallery_images.begin_update(
                    definition.resource_group,
                    definition.gallery,
                    definition.name,
                    models.GalleryImageUpdate(tags=wanted),
                    polling=self._polling(what, label, timeout_seconds, interval=5),
                )
                await poller.result()
        return wanted

    async def get_version(
        self, definition: Definition, version: str, *, replication: bool = True
    ) -> models.GalleryImageVersion | None:
        """The version, with its replication unless told otherwise; None if there is none."""
        return await found(
            lambda: self._client.gallery_image_versions.get(
                definition.resource_group,
                definition.gallery,
                definition.name,
                version,
                expand="ReplicationStatus" if replication else None,
            ),
            "read the image version",
            f"{definition}/{version}",
        )

    async def list_versions(self, definition: Definition) -> list[models.GalleryImageVersion]:
        """Every version of the definition, in no particular order, without replication."""
        with explaining("list the image versions", str(definition)):
            versions = self._client.gallery_image_versions.list_by_gallery_image(
                definition.resource_group, definition.gallery, definition.name
            )
            return [version async for version in versions]

    async def begin_create_version(self, definition: Definition, spec: VersionSpec) -> bool:
        """Ask for the version to be published; False if there is one of that number already, which is left untouched."""
        if await self.get_version(definition, spec.version, replication=False) is not None:
            return False
        with explaining("publish the image version", f"{definition}/{spec.version}"):
            await self._client.gallery_image_versions.begin_create_or_update(
                definition.resource_group,
                definition.gallery,
                definition.name,
                spec.version,
                version_body(spec),
                polling=False,
            )
        return True

    async def wait_until_settled(
        self,
        definition: Definition,
        version: str,
        timeout_seconds: float,
        regions: Collection[str] | None = None,
        interval: float = POLL_SECONDS,
        progress: Progress | None = None,
    ) -> models.GalleryImageVersion:
        """The version, once Azure does nothing more about it: it is Failed, or Succeeded with every region Completed or Failed.

        `regions` are those that it was last told to go to (`plain` names): an answer from before that is not believed. `progress` is told
        after every look.
        """
        what, label = "publish the image version", f"{definition}/{version}"

        async def settled() -> models.GalleryImageVersion | None:
            image = await self.get_version(definition, version)
            if image is None:
                raise_failed(what, label, "ResourceNotFound", "The version is gone.")
            replication, targets = replication_of(image), target_regions(image)
            if progress is not None:
                await progress(replication)
            provisioning = provisioning_of(image)
            if provisioning not in ("Succeeded", "Failed") or (regions is not None and targets != set(regions)):
                return None
            states = [replication.state(region) for region in targets]
            ended = all(state is not None and state.state in ("Completed", "Failed") for state in states)
            return image if provisioning == "Failed" or ended else None

        image: models.GalleryImageVersion = await wait_until(
            settled, what, label, self._clock, timeout_seconds, interval
        )
        return image

    async def begin_change_regions(
        self, definition: Definition, version: str, *, without: Collection[str] = (), add: Sequence[Region] = ()
    ) -> set[str]:
        """Ask for the version to be taken out of regions, and copied to others; returns where it is to be then, as `plain` names.

        The version's own region cannot be taken out. Regions that are in neither list stay as they are.
        """
        what, label = "change the regions of the image version", f"{definition}/{version}"
        image = await self.get_version(definition, version, replication=False)
        profile = image.properties.publishing_profile if image is not None and image.properties else None
        if image is None or profile is None:
            raise_failed(what, label, "ResourceNotFound", "There is no such image version.")
        out = {plain(region) for region in (*without, *(region.name for region in add))}
        kept = [region for region in profile.target_regions or [] if plain(region.name) not in out]
        profile.target_regions = [*kept, *_target_regions(add, _text(profile.storage_account_type))]
        with explaining(what, label):
            await self._client.gallery_image_versions.begin_create_or_update(
                definition.resource_group, definition.gallery, definition.name, version, image, polling=False
            )
        return target_regions(image)

    async def update_version(
        self,
        definition: Definition,
        version: str,
        *,
        exclude_from_latest: bool | None = None,
        set_tags: Mapping[str, str] | None = None,
        remove: tuple[str, ...] = (),
        timeout_seconds: float = 3600,
    ) -> models.GalleryImageVersion:
        """Change what can be changed of a version, leaving the rest as it is, and wait until that is done.

        Reads the version, and puts it back changed, as Azure's own command line does; sends nothing if it is so already.
        """
        what, label = "update the image version", f"{definition}/{version}"
        image = await self.get_version(definition, version, replication=False)
        if image is None:
            raise_failed(what, label, "ResourceNotFound", "There is no such image version.")
        tags = merged(image.tags, set_tags or {}, remove)
        profile = image.properties.publishing_profile if image.properties else None
        excluded = bool(profile and profile.exclude_from_latest)
        wanted = excluded if exclude_from_latest is None else exclude_from_latest
        if tags == (image.tags or {}) and wanted == excluded:
            return image
        image.tags = tags
        if profile is not None:
            profile.exclude_from_latest = wanted
        with explaining(what, label):
            poller = await self._client.gallery_image_versions.begin_create_or_update(
                definition.resource_group,
                definition.gallery,
                definition.name,
                version,
                image,
                polling=self._polling(what, label, timeout_seconds, interval=10),
            )
            return await poller.result()

    async def delete_version(self, definition: Definition, version: str, timeout_seconds: float = 3600) -> None:
        """Delete the version and wait; that there is none counts as done."""
        what, label = "delete the image version", f"{definition}/{version}"

        async def delete() -> None:
            poller = await self._client.gallery_image_versions.begin_delete(
                definition.resource_group,
                definition.gallery,
                definition.name,
                version,
                polling=self._polling(what, label, timeout_seconds),
            )
            await poller.result()

        await gone(delete, what, label)

    def _polling(self, what: str, label: str, timeout_seconds: float, interval: float = POLL_SECONDS) -> Any:
        return Polling(what, label, self._clock, timeout_seconds, interval)


def version_body(spec: VersionSpec) -> models.GalleryImageVersion:
    """The request body for a new version."""
    return models.GalleryImageVersion(
        location=spec.location,
        tags=dict(spec.tags),
        properties=models.GalleryImageVersionProperties(
            storage_profile=_version_source(spec),
            publishing_profile=models.GalleryImageVersionPublishingProfile(
                exclude_from_latest=spec.exclude_from_latest,
                end_of_life_date=spec.end_of_life,
                storage_account_type=spec.storage_account_type,
                target_regions=_target_regions(spec.regions, spec.storage_account_type),
            ),
            safety_profile=models.GalleryImageVersionSafetyProfile(
                allow_deletion_of_replicated_locations=True, block_deletion_before_end_of_life=False
            ),
        ),
    )


def _target_regions(regions: Sequence[Region], storage_account_type: str) -> list[models.TargetRegion]:
    return [
        models.TargetRegion(
            name=region.name, regional_replica_count=region.replicas, storage_account_type=storage_account_type
        )
        for region in regions
    ]


def _version_source(spec: VersionSpec) -> models.GalleryImageVersionStorageProfile:
    if spec.source_disk_id is None:
        whole = models.GalleryArtifactVersionFullSource(virtual_machine_id=spec.source_vm_id)
        return models.GalleryImageVersionStorageProfile(source=whole)
    disk = models.GalleryDiskImageSource(id=spec.source_disk_id)
    image = models.GalleryOSDiskImage(source=disk, host_caching="ReadWrite")
    return models.GalleryImageVersionStorageProfile(os_disk_image=image)


def _text(value: object) -> str:
    return str(getattr(value, "value", value) or "")
