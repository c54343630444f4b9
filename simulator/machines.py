"""What a virtual machine is: its state, its wire form, and the rules for its size, name, image and security type."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from simulator.contents import Contents
from simulator.disks import Disk
from simulator.kernel.arm import ArmError, Json, resource_id

if TYPE_CHECKING:
    from simulator.extensions import Extension
    from simulator.run_commands import RunCommand

Power = Literal["creating", "starting", "running", "stopping", "stopped", "deallocating", "deallocated"]
DISPLAY = {
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}
AGENT_VERSION = "2.7.41491.1176"


@dataclass
class Machine:
    """A virtual machine."""

    subscription: str
    group: str
    name: str
    location: str
    size: str
    vm_id: str
    disk: Disk
    nic: str
    image_reference: Json
    created: datetime
    security_type: str = "TrustedLaunch"
    tags: dict[str, str] = field(default_factory=dict)
    given: Json = field(default_factory=dict)  # the properties of the PUT, without its secrets
    power: Power = "creating"
    provisioning_state: str = "Creating"
    failure: ArmError | None = None
    generalized: bool = False
    booted_at: datetime | None = None
    identity: Json | None = None
    zones: list[str] = field(default_factory=list)
    extensions: dict[str, "Extension"] = field(default_factory=dict)
    run_commands: dict[str, "RunCommand"] = field(default_factory=dict)
    patch_assessment: Json | None = None
    revision: int = 1

    @property
    def id(self) -> str:
        """Its resource id."""
        return resource_id(self.subscription, self.group, f"Microsoft.Compute/virtualMachines/{self.name}")

    @property
    def contents(self) -> Contents:
        """What is on its OS disk."""
        return self.disk.contents

    def change(self, **changes: Any) -> None:
        """Changes what is on its OS disk."""
        self.disk.contents = self.disk.contents.changed(**changes)

    @property
    def is_running(self) -> bool:
        """Whether Windows runs."""
        return self.power == "running"

    def body(self, *, view: bool = False, tags: bool = True) -> Json:
        """The resource as a GET shows it; `view` adds the instance view."""
        properties: Json = {
            "vmId": self.vm_id,
            "hardwareProfile": {"vmSize": self.size},
            "storageProfile": self._storage(),
            "osProfile": self._os(),
            "networkProfile": {
                "networkInterfaces": [{"id": self.nic, "properties": {"primary": True, "deleteOption": "Delete"}}]
            },
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
            "provisioningState": self.provisioning_state,
            "timeCreated": self.created.isoformat(),
        }
        if self.security_type == "TrustedLaunch":
            uefi = {"secureBootEnabled": True, "vTpmEnabled": True}
            properties["securityProfile"] = {"securityType": "TrustedLaunch", "uefiSettings": uefi}
        if licence := self.given.get("licenseType"):
            properties["licenseType"] = licence
        if view:
            properties["instanceView"] = self.instance_view()
        body: Json = {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.location,
            "etag": f'"{self.revision}"',
            "properties": properties,
        }
        if tags:
            body["tags"] = dict(self.tags)
        if self.identity:
            body["identity"] = self.identity
        if self.zones:
            body["zones"] = list(self.zones)
        return body

    def instance_view(self) -> Json:
        """What the machine is doing."""
        statuses = [self._provisioning_status()]
        if self.generalized:
            statuses.append({"code": "OSState/generalized", "level": "Info", "displayStatus": "VM generalized"})
        if self.power != "creating":
            statuses.append({"code": f"PowerState/{self.power}", "level": "Info", "displayStatus": DISPLAY[self.power]})
        view: Json = {
            "disks": [
                {"name": self.disk.name, "statuses": [_status("ProvisioningState/succeeded", "Provisioning succeeded")]}
            ],
            "hyperVGeneration": self.contents.hyper_v_generation,
            "statuses": statuses,
        }
        if self.is_running:
            view["computerName"] = self.name
            view["osName"] = self.contents.edition
            view["osVersion"] = f"10.0.{self.contents.os_build}"
            ready = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready"}
            view["vmAgent"] = {"vmAgentVersion": AGENT_VERSION, "statuses": [ready], "extensionHandlers": []}
        if self.patch_assessment is not None:
            view["patchStatus"] = {"availablePatchSummary": self.patch_assessment}
        return view

    def _provisioning_status(self) -> Json:
        if self.failure is not None:
            code = f"ProvisioningState/failed/{self.failure.code}"
            return {
                "code": code,
                "level": "Error",
                "displayStatus": "Provisioning failed",
                "message": self.failure.message,
            }
        state = self.provisioning_state.lower()
        return {"code": f"ProvisioningState/{state}", "level": "Info", "displayStatus": f"Provisioning {state}"}

    def _storage(self) -> Json:
        image = dict(self.image_reference)
        if image.get("id"):
            image["exactVersion"] = image["id"].rpartition("/")[2]
        elif image:
            image["exactVersion"] = image.get("version", "")
        return {
            "imageReference": image,
            "osDisk": {
                "osType": "Windows",
                "name": self.disk.name,
                "createOption": "FromImage",
                "caching": "ReadWrite",
                "deleteOption": "Delete",
                "diskSizeGB": self.disk.size_gb,
                "managedDisk": {"id": self.disk.id, "storageAccountType": self.disk.sku},
            },
            "dataDisks": [],
            "diskControllerType": "SCSI",
        }

    def _os(self) -> Json:
        asked = self.given.get("osProfile") or {}
        return {
            "computerName": self.name,
            "adminUsername": asked.get("adminUsername", "evergold"),
            "windowsConfiguration": {
                "provisionVMAgent": True,
                "enableAutomaticUpdates": bool(
                    (asked.get("windowsConfiguration") or {}).get("enableAutomaticUpdates", True)
                ),
            },
            "secrets": [],
            "allowExtensionOperations": True,
        }


def _status(code: str, display: str) -> Json:
    return {"code": code, "level": "Info", "displayStatus": display}


def check_computer_name(name: str) -> None:
    """Raises where Windows would refuse the name."""
    if len(name) > 15 or name.isdigit():
        raise ArmError(
            400,
            "InvalidParameter",
            "Windows computer name cannot be more than 15 characters long, be entirely numeric, or contain the following characters: "
            "` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : . ' \" , < > / ?.",
            target="computerName",
        )


def without_secrets(properties: Json) -> Json:
    """The properties of a PUT without what Azure never returns."""
    os_profile = {k: v for k, v in (properties.get("osProfile") or {}).items() if k != "adminPassword"}
    return {**properties, "osProfile": os_profile}
