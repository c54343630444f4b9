"""Compute Gallery: galleries, image definitions, image versions and their replication; and the marketplace beside it.

A version is built for a while, then each target region is filled at its own pace; it can be used in a region once that region is
Completed, not before. `latest` is the highest number that is not excluded and is replicated to the region. A region that failed stays so
until it is taken out of the target regions and added again, each with a PUT or PATCH.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from simulator.contents import Contents, Patch
from simulator.kernel.arm import (
    ArmError,
    ArmRequest,
    Json,
    Reply,
    Route,
    group_path,
    not_found,
    page,
    resource_id,
    same,
)
from simulator.scenario import Definition, Release, Version

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

REGIONS = {
    "westeurope": "West Europe",
    "northeurope": "North Europe",
    "germanywestcentral": "Germany West Central",
    "eastus": "East US",
}
INTERNAL_ERROR = "Failed with internal server error."
GALLERY = "Microsoft.Compute/galleries/{gallery}"
DEFINITION = GALLERY + "/images/{definition}"
VERSION = DEFINITION + "/versions/{version}"
UPDATE = timedelta(seconds=30)


def plain(region: str) -> str:
    """A region's name as in ids: "West Europe" is westeurope."""
    return region.replace(" ", "").lower()


@dataclass
class RegionCopy:
    """A version's copy in one region: when it begins and ends to be there, and whether it fails."""

    region: str
    replicas: int
    begins: datetime
    ends: datetime
    fails: bool = False

    def state(self, now: datetime) -> tuple[str, int]:
        """Replication state and progress in percent."""
        if now >= self.ends:
            return ("Failed", 50) if self.fails else ("Completed", 100)
        if now <= self.begins:
            return ("Replicating", 0)
        return ("Replicating", int(100 * (now - self.begins) / (self.ends - self.begins)))


@dataclass
class ImageVersion:
    """An image version."""

    id: str
    version: str
    definition: "ImageDefinition"
    contents: Contents
    location: str
    published: datetime
    source: str
    copies: list[RegionCopy]
    exclude_from_latest: bool
    storage: str = "Standard_LRS"
    end_of_life: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "Creating"
    may_lose_regions: bool = True

    @property
    def number(self) -> tuple[int, ...]:
        """Its parts, to compare."""
        return tuple(int(part) for part in self.version.split("."))

    def replicated(self, location: str, now: datetime) -> bool:
        """Whether it can be used in a region."""
        return any(plain(c.region) == plain(location) and c.state(now)[0] == "Completed" for c in self.copies)

    def body(self, now: datetime, *, expanded: bool) -> Json:
        """The resource as a GET shows it; `expanded` adds the replication status."""
        publishing: Json = {
            "targetRegions": [
                {
                    "name": REGIONS.get(plain(copy.region), copy.region),
                    "regionalReplicaCount": copy.replicas,
                    "storageAccountType": self.storage,
                    "excludeFromLatest": False,
                }
                for copy in self.copies
            ],
            "replicaCount": 1,
            "excludeFromLatest": self.exclude_from_latest,
            "publishedDate": self.published.isoformat(),
            "storageAccountType": self.storage,
            "replicationMode": "Full",
        }
        if self.end_of_life:
            publishing["endOfLifeDate"] = self.end_of_life
        of_disk = "/microsoft.compute/disks/" in self.source.lower()
        properties: Json = {
            "publishingProfile": publishing,
            "storageProfile": {
                "source": {"virtualMachineId": self.source} if self.source and not of_disk else {},
                "osDiskImage": {
                    "sizeInGB": 127,
                    "hostCaching": "ReadWrite",
                    "source": {"id": self.source} if of_disk else {},
                },
            },
            "safetyProfile": {
                "reportedForPolicyViolation": False,
                "allowDeletionOfReplicatedLocations": self.may_lose_regions,
                "blockDeletionBeforeEndOfLife": False,
            },
            "provisioningState": self.state,
        }
        if expanded:
            properties["replicationStatus"] = self._replication(now)
        return {
            "id": self.id,
            "name": self.version,
            "type": "Microsoft.Compute/galleries/images/versions",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": properties,
        }

    def _replication(self, now: datetime) -> Json:
        summary: list[Json] = []
        for copy in self.copies:
            state, progress = copy.state(now)
            name = REGIONS.get(plain(copy.region), copy.region)
            details = INTERNAL_ERROR if state == "Failed" else ""
            summary.append({"region": name, "state": state, "details": details, "progress": progress})
        states = {each["state"] for each in summary}
        together = "Failed" if "Failed" in states else "InProgress" if "Replicating" in states else "Completed"
        return {"aggregatedState": together, "summary": summary}


