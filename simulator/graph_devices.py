"""Devices in Microsoft Entra ID, and their records in Intune.

A machine that joins gets a device in the directory that names its Azure resource, and one in Intune where its join asks for that. Both
stay when the machine is deleted: nobody in Azure cleans up after a VM.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from simulator.graph import GraphRoute, collection, not_there
from simulator.kernel.arm import ArmRequest, Json, Reply
from simulator.news import MachineJoined

if TYPE_CHECKING:
    from simulator.cloud import Cloud

DEVICES = "/v1.0/devices"
MANAGED = "/v1.0/deviceManagement/managedDevices"


@dataclass(frozen=True)
class Device:
    """A device in the directory. `resource` is the id of the VM that it is, or empty."""

    id: str
    device_id: str
    name: str
    joined: datetime
    resource: str = ""

    def body(self) -> Json:
        """The object as a GET shows it."""
        named = [f"[AzureResourceId]:{self.resource}"] if self.resource else []
        return {
            "id": self.id,
            "deviceId": self.device_id,
            "displayName": self.name,
            "accountEnabled": True,
            "operatingSystem": "Windows",
            "trustType": "AzureAd",
            "profileType": "RegisteredDevice",
            "createdDateTime": wire(self.joined),
            "registrationDateTime": wire(self.joined),
            "physicalIds": [f"[GID]:g:{self.device_id}", f"[HWID]:h:{self.id}", *named],
        }


@dataclass(frozen=True)
class ManagedDevice:
    """A device in Intune."""

    id: str
    device_id: str
    name: str
    enrolled: datetime
    user: str = ""

    def body(self) -> Json:
        """The object as a GET shows it."""
        return {
            "id": self.id,
            "azureADDeviceId": self.device_id,
            "deviceName": self.name,
            "enrolledDateTime": wire(self.enrolled),
            "lastSyncDateTime": wire(self.enrolled),
            "operatingSystem": "Windows",
            "managementAgent": "mdm",
            "userPrincipalName": self.user,
        }


class GraphDevices:
    """The tenant's devices."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._made = 0
        self.devices: dict[str, Device] = {}
        self.managed: dict[str, ManagedDevice] = {}
        cloud.world.listen(MachineJoined, self._joined)

    def populate(self) -> None:
        """Devices of the hosts that have long been there."""
        for host in self._cloud.desktop.hosts():
            self.add(host.name, host.vm)

    def routes(self) -> list[GraphRoute]:
        """Read and delete."""
        return [
            GraphRoute("GET", DEVICES, "Device.Read.All", self._list),
            GraphRoute("GET", DEVICES + "/{id}", "Device.Read.All", self._get),
            GraphRoute("DELETE", DEVICES + "/{id}", "Device.ReadWrite.All", self._delete),
            GraphRoute("GET", MANAGED, "DeviceManagementManagedDevices.Read.All", self._list_managed),
            GraphRoute("GET", MANAGED + "/{id}", "DeviceManagementManagedDevices.Read.All", self._get_managed),
            GraphRoute("DELETE", MANAGED + "/{id}", "DeviceManagementManagedDevices.ReadWrite.All", self._retire),
        ]

    def add(self, name: str, resource: str = "", *, managed: bool = False, user: str = "") -> tuple[str, str]:
        """A device that joins now. Returns its device id, and its id in Intune where it is enrolled too, else ""."""
        now, device_id = self._cloud.world.now, self._number()
        device = Device(self._number(), device_id, name, now, resource)
        self.devices[device.id] = device
        if not managed:
            return device_id, ""
        record = ManagedDevice(self._number(), device_id, name, now, user)
        self.managed[record.id] = record
        return device_id, record.id

    def remove(self, device_id: str) -> None:
        """Takes a device out of the directory and out of Intune, by its device id."""
        self.devices = {key: each for key, each in self.devices.items() if each.device_id != device_id}
        self.managed = {key: each for key, each in self.managed.items() if each.device_id != device_id}

    def _joined(self, news: MachineJoined) -> None:
        self.add(news.vm.rpartition("/")[2], news.vm, managed=news.managed)

    def _number(self) -> str:
        self._made += 1
        return str(uuid.UUID(int=self._cloud.world.chance("device", self._made).getrandbits(128), version=4))

    def _list(self, request: ArmRequest) -> Reply:
        return collection(request, [device.body() for device in self.devices.values()], "devices")

    def _get(self, request: ArmRequest) -> Reply:
        if request["id"] not in self.devices:
            raise not_there(request["id"])
        return Reply(200, self.devices[request["id"]].body())

    def _delete(self, request: ArmRequest) -> Reply:
        if self.devices.pop(request["id"], None) is None:
            raise not_there(request["id"])
        return Reply(204)

    def _list_managed(self, request: ArmRequest) -> Reply:
        bodies = [device.body() for device in self.managed.values()]
        return collection(request, bodies, "deviceManagement/managedDevices")

    def _get_managed(self, request: ArmRequest) -> Reply:
        if request["id"] not in self.managed:
            raise not_there(request["id"])
        return Reply(200, self.managed[request["id"]].body())

    def _retire(self, request: ArmRequest) -> Reply:
        if self.managed.pop(request["id"], None) is None:
            raise not_there(request["id"])
        return Reply(204)


def wire(moment: datetime | None) -> str | None:
    """A time as Graph writes it."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None
