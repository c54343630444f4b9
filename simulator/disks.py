"""Managed disks and snapshots. A disk carries contents; a snapshot freezes a copy of them.

PUT answers 202 with a partial body, as live Azure does; the resource is whole once the operation has ended.
"""

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from simulator.contents import Contents
from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found, page, resource_id

if TYPE_CHECKING:
    from simulator.cloud import Cloud

Kind = Literal["disks", "snapshots"]


@dataclass
class Disk:
    """A disk or a snapshot."""

    kind: Kind
    subscription: str
    group: str
    name: str
    location: str
    contents: Contents
    creation: Json
    created: str
    unique_id: str
    size_gb: int
    sku: str
    managed_by: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "Succeeded"
    incremental: bool = False
    security_type: str = "Standard"

    @property
    def id(self) -> str:
        """Its resource id."""
        return resource_id(self.subscription, self.group, f"Microsoft.Compute/{self.kind}/{self.name}")

    def body(self) -> Json:
        """The resource as a GET shows it."""
        properties: Json = {
            "osType": "Windows",
            "hyperVGeneration": self.contents.hyper_v_generation,
            "creationData": self.creation,
            "diskSizeGB": self.size_gb,
            "diskSizeBytes": self.size_gb * 2**30,
            "encryption": {"type": "EncryptionAtRestWithPlatformKey"},
            "networkAccessPolicy": "AllowAll",
            "publicNetworkAccess": "Enabled",
            "timeCreated": self.created,
            "provisioningState": self.state,
            "diskState": "Attached" if self.managed_by else "Unattached",
            "uniqueId": self.unique_id,
        }
        if self.kind == "snapshots":
            properties |= {"incremental": self.incremental, "completionPercent": 100.0}
        if self.security_type != "Standard":
            properties["securityProfile"] = {"securityType": self.security_type}
        body: Json = {
            "id": self.id,
            "name": self.name,
            "type": f"Microsoft.Compute/{self.kind}",
            "location": self.location,
            "tags": dict(self.tags),
            "sku": {"name": self.sku, "tier": self.sku.partition("_")[0]},
            "properties": properties,
        }
        if self.managed_by:
            body["managedBy"] = self.managed_by
        return body


