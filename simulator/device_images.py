"""Device images of Windows 365: custom images that the service has copied, looked into, and keeps.

The upload takes about an hour and then says ready, or failed with a code (learn.microsoft.com, "cloudPcDeviceImage resource type"). At most
20 of them in a tenant. One that a provisioning policy names cannot be deleted. Its name and version are its identity.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from simulator.contents import Contents
from simulator.graph import GraphError, GraphRoute, collection
from simulator.graph_devices import wire
from simulator.kernel.arm import ArmRequest, Json, Reply

if TYPE_CHECKING:
    from simulator.cloud_pcs import CloudPcs

PATH = "/v1.0/deviceManagement/virtualEndpoint/deviceImages"
MOST = 20


@dataclass(eq=False)
class DeviceImage:
    """One device image."""

    id: str
    name: str
    version: str
    source: str
    changed: datetime
    status: str = "pending"
    error: str | None = None
    build: str = ""
    system: str = ""

    def body(self) -> Json:
        """The object as a GET shows it."""
        return {
            "id": self.id,
            "displayName": self.name,
            "version": self.version,
            "sourceImageResourceId": self.source,
            "status": self.status,
            "errorCode": self.error,
            "operatingSystem": self.system,
            "osBuildNumber": self.build,
            "osStatus": "supported" if self.status == "ready" else "unknown",
            "lastModifiedDateTime": wire(self.changed),
            "expirationDate": None,
        }


class DeviceImages:
    """Every device image of the tenant."""

    def __init__(self, owner: "CloudPcs") -> None:
        self._owner = owner
        self._failures = owner.cloud.scenario.cloud_pc_failures.get("import", "").split(",")
        self.all: dict[str, DeviceImage] = {}

    def routes(self) -> list[GraphRoute]:
        """List, read, create and delete."""
        return [
            GraphRoute("GET", PATH, "CloudPC.Read.All", self._list),
            GraphRoute("POST", PATH, "CloudPC.ReadWrite.All", self._post),
            GraphRoute("GET", PATH + "/getSourceImages", "CloudPC.Read.All", self._sources),
            GraphRoute("GET", PATH + "/{id}", "CloudPC.Read.All", self._get),
            GraphRoute("DELETE", PATH + "/{id}", "CloudPC.ReadWrite.All", self._delete),
        ]

    def _list(self, request: ArmRequest) -> Reply:
        images = [image.body() for image in self.all.values()]
        return collection(request, images, "deviceManagement/virtualEndpoint/deviceImages")

    def _get(self, request: ArmRequest) -> Reply:
        return Reply(200, self._need(request).body())

    def _sources(self, request: ArmRequest) -> Reply:
        """Managed images that could be imported."""
        images = self._owner.cloud.images.all() if self._owner.cloud.scenario.windows_365_sees_images else []
        shown = [{"id": each.id, "resourceId": each.id, "displayName": each.name} for each in images]
        return collection(request, shown, "Collection(microsoft.graph.cloudPcSourceDeviceImage)")

    def _need(self, request: ArmRequest) -> DeviceImage:
        if request["id"] not in self.all:
            raise GraphError(404, "deviceImageNotFound", f"The device image '{request['id']}' was not found.")
        return self.all[request["id"]]

    def _post(self, request: ArmRequest) -> Reply:
        name, version, source = (
            str(request.body.get(key) or "") for key in ("displayName", "version", "sourceImageResourceId")
        )
        if not (name and version and source):
            raise GraphError(400, "badRequest", "displayName, version and sourceImageResourceId are required.")
        if any((image.name, image.version) == (name, version) for image in self.all.values()):
            raise GraphError(409, "conflict", f"A device image '{name}' of version '{version}' exists already.")
        if len(self.all) >= MOST:
            raise GraphError(400, "deviceImageLimitReached", f"A tenant may have {MOST} device images.")
        world = self._owner.world
        image = DeviceImage(self._owner.number(), name, version, source, world.now)
        self.all[image.id] = image
        seconds = world.chance("import", image.id).uniform(*self._owner.cloud.scenario.durations.image_import)
        world.after(seconds, lambda: self._settle(image))
        return Reply(201, image.body())

    def _delete(self, request: ArmRequest) -> Reply:
        image = self._need(request)
        if any(policy.image_id == image.id for policy in self._owner.policies.values()):
            raise GraphError(400, "deviceImageInUse", "The image is used by a provisioning policy.")
        del self.all[image.id]
        return Reply(204)

    def _settle(self, image: DeviceImage) -> None:
        image.changed = self._owner.world.now
        planned = self._failures.pop(0) if self._failures else ""
        contents = self._contents(image.source)
        image.error = planned or _fault_of(contents)
        image.status = "failed" if image.error else "ready"
        if contents is not None:
            image.build, image.system = contents.os_build, contents.edition

    def _contents(self, source: str) -> Contents | None:
        managed = self._owner.cloud.images.find(source)
        if managed is not None:
            return managed.contents
        version = self._owner.cloud.galleries.find(source)
        return version.contents if version is not None else None


def _fault_of(contents: Contents | None) -> str | None:
    """The error code that an image gets for what is on it; None where there is nothing against it."""
    if contents is None:
        return "sourceImageNotFound"
    if "multi-session" in contents.edition:
        return "osVersionNotSupported"
    if not contents.generalized:
        return "sourceImageNotGeneralized"
    if contents.entra_joined:
        return "vmAlreadyAzureAdJoined"
    return "sourceImageInvalid" if contents.hyper_v_generation != "V2" else None