@dataclass
class ImageDefinition:
    """An image definition and its versions."""

    id: str
    group: str
    gallery: str
    name: str
    location: str
    security_type: str
    generation: str
    architecture: str = "x64"
    disk_controllers: str = ""
    plan: str | None = None  # "publisher:product:plan" that its images are sold under
    versions: dict[str, ImageVersion] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def body(self) -> Json:
        """The resource as a GET shows it."""
        publisher, product, name = (self.plan or "::").split(":")
        sold = {"purchasePlan": {"publisher": publisher, "product": product, "name": name}} if self.plan else {}
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Compute/galleries/images",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": {
                "osType": "Windows",
                "osState": "Generalized",
                "hyperVGeneration": self.generation,
                "architecture": self.architecture,
                "identifier": {"publisher": "contoso", "offer": self.gallery, "sku": self.name},
                "features": self._features(),
                "recommended": {"vCPUs": {"min": 1, "max": 16}, "memory": {"min": 1, "max": 32}},
                "provisioningState": "Succeeded",
                **sold,
            },
        }

    def _features(self) -> list[Json]:
        told = {"SecurityType": self.security_type, "DiskControllerTypes": self.disk_controllers}
        return [{"name": name, "value": value} for name, value in told.items() if value]


class Galleries:
    """All galleries of the subscription, and the marketplace."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._definitions: dict[str, ImageDefinition] = {}
        self._copied: Counter[str] = Counter()  # how often a copy was begun in a region

    def populate(self) -> None:
        """Makes the scenario's definitions and the versions that are there already."""
        for given in self._cloud.scenario.definitions:
            definition = self._add_definition(given)
            for version in given.versions:
                self._add_version(definition, version)

    def routes(self) -> list[Route]:
        """Galleries, definitions, versions, and the marketplace's versions."""
        skus = (
            "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/publishers/{publisher}"
            "/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions"
        )
        read = "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read"
        return [
            Route("GET", group_path(GALLERY), self._get_gallery),
            Route("GET", group_path(GALLERY + "/images"), self._list_definitions),
            Route("GET", group_path(DEFINITION), self._get_definition),
            Route(
                "PATCH",
                group_path(DEFINITION),
                self._patch_definition,
                action="Microsoft.Compute/galleries/images/write",
            ),
            Route(
                "PUT", group_path(DEFINITION), self._patch_definition, action="Microsoft.Compute/galleries/images/write"
            ),
            Route("GET", group_path(DEFINITION + "/versions"), self._list_versions),
            Route("GET", group_path(VERSION), self._get_version),
            Route("PUT", group_path(VERSION), self._put_version),
            Route("PATCH", group_path(VERSION), self._patch_version),
            Route("DELETE", group_path(VERSION), self._delete_version),
            Route("GET", skus, self._list_marketplace, action=read),
            Route("GET", skus + "/{version}", self._get_marketplace, action=read),
        ]

    def usable(self, image_id: str, location: str) -> ImageVersion:
        """The version that a VM in `location` gets for an image reference: a version's id, or a definition's for its latest."""
        now = self._cloud.world.now
        match = re.fullmatch(r"(.*/images/[^/]+)(?:/versions/([^/]+))?", image_id, re.IGNORECASE)
        definition = self._definitions.get(match[1].lower()) if match else None
        if match is None or definition is None:
            raise ArmError(404, "NotFound", f"The resource {image_id} was not found.", target="imageReference")
        wanted = match[2] or "latest"
        if wanted == "latest":
            usable = [
                v for v in definition.versions.values() if v.replicated(location, now) and not v.exclude_from_latest
            ]
            if not usable:
                raise ArmError(
                    400,
                    "InvalidParameter",
                    f"In region {location}, the following list of Shared Image Gallery images referenced from the deployment template "
                    f"were not found: {definition.id}/versions/latest. Please check that at least one image has been replicated to "
                    f"{location} or that the 'exclude from latest' flag is set to false.",
                )
            return max(usable, key=lambda version: version.number)
        version = definition.versions.get(wanted)
        if version is None or not version.replicated(location, now):
            raise ArmError(
                404,
                "GalleryImageNotFound",
                f'"The gallery image {image_id} is not available in {location} region. Please contact image owner to replicate to '
                'this region, or change your requested region."',
                target="imageReference",
            )
        return version

    def find(self, version_id: str) -> ImageVersion | None:
        """The version with this id, whatever its state."""
        for definition in self._definitions.values():
            for version in definition.versions.values():
                if same(version.id, version_id):
                    return version
        return None

    def definitions(self) -> list[ImageDefinition]:
        """Every image definition."""
        return list(self._definitions.values())

    def version_named(self, name: str) -> ImageVersion:
        """A version written "gallery/definition/x.y.z", as scenarios do."""
        gallery, definition, number = name.split("/")
        for each in self._definitions.values():
            if (each.gallery, each.name) == (gallery, definition):
                return each.versions[number]
        raise KeyError(name)

    def marketplace(self, publisher: str, offer: str, sku: str, version: str, location: str) -> Contents:
        """What is in a marketplace image. Raises where there is none."""
        releases = self._releases(publisher, offer, sku)
        if version == "latest" and releases:
            return contents_of(releases[-1])
        for release in releases:
            if release.version == version:
                return contents_of(release)
        raise ArmError(
            404,
            "PlatformImageNotFound",
            f"The platform image '{publisher}:{offer}:{sku}:{version}' is not available. Verify that all fields in the storage "
            f"profile are correct. (location {location})",
            target="imageReference",
        )

    def refuse_unbought(self, image: Json, plan: Json | None, vm: str) -> None:
        """Raises where an image is sold, and the order of a VM does not name its plan, or nobody has accepted the plan's terms."""
        release: Release | None = None
        if image.get("id"):
            found = self._definitions.get(str(image["id"]).lower().partition("/versions/")[0])
            wanted = found.plan if found is not None else None
        else:
            parts = tuple(str(image.get(part) or "") for part in ("publisher", "offer", "sku"))
            release = next((r for r in reversed(self._releases(*parts)) if r.plan), None)
            wanted = f"{release.publisher}:{release.offer}:{release.plan}" if release else None
        if wanted is None:
            return
        given = ":".join(str((plan or {}).get(part) or "") for part in ("publisher", "product", "name"))
        if given.lower() != wanted.lower():
            raise ArmError(
                400,
                "VMMarketplaceInvalidInput",
                "Creating a virtual machine from Marketplace image or a custom image sourced from a Marketplace image requires Plan "
                f"information in the request. VM: '{vm}'.",
            )
        if release is not None and not release.terms_accepted:
            raise ArmError(
                400,
                "MarketplacePurchaseEligibilityFailed",
                f"Marketplace purchase eligibility check returned errors. See inner errors for details. (plan {wanted})",
            )

    def _add_definition(self, given: Definition) -> ImageDefinition:
        path = f"Microsoft.Compute/galleries/{given.gallery}/images/{given.name}"
        found = resource_id(self._cloud.scenario.subscription_id, given.resource_group, path)
        made = ImageDefinition(
            found,
            given.resource_group,
            given.gallery,
            given.name,
            given.location,
            given.security_type,
            given.hyper_v_generation,
            given.architecture,
            given.disk_controllers,
            given.plan,
        )
        self._definitions[found.lower()] = made
        return made

    def _add_version(self, definition: ImageDefinition, given: Version) -> None:
        past = self._cloud.world.now - timedelta(days=30)
        definition.versions[given.version] = ImageVersion(
            f"{definition.id}/versions/{given.version}",
            given.version,
            definition,
            contents_of(given).changed(image_state="IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE", generalized=True),
            definition.location,
            past,
            "",
            [RegionCopy(region, 1, past, past) for region in given.regions],
            given.exclude_from_latest,
            tags=dict(given.tags),
            state="Succeeded",
        )

    def _releases(self, publisher: str, offer: str, sku: str) -> list[Release]:
        wanted = (publisher.lower(), offer.lower(), sku.lower())
        found = [
            r
            for r in self._cloud.scenario.marketplace
            if (r.publisher.lower(), r.offer.lower(), r.sku.lower()) == wanted
        ]
        return sorted(found, key=lambda release: tuple(int(part) for part in release.version.split(".")))

    def _definition(self, request: ArmRequest) -> ImageDefinition:
        path = f"Microsoft.Compute/galleries/{request['gallery']}/images/{request['definition']}"
        found = self._definitions.get(resource_id(request["subscription"], request["group"], path).lower())
        if found is None:
            raise not_found(path, request["group"])
        return found

    def _version(self, request: ArmRequest) -> ImageVersion:
        found = self._definition(request).versions.get(request["version"])
        if found is None:
            path = f"Microsoft.Compute/galleries/{request['gallery']}/images/{request['definition']}/versions/{request['version']}"
            raise not_found(path, request["group"])
        return found

    def _get_gallery(self, request: ArmRequest) -> Reply:
        inside = [
            d
            for d in self._definitions.values()
            if d.gallery.lower() == request["gallery"].lower() and d.group.lower() == request["group"].lower()
        ]
        if not inside:
            raise not_found(f"Microsoft.Compute/galleries/{request['gallery']}", request["group"])
        found = inside[0]
        body = {
            "id": found.id.partition("/images/")[0],
            "name": found.gallery,
            "type": "Microsoft.Compute/galleries",
            "location": found.location,
            "tags": {},
            "properties": {"provisioningState": "Succeeded", "identifier": {"uniqueName": f"{found.gallery}-unique"}},
        }
        return Reply(200, body)

    def _get_definition(self, request: ArmRequest) -> Reply:
        return Reply(200, self._definition(request).body())

    def _list_definitions(self, request: ArmRequest) -> Reply:
        self._get_gallery(request)
        gallery, group = request["gallery"].lower(), request["group"].lower()
        inside = [d for d in self._definitions.values() if (d.gallery.lower(), d.group.lower()) == (gallery, group)]
        return page(request, [definition.body() for definition in inside])

    def _patch_definition(self, request: ArmRequest) -> Reply:
        definition = self._definition(request)
        if "tags" in request.body:
            definition.tags = dict(request.body["tags"] or {})
        return self._written(request, 200, definition.body, definition.location, 1, lambda: None)

    def _list_versions(self, request: ArmRequest) -> Reply:
        now = self._cloud.world.now
        return page(request, [v.body(now, expanded=False) for v in self._definition(request).versions.values()])

    def _get_version(self, request: ArmRequest) -> Reply:
        expanded = request.query.get("$expand", "").lower() == "replicationstatus"
        return Reply(200, self._version(request).body(self._cloud.world.now, expanded=expanded))

    def _put_version(self, request: ArmRequest) -> Reply:
        definition = self._definition(request)
        existing = definition.versions.get(request["version"])
        if existing is not None:
            return self._update_version(request, existing)
        properties = request.body["properties"]
        storage = properties.get("storageProfile") or {}
        of_disk = (storage.get("osDiskImage") or {}).get("source") or {}
        contents, source = self._capture(definition, storage.get("source") or of_disk)
        version = self._build_version(request, definition, contents, source)
        definition.versions[version.version] = version
        return self._filled(request, 201, version, version.copies)

    def _filled(self, request: ArmRequest, status: int, version: ImageVersion, begun: Sequence[RegionCopy]) -> Reply:
        """The answer to a write that begins copies: it has ended, well or badly, when they have."""
        seconds = max((copy.ends - self._cloud.world.now).total_seconds() for copy in begun)

        def finish() -> None:
            failing = [plain(copy.region) for copy in version.copies if copy.fails]
            version.state = "Failed" if failing else "Succeeded"
            if failing:
                regions = ", ".join(f"{{region:{region}, detail:{INTERNAL_ERROR}}}" for region in failing)
                raise ArmError(
                    500,
                    "ReplicationJobsNotCompleted",
                    f"Gallery replication jobs failed in one or more regions. The failing regions' details are as follows: '{regions}'. "
                    "If retry does not work, then please do an update by removing the failed regions and update again by adding them back.",
                )

        return self._written(
            request,
            status,
            lambda: version.body(self._cloud.world.now, expanded=False),
            version.location,
            seconds,
            finish,
        )

    def _build_version(
        self, request: ArmRequest, definition: ImageDefinition, contents: Contents, source: str
    ) -> ImageVersion:
        publishing = request.body["properties"].get("publishingProfile") or {}
        durations, chance = (
            self._cloud.scenario.durations,
            self._cloud.world.chance("publish", definition.id, request["version"]),
        )
        built = self._cloud.world.now + timedelta(seconds=chance.uniform(*durations.publish))
        targets = publishing.get("targetRegions") or [{"name": request.body["location"]}]
        copies = [self._copy(target, built, chance.uniform(*durations.replicate)) for target in targets]
        safety = request.body["properties"].get("safetyProfile") or {}
        return ImageVersion(
            f"{definition.id}/versions/{request['version']}",
            request["version"],
            definition,
            contents,
            request.body["location"],
            self._cloud.world.now,
            source,
            copies,
            bool(publishing.get("excludeFromLatest")),
            publishing.get("storageAccountType") or "Standard_LRS",
            publishing.get("endOfLifeDate"),
            dict(request.body.get("tags") or {}),
            may_lose_regions=bool(safety.get("allowDeletionOfReplicatedLocations")),
        )

    def _copy(self, target: Json, begins: datetime, seconds: float) -> RegionCopy:
        region = plain(target["name"])
        self._copied[region] += 1
        planned, failing = self._cloud.scenario.guest_failures.get("replicate", ""), False
        if region == planned.removeprefix("once:"):
            failing = not planned.startswith("once:") or self._copied[region] == 1
        ends = begins + timedelta(seconds=seconds)
        return RegionCopy(target["name"], int(target.get("regionalReplicaCount") or 1), begins, ends, fails=failing)

    def _capture(self, definition: ImageDefinition, source: Json) -> tuple[Contents, str]:
        vm_id = source.get("virtualMachineId") or source.get("id") or ""
        machine = self._cloud.compute.find(vm_id)
        if machine is not None:
            _refuse_unlike(definition, machine)
            return machine.contents, machine.id
        other = self.find(vm_id) or self._cloud.images.find(vm_id) or self._cloud.disks.find(vm_id)
        if other is None:
            raise ArmError(
                404, "ResourceNotFound", f"The source '{vm_id}' was not found.", target="galleryImageVersion"
            )
        return other.contents, vm_id

    def _update_version(self, request: ArmRequest, version: ImageVersion) -> Reply:
        properties = request.body.get("properties") or {}
        publishing = properties.get("publishingProfile") or {}
        targets, safety = publishing.get("targetRegions"), properties.get("safetyProfile") or {}
        if "allowDeletionOfReplicatedLocations" in safety:
            version.may_lose_regions = bool(safety["allowDeletionOfReplicatedLocations"])
        if targets:
            _refuse_regions(version, {plain(target["name"]) for target in targets})
        if "excludeFromLatest" in publishing:
            version.exclude_from_latest = bool(publishing["excludeFromLatest"])
        if publishing.get("endOfLifeDate"):
            version.end_of_life = publishing["endOfLifeDate"]
        if "tags" in request.body:
            version.tags = dict(request.body["tags"] or {})
        if targets and self._change_regions(version, targets):
            version.state = "Updating"
            now = self._cloud.world.now
            begun = [copy for copy in version.copies if copy.ends > now]
            return self._filled(request, 200, version, begun or [RegionCopy("", 0, now, now + UPDATE)])
        return self._written(
            request,
            200,
            lambda: version.body(self._cloud.world.now, expanded=False),
            version.location,
            UPDATE.total_seconds(),
            lambda: None,
        )

    def _change_regions(self, version: ImageVersion, targets: list[Json]) -> bool:
        """Ends the copies in regions that are no targets any more, and begins those in new ones; whether that was anything."""
        before = {plain(copy.region): copy for copy in version.copies}
        after = {plain(target["name"]): target for target in targets}
        for region in before.keys() & after.keys():
            before[region].replicas = int(after[region].get("regionalReplicaCount") or 1)
        kept = [copy for region, copy in before.items() if region in after]
        fresh = [self._copy_again(version, after[region]) for region in sorted(after.keys() - before.keys())]
        version.copies = [*kept, *fresh]
        return before.keys() != after.keys()

    def _copy_again(self, version: ImageVersion, target: Json) -> RegionCopy:
        chance = self._cloud.world.chance("replicate", version.id, target["name"], self._copied[plain(target["name"])])
        return self._copy(target, self._cloud.world.now, chance.uniform(*self._cloud.scenario.durations.replicate))

    def _patch_version(self, request: ArmRequest) -> Reply:
        return self._update_version(request, self._version(request))

    def _delete_version(self, request: ArmRequest) -> Reply:
        definition = self._definition(request)
        version = definition.versions.get(request["version"])
        if version is None:
            return Reply(204)
        version.state = "Deleting"

        def finish() -> None:
            definition.versions.pop(request["version"], None)

        seconds = self._cloud.scenario.durations.version_delete[0]
        operation = self._cloud.operations.start(
            request["subscription"], version.location, seconds, finish, family="capsOperations"
        )
        return Reply(202, None, operation.headers(request, location=True))

    def _written(
        self,
        request: ArmRequest,
        status: int,
        body: Callable[[], Json],
        location: str,
        seconds: float,
        finish: Callable[[], None],
    ) -> Reply:
        operation = self._cloud.operations.start(
            request["subscription"], location, seconds, finish, family="capsOperations"
        )
        shown = body()
        shown["properties"]["provisioningState"] = "Creating" if status == 201 else "Updating"
        return Reply(status, shown, operation.headers(request, location=False))

    def _list_marketplace(self, request: ArmRequest) -> Reply:
        releases = self._releases(request["publisher"], request["offer"], request["sku"])
        return Reply(200, [_marketplace_body(request, release) for release in releases])

    def _get_marketplace(self, request: ArmRequest) -> Reply:
        for release in self._releases(request["publisher"], request["offer"], request["sku"]):
            if release.version == request["version"]:
                extra: Json = {
                    "osDiskImage": {"operatingSystem": "Windows", "sizeInGb": 127},
                    "dataDiskImages": [],
                    "hyperVGeneration": "V2",
                    "architecture": "x64",
                    "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}],
                }
                if release.plan:
                    extra["plan"] = {"publisher": release.publisher, "product": release.offer, "name": release.plan}
                return Reply(200, _marketplace_body(request, release) | {"properties": extra})
        raise ArmError(404, "NotFound", f"Artifact: VMImage was not found. (version {request['version']})")