class Disks:
    """All disks and snapshots."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._all: dict[str, Disk] = {}
        self._made = 0

    def routes(self) -> list[Route]:
        """PUT, GET, PATCH, DELETE and lists of both kinds."""
        found: list[Route] = []
        for kind in ("disks", "snapshots"):
            one, many = group_path(f"Microsoft.Compute/{kind}/{{name}}"), group_path(f"Microsoft.Compute/{kind}")
            everywhere = f"/subscriptions/{{subscription}}/providers/Microsoft.Compute/{kind}"
            found += [
                Route("PUT", one, self._put),
                Route("PATCH", one, self._patch),
                Route("GET", one, self._get, bucket="LowCostGet"),
                Route("DELETE", one, self._delete),
                Route("GET", many, self._list, bucket="HighCostGet"),
                Route("GET", everywhere, self._list, bucket="HighCostGet"),
            ]
        return found

    def add(
        self,
        subscription: str,
        group: str,
        name: str,
        location: str,
        contents: Contents,
        *,
        managed_by: str | None = None,
        creation: Json,
        tags: dict[str, str],
        size_gb: int = 127,
        sku: str = "Premium_LRS",
        kind: Kind = "disks",
    ) -> Disk:
        """Makes a disk that is there at once."""
        self._made += 1
        unique = str(uuid.UUID(int=self._cloud.world.chance("disk", self._made).getrandbits(128), version=4))
        now = self._cloud.world.now.isoformat()
        disk = Disk(
            kind, subscription, group, name, location, contents, creation, now, unique, size_gb, sku, managed_by, tags
        )
        self._all[disk.id.lower()] = disk
        return disk

    def find(self, disk_id: str) -> Disk | None:
        """The disk or snapshot with this id."""
        return self._all.get(disk_id.lower())

    def remove(self, disk_id: str) -> None:
        """Removes it, if it is there."""
        self._all.pop(disk_id.lower(), None)

    def all(self) -> list[Disk]:
        """Every disk and snapshot, oldest first."""
        return list(self._all.values())

    def _kind(self, request: ArmRequest) -> Kind:
        return "snapshots" if "/snapshots" in request.path.lower() else "disks"

    def _id(self, request: ArmRequest) -> str:
        return resource_id(
            request["subscription"], request["group"], f"Microsoft.Compute/{self._kind(request)}/{request['name']}"
        )

    def _need(self, request: ArmRequest) -> Disk:
        disk = self.find(self._id(request))
        if disk is None:
            raise not_found(f"Microsoft.Compute/{self._kind(request)}/{request['name']}", request["group"])
        return disk

    def _get(self, request: ArmRequest) -> Reply:
        return Reply(200, self._need(request).body())

    def _list(self, request: ArmRequest) -> Reply:
        kind, group = self._kind(request), request.params.get("group", "").lower()
        found = [disk.body() for disk in self._all.values() if disk.kind == kind and group in ("", disk.group.lower())]
        return page(request, found)

    def _put(self, request: ArmRequest) -> Reply:
        self._cloud.management.require_group(request["group"])
        kind, properties = self._kind(request), request.body.get("properties") or {}
        existing = self.find(self._id(request))
        creation = dict(properties.get("creationData") or {})
        source = self.find(creation.get("sourceResourceId", "")) if existing is None else existing
        if source is None:
            raise ArmError(404, "ResourceNotFound", f"The source {creation.get('sourceResourceId')} was not found.")
        disk = existing or self.add(
            request["subscription"],
            request["group"],
            request["name"],
            request.body["location"],
            source.contents,
            creation=creation,
            tags={},
            size_gb=source.size_gb,
            sku=(request.body.get("sku") or {}).get("name", "Premium_LRS" if kind == "disks" else "Standard_LRS"),
            kind=kind,
        )
        disk.tags = dict(request.body.get("tags") or {})
        disk.incremental = bool(properties.get("incremental"))
        disk.security_type = (properties.get("securityProfile") or {}).get("securityType") or source.security_type
        disk.state = "Creating" if existing is None else "Updating"
        durations = self._cloud.scenario.durations
        low, high = durations.snapshot if kind == "snapshots" else durations.disk

        def finish() -> Json:
            disk.state = "Succeeded"
            return disk.body()

        return self._accepted(
            request, self._cloud.world.chance("disk time", disk.unique_id).uniform(low, high), finish, disk
        )

    def _patch(self, request: ArmRequest) -> Reply:
        disk = self._need(request)
        disk.tags = dict(request.body.get("tags", disk.tags))
        return self._accepted(request, 1, disk.body, disk)

    def _accepted(self, request: ArmRequest, seconds: float, finish: object, disk: Disk) -> Reply:
        assert callable(finish)
        operation = self._cloud.operations.start(
            request["subscription"], disk.location, seconds, finish, family="DiskOperations"
        )
        partial = {
            "name": disk.name,
            "location": disk.location,
            "tags": dict(disk.tags),
            "properties": {
                "creationData": disk.creation,
                "provisioningState": "Updating",
                "isArmResource": True,
            },
        }
        return Reply(202, partial, operation.headers(request, location=True))

    def _delete(self, request: ArmRequest) -> Reply:
        disk = self.find(self._id(request))
        if disk is None:
            return Reply(204)
        if disk.managed_by:
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Disk {disk.name} is attached to VM {disk.managed_by}.",
            )

        def finish() -> None:
            self.remove(disk.id)

        operation = self._cloud.operations.start(
            request["subscription"], disk.location, 5, finish, family="DiskOperations"
        )
        return Reply(202, None, operation.headers(request, location=True))
