"""What a virtual machine is: its state, and its wire form."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from simulator.contents import Contents
from simulator.disks import Disk
from simulator.kernel.arm import ArmError, Json, resource_id
from simulator.kernel.operations import Operation

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
    revision: int = 1  # its ETag
    computer_name: str = ""
    exact_version: str = ""  # of the image it was made from
    plan: Json | None = None
    keeps_nic: bool = False  # what is left when it is deleted
    keeps_disk: bool = False
    attached: bool = False  # it was made on a disk that was there, or its disk was swapped
    throws: int = 0  # of the dice that say how long things take
    boots: int = 0  # how often Windows has started
    agent_ready: bool = False
    passwords: dict[str, str] = field(default_factory=dict, repr=False)  # of its accounts, by name in lower case
    task: int = 0  # counts what changes its power; one that was overtaken has no effect any more
    ongoing: Operation | None = None  # what changes its power now

    @property
    def id(self) -> str:
        """Its resource id."""
        return resource_id(self.subscription, self.group, f"Microsoft.Compute/virtualMachines/{self.name}")

    @property
    def etag(self) -> str:
        """Its version, for If-Match."""
        return f'"{self.revision}"'

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

    @property
    def is_being_deleted(self) -> bool:
        """Whether it was told to go."""
        return self.provisioning_state == "Deleting"

    def lets_in(self, account: str, password: str) -> bool:
        """Whether an account, written with or without its machine, has this password here."""
        known = self.passwords.get(plain_account(account))
        return known is not None and known == password

    def body(self, *, view: bool = False, tags: bool = True) -> Json:
        """The resource as a GET shows it; `view` adds the instance view."""
        properties: Json = {
            "vmId": self.vm_id,
            "hardwareProfile": {"vmSize": self.size},
            "storageProfile": self._storage(),
            "networkProfile": {
                "networkInterfaces": [
                    {
                        "id": self.nic,
                        "properties": {"primary": True, "deleteOption": "Detach" if self.keeps_nic else "Delete"},
                    }
                ]
            },
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
            "provisioningState": self.provisioning_state,
            "timeCreated": self.created.isoformat(),
        }
        if self.given.get("osProfile") or not self.attached:
            properties["osProfile"] = self._os()
        if self.security_type == "TrustedLaunch":
            uefi = {"secureBootEnabled": True, "vTpmEnabled": True}
            properties["securityProfile"] = {"securityType": "TrustedLaunch", "uefiSettings": uefi}
        if self.power != "creating":
            properties["storageProfile"]["osDisk"]["diskSizeGB"] = self.disk.size_gb
        if licence := self.given.get("licenseType"):
            properties["licenseType"] = licence
        if view:
            properties["instanceView"] = self.instance_view()
        body: Json = {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.location,
            "etag": self.etag,
            "properties": properties,
        }
        if tags:
            body["tags"] = dict(self.tags)
        if self.identity:
            body["identity"] = self.identity
        if self.plan:
            body["plan"] = self.plan
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
            view["computerName"] = self.computer_name or self.name
            view["osName"] = self.contents.edition
            view["osVersion"] = f"10.0.{self.contents.os_build}"
            view["vmAgent"] = self._agent()
        if self.extensions:
            view["extensions"] = [extension.view() for extension in self.extensions.values()]
        if self.patch_assessment is not None:
            view["patchStatus"] = {"availablePatchSummary": self.patch_assessment}
        return view

    def _agent(self) -> Json:
        if self.agent_ready:
            return {
                "vmAgentVersion": AGENT_VERSION,
                "statuses": [_status("ProvisioningState/succeeded", "Ready")],
                "extensionHandlers": [],
            }
        return {
            "vmAgentVersion": "Unknown",
            "statuses": [
                {
                    "code": "ProvisioningState/Unavailable",
                    "level": "Warning",
                    "displayStatus": "Not Ready",
                    "message": "VM status blob is found but not yet populated.",
                }
            ],
        }

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
        if self.exact_version:
            image["exactVersion"] = self.exact_version
        return {
            **({"imageReference": image} if image else {}),
            "osDisk": {
                "osType": "Windows",
                "name": self.disk.name,
                "createOption": "Attach" if self.attached and not image else "FromImage",
                "caching": "ReadWrite",
                "deleteOption": "Detach" if self.keeps_disk else "Delete",
                "managedDisk": {"id": self.disk.id, "storageAccountType": self.disk.sku},
            },
            "dataDisks": [],
            "diskControllerType": "SCSI",
        }

    def _os(self) -> Json:
        asked = self.given.get("osProfile") or {}
        windows = asked.get("windowsConfiguration") or {}
        return {
            "computerName": self.computer_name or self.name,
            "adminUsername": asked.get("adminUsername", "evergold"),
            "windowsConfiguration": {
                "provisionVMAgent": True,
                "enableAutomaticUpdates": bool(windows.get("enableAutomaticUpdates", True)),
                "patchSettings": windows.get("patchSettings")
                or {"patchMode": "AutomaticByOS", "assessmentMode": "ImageDefault"},
            },
            "secrets": [],
            "allowExtensionOperations": True,
            "requireGuestProvisionSignal": True,
        }


def _status(code: str, display: str) -> Json:
    return {"code": code, "level": "Info", "displayStatus": display}


def plain_account(account: str) -> str:
    """An account's name as Windows compares it: without the machine before it, in lower case."""
    return account.rpartition("\\")[2].lower()