def contents_of(given: Release | Version) -> Contents:
    """What a scenario says is on an image."""
    return Contents(
        os_build=given.os_build,
        edition=given.edition,
        software=dict(given.software),
        hotfixes=tuple(given.hotfixes),
        missing_patches=tuple(Patch(*patch) for patch in given.missing_patches),
        defects=tuple(given.defects) if isinstance(given, Version) else (),
    )


def _refuse_regions(version: ImageVersion, targets: set[str]) -> None:
    """A version stays in its own region, is taken out of others only where it may be, and changes one thing at a time."""
    present = {plain(copy.region) for copy in version.copies}
    if targets == present:
        return
    if version.state in ("Creating", "Updating", "Deleting"):
        raise ArmError(
            409,
            "Conflict",
            "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
            "https://aka.ms/activitylog to get more details on the conflicting requests.",
        )
    if plain(version.location) not in targets:
        raise ArmError(
            400,
            "InvalidParameter",
            f"The target regions of gallery artifact '{version.version}' must contain its location '{version.location}'.",
            target="galleryImageVersion.properties.publishingProfile.targetRegions",
        )
    if present - targets and not version.may_lose_regions:
        raise ArmError(
            400,
            "BadRequest",
            f"Complete set of target locations not specified while updating gallery artifact '{version.version}' and type "
            "'GalleryImageVersion'. Deletion of previously replicated locations is not allowed, and you need to specify a complete set of "
            "target locations in the update request or specify null or empty set for target regions in the update request or set allow "
            "deletion of replicated locations under safety profile property.",
        )


def _marketplace_body(request: ArmRequest, release: Release) -> Json:
    path = request.path.partition("/versions")[0]
    return {"location": request["location"], "name": release.version, "id": f"{path}/versions/{release.version}"}


def _refuse_unlike(definition: ImageDefinition, machine: "Machine") -> None:
    """A VM can only become a version of a definition that is like it, once it is generalised and off."""
    if not machine.generalized or machine.power != "deallocated":
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"Operation 'Create Gallery Image Version' requires the Virtual Machine '{machine.name}' to be Generalized.",
        )
    if definition.security_type != machine.security_type:
        raise ArmError(
            400,
            "InvalidParameter",
            f"The security type '{definition.security_type}' is not supported for the source id '{machine.id}'. Currently only Vhd "
            f"Blob, User Image and Gallery Image Version sources are supported for '{definition.security_type}' images.",
            target="galleryImageVersion.properties.storageProfile.source.virtualMachineId",
        )
