"""Managed images: the older way to keep a generalised disk. Windows 365 still takes its images from here.

Made from a VM that is generalised and deallocated; a Trusted Launch VM cannot make one.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.contents import Contents
from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found, page, resource_id

if TYPE_CHECKING:
    from simulator.cloud import Cloud


@dataclass
class ManagedImage:
    """A managed image."""

    id: str
    group: str
    name: str
    location: str
    contents: Contents
    source_vm: str
    disk: str
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "Creating"

    def body(self) -> Json:
        """The resource as a GET shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Compute/images",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": {
                "sourceVirtualMachine": {"id": self.source_vm},
                "storageProfile": {
                    "osDisk": {
                        "osType": "Windows",
                        "osState": "Generalized",
                        "managedDisk": {"id": self.disk},
                        "caching": "ReadWrite",
                        "storageAccountType": "Standard_LRS",
                    },
                    "dataDisks": [],
                    "zoneResilient": False,
                },
                "hyperVGeneration": self.contents.hyper_v_generation,
                "provisioningState": self.state,
            },
        }


class Images:
    """All managed images."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._all: dict[str, ManagedImage] = {}

    def routes(self) -> list[Route]:
        """PUT, GET, DELETE and the list of a group."""
        one = group_path("Microsoft.Compute/images/{name}")
        return [
            Route("PUT", one, self._put),
            Route("GET", one, self._get),
            Route("DELETE", one, self._delete),
            Route("GET", group_path("Microsoft.Compute/images"), self._list),
        ]

    def find(self, image_id: str) -> ManagedImage | None:
        """The image with this id."""
        return self._all.get(image_id.lower())

    def all(self) -> list[ManagedImage]:
        """Every managed image."""
        return list(self._all.values())

    def _id(self, request: ArmRequest) -> str:
        return resource_id(request["subscription"], request["group"], f"Microsoft.Compute/images/{request['name']}")

    def _get(self, request: ArmRequest) -> Reply:
        image = self.find(self._id(request))
        if image is None:
            raise not_found(f"Microsoft.Compute/images/{request['name']}", request["group"])
        return Reply(200, image.body())

    def _list(self, request: ArmRequest) -> Reply:
        return page(request, [i.body() for i in self._all.values() if i.group.lower() == request["group"].lower()])

    def _put(self, request: ArmRequest) -> Reply:
        self._cloud.management.require_group(request["group"])
        if existing := self.find(self._id(request)):
            existing.tags = dict(request.body.get("tags") or {})
            operation = self._cloud.operations.start(request["subscription"], existing.location, 1, lambda: None)
            return Reply(200, existing.body(), operation.headers(request, location=False))
        source = ((request.body.get("properties") or {}).get("sourceVirtualMachine") or {}).get("id", "")
        machine = self._cloud.compute.find(source)
        if machine is None:
            raise ArmError(
                404, "ResourceNotFound", f"The source virtual machine '{source}' was not found.", target="image"
            )
        if machine.security_type == "TrustedLaunch":
            raise ArmError(
                409,
                "OperationNotAllowed",
                "Creation of managed images are not supported for virtual machine with TrustedLaunch security type.",
            )
        if not machine.generalized:
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation 'Create Image' requires the Virtual Machine '{machine.name}' to be Generalized.",
            )
        image = ManagedImage(
            self._id(request),
            request["group"],
            request["name"],
            request.body["location"],
            machine.contents,
            machine.id,
            machine.disk.id,
            dict(request.body.get("tags") or {}),
        )
        self._all[image.id.lower()] = image

        def finish() -> None:
            image.state = "Succeeded"

        seconds = self._cloud.world.chance("image", image.id).uniform(*self._cloud.scenario.durations.image)
        operation = self._cloud.operations.start(request["subscription"], image.location, seconds, finish)
        return Reply(201, image.body(), operation.headers(request, location=False))

    def _delete(self, request: ArmRequest) -> Reply:
        image = self.find(self._id(request))
        if image is None:
            return Reply(204)

        def finish() -> None:
            self._all.pop(image.id.lower(), None)

        operation = self._cloud.operations.start(request["subscription"], image.location, 10, finish)
        return Reply(202, None, operation.headers(request, location=True))
