"""Virtual machines, and what runs in them: extensions, managed run commands, patches; and what a region has to offer.

Two styles. A method named `begin_...` sends one request and returns as soon as Azure has accepted it: the caller sees
the outcome in its next observation. Its namesake without `begin_` waits for the end, and raises an `AzureFailure` with
Azure's error if the operation fails, or `TookTooLong`. All times are seconds of the bundle's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from azure.core import MatchConditions
from azure.core.rest import HttpRequest
from azure.mgmt.compute import models
from azure.mgmt.compute.aio import ComputeManagementClient
from pydantic import SecretStr

from evergold.azure.errors import AzureFailure, explaining, found, gone, raise_failed
from evergold.azure.ids import key, same
from evergold.azure.pipeline import POLL_SECONDS, Polling, wait_until
from evergold.clock import Clock

Power = Literal["running", "starting", "stopping", "stopped", "deallocating", "deallocated", "unknown"]
POWERS: tuple[Power, ...] = ("running", "starting", "stopping", "stopped", "deallocating", "deallocated")
SCRIPT_OVER = frozenset({"Succeeded", "Failed", "TimedOut", "Canceled"})
TERMINAL = frozenset({"succeeded", "failed", "canceled"})
COMPUTE_API = "2026-04-01"  # the SDK's own
NETWORK_API_VERSION = "2022-11-01"
TAG_TRIES = 4
NO_PASSWORD = SecretStr("")


@dataclass(frozen=True)
class MarketplaceImage:
    """An image in the marketplace; `version` is exact, never "latest"."""

    publisher: str
    offer: str
    sku: str
    version: str


@dataclass(frozen=True)
class GalleryImage:
    """An image version in a gallery, by resource id."""

    version_id: str


@dataclass(frozen=True)
class AttachedDisk:
    """An OS disk that is there already, with a Windows that is set up: it keeps its name and its accounts."""

    disk_id: str


@dataclass(frozen=True)
class PurchasePlan:
    """The plan that some marketplace images are sold under."""

    publisher: str
    product: str
    name: str


@dataclass(frozen=True)
class VmSpec:
    """A Windows VM with one OS disk and one NIC, both of which go when it goes; but for a NIC that is there already, which stays.

    Attributes:
        name: also its computer name, so at most 15 characters.
        size: such as "Standard_D4ds_v5".
        admin_username, admin_password: not for an attached disk, whose accounts are its own. The password is never logged, and not kept
            by Azure in readable form.
        automatic_updates: whether Windows installs updates by itself; off for a VM that an image is built in.
        identity: whether the VM gets a system-assigned identity, which joining Entra needs.
        license_type: None for images that bring their licence with them (servers).
        tags: stand on the VM, and on its NIC where that is made with it.
        network_card: the id of a NIC that is there already, and keeps its address; "" has one made in the subnet.

    """

    name: str
    resource_group: str
    location: str
    size: str
    subnet_id: str
    image: MarketplaceImage | GalleryImage | AttachedDisk
    admin_username: str = ""
    admin_password: SecretStr = NO_PASSWORD
    security_type: Literal["Standard", "TrustedLaunch"] = "TrustedLaunch"
    tags: Mapping[str, str] = field(default_factory=dict)
    plan: PurchasePlan | None = None
    os_disk_type: str = "Premium_LRS"
    os_disk_gb: int | None = None
    zones: tuple[str, ...] = ()
    license_type: str | None = "Windows_Client"
    identity: bool = True
    automatic_updates: bool = True
    network_card: str = ""


@dataclass(frozen=True)
class VmStatus:
    """What a VM is doing, read from its instance view.

    Attributes:
        power: "unknown" where Azure does not say, as for a VM that is being created.
        provisioning: "succeeded", "failed", "creating", "updating", "deleting" or "unknown".
        error: the code and text of a failed provisioning, else "".
        generalized: whether Azure was told that it is generalised (which proves nothing about its disk).
        agent_ready: whether the VM agent reports; None where the instance view says nothing of it.

    """

    power: Power
    provisioning: str
    error: str
    generalized: bool
    agent_ready: bool | None


@dataclass(frozen=True)
class ExtensionSpec:
    """A VM extension. Secrets go into `protected_settings` only, each a `SecretStr` at any depth."""

    name: str
    location: str
    publisher: str
    kind: str
    version: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    protected_settings: Mapping[str, Any] = field(default_factory=dict)
    auto_upgrade_minor_version: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Script:
    """A PowerShell script to run in a VM, as a managed run command.

    Attributes:
        name: of the run command: derived from the refresh, so that it is run once.
        parameters: become `-name value`; visible to anyone who can read the VM.
        protected_parameters: likewise, but never readable afterwards.
        run_as_user: a local administrator, or None for SYSTEM.
        timeout_seconds: after which Azure stops the script.

    """

    name: str
    source: str
    location: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    protected_parameters: Mapping[str, SecretStr] = field(default_factory=dict)
    run_as_user: str | None = None
    run_as_password: SecretStr | None = None
    timeout_seconds: int = 3600
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ScriptResult:
    """How a script ended, or how far it is.

    Attributes:
        exit_code: None while it runs, or if it never ran.
        output: the last 4 KB.
        error: the last 4 KB of the error stream.
        execution_state: Unknown, Pending, Running, Failed, Succeeded, TimedOut or Canceled.
        message: Azure's own remark, if any.

    """

    exit_code: int | None
    output: str
    error: str
    execution_state: str
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether it will not change any more."""
        return self.execution_state in SCRIPT_OVER

    @property
    def succeeded(self) -> bool:
        """Whether the script ran to its end and said so: the state alone proves nothing."""
        return self.ended_with((0,))

    def ended_with(self, codes: tuple[int, ...]) -> bool:
        """Whether the script ran to its end with one of these exit codes. Azure calls any but 0 a failure."""
        return self.execution_state in ("Succeeded", "Failed") and self.exit_code in codes


@dataclass(frozen=True)
class ListedVm:
    """What a list says of a VM.

    Attributes:
        vm_id: what tells it from an earlier VM of the same name.
        image: the id of the image that it was made from, or a marketplace image's URN; of a gallery definition's latest
            version it is the version that was taken. None for a VM on a disk that was attached.
        network_cards: the ids of its network cards.
        etag: what changes with every change of it; "" where Azure gives none.

    """

    id: str
    name: str
    location: str
    tags: Mapping[str, str]
    vm_id: str
    provisioning: str
    created_at: datetime | None
    image: str | None
    network_cards: tuple[str, ...]
    etag: str = ""


@dataclass(frozen=True)
class SeenTags:
    """A VM's tags as a look showed them, and the ETag that it had then."""

    tags: Mapping[str, str]
    etag: str


class Compute:
    """The compute provider in one subscription."""

    def __init__(self, client: ComputeManagementClient, subscription_id: str, clock: Clock) -> None:
        self._client = client
        self._subscription_id = subscription_id
        self._clock = clock

    # Virtual machines: reading

    async def get_vm(
        self, resource_group: str, name: str, *, instance_view: bool = True
    ) -> models.VirtualMachine | None:
        """The VM, with its instance view unless told otherwise; None if there is none."""
        expand = "instanceView" if instance_view else None
        return await found(
            lambda: self._client.virtual_machines.get(resource_group, name, expand=expand),
            "read the virtual machine",
            f"{resource_group}/{name}",
        )

    async def list_vms(self, resource_group: str) -> list[ListedVm]:
        """Every VM in the group, but without its power state.

        Azure documents no list of a resource group that has both: see `list_statuses`.
        """
        with explaining("list the virtual machines", resource_group):
            return [listed(vm) for vm in await self._list(f"/resourceGroups/{resource_group}")]

    async def list_all_vms(self) -> list[ListedVm]:
        """Every VM of the subscription that this identity may read, but without its power state."""
        with explaining("list the virtual machines", "the subscription"):
            return [listed(vm) for vm in await self._list()]

    async def list_statuses(self) -> dict[str, VmStatus]:
        """What every VM in the subscription is doing, by `ids.key` of its id: one list for all pools."""
        with explaining("list the power states of virtual machines", "the subscription"):
            return {key(vm["id"]): status_of(vm) for vm in await self._list(statusOnly="true")}

    async def _list(self, group: str = "", **params: str) -> list[Mapping[str, Any]]:
        """The pages of a list, as JSON: each look at a pool makes lists, and the SDK takes milliseconds to make one VM's models."""
        path = f"/subscriptions/{self._subscription_id}{group}/providers/Microsoft.Compute/virtualMachines"
        params = {"api-version": COMPUTE_API, **params}
        vms: list[Mapping[str, Any]] = []
        while path:
            response = await self._client.send_request(HttpRequest("GET", path, params=params))
            response.raise_for_status()
            page = response.json()
            vms.extend(page["value"])
            path, params = page.get("nextLink") or "", {}
        return vms

    # Virtual machines: writing

    async def begin_create_vm(self, spec: VmSpec) -> bool:
        """Send one PUT for the VM, its NIC and its disk; False if a VM of that name is there already, left untouched."""
        return await self._put_new_vm(spec, polling=False)

    async def create_vm(self, spec: VmSpec, timeout_seconds: float = 3600) -> models.VirtualMachine:
        """Have the VM, provisioned: create it, or wait for the one of that name that is there already.

        The caller checks by its tags that a VM found there is its own.
        """
        what = "create the virtual machine"
        await self._put_new_vm(spec, polling=self._polling(what, spec.resource_group, spec.name, timeout_seconds))
        return await self.wait_until_provisioned(spec.resource_group, spec.name, timeout_seconds)

    async def wait_until_provisioned(
        self, resource_group: str, name: str, timeout_seconds: float, interval: float = 15.0
    ) -> models.VirtualMachine:
        """The VM, once its provisioning has succeeded; raises if that fails, or if there is no such VM."""
        what, label = "provision the virtual machine", f"{resource_group}/{name}"

        async def provisioned() -> models.VirtualMachine | None:
            vm = await self.get_vm(resource_group, name)
            if vm is None:
                raise_failed(what, label, "ResourceNotFound", "There is no such virtual machine.")
            status = status_of(vm)
            if status.provisioning == "failed":
                code, _, text = status.error.partition(": ")
                raise_failed(what, label, code or "ProvisioningFailed", text or "Azure gives no reason.")
            return vm if status.provisioning == "succeeded" else None

        vm: models.VirtualMachine = await wait_until(provisioned, what, label, self._clock, timeout_seconds, interval)
        return vm

    async def begin_start(self, resource_group: str, name: str) -> None:
        """Ask for the VM to be started."""
        with explaining("start the virtual machine", f"{resource_group}/{name}"):
            await self._client.virtual_machines.begin_start(resource_group, name, polling=False)

    async def start(self, resource_group: str, name: str, timeout_seconds: float = 1800) -> None:
        """Start the VM and wait until it runs."""
        what = "start the virtual machine"
        with explaining(what, f"{resource_group}/{name}"):
            polling = self._polling(what, resource_group, name, timeout_seconds)
            await (await self._client.virtual_machines.begin_start(resource_group, name, polling=polling)).result()

    async def begin_deallocate(self, resource_group: str, name: str) -> None:
        """Ask for the VM to be stopped and its hardware released."""
        with explaining("deallocate the virtual machine", f"{resource_group}/{name}"):
            await self._client.virtual_machines.begin_deallocate(resource_group, name, polling=False)

    async def deallocate(self, resource_group: str, name: str, timeout_seconds: float = 1800) -> None:
        """Stop the VM, release its hardware, and wait for it."""
        what = "deallocate the virtual machine"
        with explaining(what, f"{resource_group}/{name}"):
            polling = self._polling(what, resource_group, name, timeout_seconds)
            await (await self._client.virtual_machines.begin_deallocate(resource_group, name, polling=polling)).result()

    async def restart(self, resource_group: str, name: str, timeout_seconds: float = 1800) -> None:
        """Restart the VM and wait for Azure to have done so (Windows may still be starting)."""
        what = "restart the virtual machine"
        with explaining(what, f"{resource_group}/{name}"):
            polling = self._polling(what, resource_group, name, timeout_seconds)
            await (await self._client.virtual_machines.begin_restart(resource_group, name, polling=polling)).result()

    async def generalize(self, resource_group: str, name: str) -> None:
        """Tell Azure that the VM is generalised. Azure checks nothing inside it, and there is no way back."""
        with explaining("mark the virtual machine as generalised", f"{resource_group}/{name}"):
            await self._client.virtual_machines.generalize(resource_group, name)

    async def begin_delete_vm(self, resource_group: str, name: str) -> None:
        """Ask for the VM to be deleted, with its NIC and disk; that there is none counts as done."""
        await gone(
            lambda: self._client.virtual_machines.begin_delete(resource_group, name, polling=False),
            "delete the virtual machine",
            f"{resource_group}/{name}",
        )

    async def delete_vm(self, resource_group: str, name: str, timeout_seconds: float = 1800) -> None:
        """Delete the VM with its NIC and disk, and wait until it is gone; that there is none counts as done."""
        what = "delete the virtual machine"

        async def delete() -> None:
            polling = self._polling(what, resource_group, name, timeout_seconds)
            await (await self._client.virtual_machines.begin_delete(resource_group, name, polling=polling)).result()

        await gone(delete, what, f"{resource_group}/{name}")

    async def update_vm_tags(
        self,
        resource_group: str,
        name: str,
        set_tags: Mapping[str, str],
        remove: tuple[str, ...] = (),
        *,
        seen: SeenTags | None = None,
    ) -> dict[str, str]:
        """Set and remove tags, leaving the others as they are; returns what the VM has now.

        Reads the tags first, and sends nothing if they are already so. Where the VM has an ETag, a change made by someone
        else in between is not overwritten: it reads again. `seen` is what a look showed of it: as long as that is true, nothing is read.
        """
        what, label = "tag the virtual machine", f"{resource_group}/{name}"
        if seen is not None and seen.etag and merged(seen.tags, set_tags, remove) != dict(seen.tags):
            wanted = merged(seen.tags, set_tags, remove)
            if await self._put_tags(resource_group, name, wanted, seen.etag):
                return wanted
        for last in (False,) * (TAG_TRIES - 1) + (True,):
            vm = await self.get_vm(resource_group, name, instance_view=False)
            if vm is None:
                raise_failed(what, label, "ResourceNotFound", "There is no such virtual machine.")
            wanted = merged(vm.tags, set_tags, remove)
            if wanted == (vm.tags or {}) or await self._put_tags(resource_group, name, wanted, vm.etag, last=last):
                return wanted
        raise AssertionError("the last try either returns or raises")

    async def _put_tags(
        self, resource_group: str, name: str, wanted: dict[str, str], etag: str | None, *, last: bool = False
    ) -> bool:
        """Writes all tags of a VM; False where it has changed since it had this ETag, unless this is the last try."""
        body = models.VirtualMachineUpdate(tags=wanted)
        try:
            with explaining("tag the virtual machine", f"{resource_group}/{name}"):
                await self._client.virtual_machines.begin_update(
                    resource_group, name, body, polling=False, **_if_unchanged(etag)
                )
        except AzureFailure as refused:
            if refused.status != 412 or last:
                raise
            return False
        return True

    async def begin_keep_network_cards(self, resource_group: str, name: str) -> None:
        """Ask that the VM's NICs outlive it: `deleteOption: Detach` on each, and nothing else of it changed.

        The caller sees at its next look whether it is so. A PATCH may change that of a VM that stands
        (learn.microsoft.com/azure/virtual-machines/delete), and has to name all of them, since no part of a list can be patched
        (learn.microsoft.com/previous-versions/azure/virtual-machines/put-calls-create-or-update).
        """
        what, label = "keep the network card of the virtual machine", f"{resource_group}/{name}"
        vm = await self.get_vm(resource_group, name, instance_view=False)
        profile = vm.properties.network_profile if vm is not None and vm.properties is not None else None
        if vm is None or profile is None:
            raise_failed(
                what, label, "ResourceNotFound", "There is no such virtual machine, or it has no network card."
            )
        kept = [
            _reference(each.id or "", primary=each.properties.primary if each.properties is not None else None)
            for each in profile.network_interfaces or []
        ]
        wanted = models.VirtualMachineUpdate(
            properties=models.VirtualMachineProperties(network_profile=models.NetworkProfile(network_interfaces=kept))
        )
        try:
            with explaining(what, label):
                await self._client.virtual_machines.begin_update(
                    resource_group, name, wanted, polling=False, **_if_unchanged(vm.etag)
                )
        except AzureFailure as refused:
            if refused.status != 412:  # somebody has changed it in between: it is looked at again
                raise

    async def swap_os_disk(
        self, resource_group: str, name: str, disk_id: str, timeout_seconds: float = 1800
    ) -> models.VirtualMachine:
        """Have the VM, which must be deallocated, boot from another disk; the disk it had is left, detached. Waits for it."""
        what, label = "swap the OS disk", f"{resource_group}/{name}"
        vm = await self.get_vm(resource_group, name, instance_view=False)
        disk = vm.properties.storage_profile.os_disk if vm and vm.properties and vm.properties.storage_profile else None
        if vm is None or disk is None:
            raise_failed(what, label, "ResourceNotFound", "There is no such virtual machine, or it has no OS disk.")
        if not same(disk.managed_disk.id if disk.managed_disk else None, disk_id):
            disk.name, disk.managed_disk = disk_id.rpartition("/")[2], models.ManagedDiskParameters(id=disk_id)
            with explaining(what, label):
                poller = await self._client.virtual_machines.begin_create_or_update(
                    resource_group,
                    name,
                    vm,
                    polling=self._polling(what, resource_group, name, timeout_seconds),
                    **_if_unchanged(vm.etag),
                )
                await poller.result()
        return await self.wait_until_provisioned(resource_group, name, timeout_seconds)

    # Extensions

    async def get_extension(
        self, resource_group: str, vm_name: str, name: str
    ) -> models.VirtualMachineExtension | None:
        """The extension with its instance view, or None."""
        return await found(
            lambda: self._client.virtual_machine_extensions.get(resource_group, vm_name, name, expand="instanceView"),
            "read the extension",
            f"{resource_group}/{vm_name}/{name}",
        )

    async def begin_put_extension(self, resource_group: str, vm_name: str, spec: ExtensionSpec) -> None:
        """Ask for the extension to be installed, or updated if it is there."""
        with explaining("install the extension", f"{resource_group}/{vm_name}/{spec.name}"):
            await self._client.virtual_machine_extensions.begin_create_or_update(
                resource_group, vm_name, spec.name, _extension(spec), polling=False
            )

    async def put_extension(
        self, resource_group: str, vm_name: str, spec: ExtensionSpec, timeout_seconds: float = 5700
    ) -> models.VirtualMachineExtension:
        """Install or update the extension and wait; Azure itself gives up after 90 minutes."""
        what = "install the extension"
        with explaining(what, f"{resource_group}/{vm_name}/{spec.name}"):
            poller = await self._client.virtual_machine_extensions.begin_create_or_update(
                resource_group,
                vm_name,
                spec.name,
                _extension(spec),
                polling=self._polling(what, resource_group, f"{vm_name}/{spec.name}", timeout_seconds),
            )
            return await poller.result()

    # Scripts (managed run commands)

    async def begin_script(self, resource_group: str, vm_name: str, script: Script) -> None:
        """Send the script; Azure starts it and answers at once. Sending one of the same name runs it again."""
        with explaining("start the script", f"{resource_group}/{vm_name}/{script.name}"):
            await self._client.virtual_machine_run_commands.begin_create_or_update(
                resource_group, vm_name, script.name, _run_command(script), polling=False
            )

    async def get_script_result(self, resource_group: str, vm_name: str, name: str) -> ScriptResult | None:
        """How the script of that name is doing, or None if none was sent.

        Raises if Azure could not run it at all, which is not the same as a script that failed.
        """
        what, label = "run the script", f"{resource_group}/{vm_name}/{name}"
        command = await found(
            lambda: self._client.virtual_machine_run_commands.get_by_virtual_machine(
                resource_group, vm_name, name, expand="instanceView"
            ),
            what,
            label,
        )
        if command is None:
            return None
        result = _script_result(command)
        if not result.over and ((command.properties and command.properties.provisioning_state) or "") == "Failed":
            raise_failed(what, label, "RunCommandFailed", result.message or result.error or "Azure gives no reason.")
        return result

    async def list_scripts(self, resource_group: str, vm_name: str) -> list[tuple[str, dict[str, str]]]:
        """The scripts that were sent to the VM, whatever became of them: name and tags."""
        with explaining("list the scripts", f"{resource_group}/{vm_name}"):
            commands = self._client.virtual_machine_run_commands.list_by_virtual_machine(resource_group, vm_name)
            return [(command.name or "", dict(command.tags or {})) async for command in commands]

    async def wait_for_script(
        self, resource_group: str, vm_name: str, name: str, timeout_seconds: float, interval: float = 15.0
    ) -> ScriptResult:
        """The result of a script that was sent before, once it is over, however it ended."""
        what, label = "run the script", f"{resource_group}/{vm_name}/{name}"

        async def over() -> ScriptResult | None:
            result = await self.get_script_result(resource_group, vm_name, name)
            if result is None:
                raise_failed(what, label, "ResourceNotFound", "The script was removed while it was waited for.")
            return result if result.over else None

        result: ScriptResult = await wait_until(over, what, label, self._clock, timeout_seconds, interval)
        return result

    async def run_script(
        self, resource_group: str, vm_name: str, script: Script, timeout_seconds: float | None = None
    ) -> ScriptResult:
        """Have the script run once: send it unless one of its name was sent before, and wait for its result.

        Waits ten minutes longer than the script's own time-out unless told otherwise. To run it again, delete it first.
        """
        if await self.get_script_result(resource_group, vm_name, script.name) is None:
            await self.begin_script(resource_group, vm_name, script)
        allowed = timeout_seconds if timeout_seconds is not None else script.timeout_seconds + 600.0
        return await self.wait_for_script(resource_group, vm_name, script.name, allowed)

    async def delete_script(self, resource_group: str, vm_name: str, name: str, timeout_seconds: float = 900) -> None:
        """Remove the run command, ending the script if it runs; that there is none counts as done."""
        what = "remove the script"

        async def delete() -> None:
            polling = self._polling(what, resource_group, f"{vm_name}/{name}", timeout_seconds)
            commands = self._client.virtual_machine_run_commands
            await (await commands.begin_delete(resource_group, vm_name, name, polling=polling)).result()

        await gone(delete, what, f"{resource_group}/{vm_name}/{name}")

    # Patches

    async def assess_patches(
        self, resource_group: str, vm_name: str, timeout_seconds: float = 3600
    ) -> models.VirtualMachineAssessPatchesResult:
        """Look for missing patches now. Look at the result's `status`: the call succeeds even if the assessment failed."""
        what = "assess the patches of the virtual machine"
        with explaining(what, f"{resource_group}/{vm_name}"):
            poller = await self._client.virtual_machines.begin_assess_patches(
                resource_group, vm_name, polling=self._polling(what, resource_group, vm_name, timeout_seconds)
            )
            return await poller.result()

    async def install_patches(
        self,
        resource_group: str,
        vm_name: str,
        classifications: tuple[str, ...] = ("Critical", "Security", "UpdateRollUp"),
        maximum_hours: int = 4,
    ) -> models.VirtualMachineInstallPatchesResult:
        """Install missing patches, restarting as needed. Look at the result's `status`, as with `assess_patches`."""
        what = "install patches"
        request = models.VirtualMachineInstallPatchesParameters(
            maximum_duration=timedelta(hours=maximum_hours),
            reboot_setting="IfRequired",
            windows_parameters=models.WindowsParameters(classifications_to_include=list(classifications)),
        )
        with explaining(what, f"{resource_group}/{vm_name}"):
            poller = await self._client.virtual_machines.begin_install_patches(
                resource_group,
                vm_name,
                request,
                polling=self._polling(what, resource_group, vm_name, (maximum_hours + 1) * 3600, interval=30),
            )
            return await poller.result()

    # What a region offers

    async def list_usages(self, location: str) -> list[models.Usage]:
        """The subscription's compute quotas in the region, and what is used of them."""
        with explaining("read the quotas", location):
            return [usage async for usage in self._client.usage.list(location)]

    async def list_skus(self, location: str) -> list[models.ResourceSku]:
        """The VM sizes, disk types and so on that the region offers to this subscription."""
        with explaining("list the VM sizes", location):
            return [sku async for sku in self._client.resource_skus.list(filter=f"location eq '{location}'")]

    async def list_marketplace_versions(self, location: str, publisher: str, offer: str, sku: str) -> list[str]:
        """The versions of a marketplace image in the region, oldest first; empty if there is no such image."""
        versions = await found(
            lambda: self._client.virtual_machine_images.list(location, publisher, offer, sku),
            "list the versions of the marketplace image",
            f"{publisher}/{offer}/{sku} in {location}",
        )
        return sorted((version.name for version in versions or []), key=_numerically)

    async def get_marketplace_image(self, location: str, image: MarketplaceImage) -> models.VirtualMachineImage | None:
        """A marketplace image version with its purchase plan and generation, or None."""
        return await found(
            lambda: self._client.virtual_machine_images.get(
                location, image.publisher, image.offer, image.sku, image.version
            ),
            "read the marketplace image",
            f"{image.publisher}/{image.offer}/{image.sku}/{image.version} in {location}",
        )

    async def _put_new_vm(self, spec: VmSpec, polling: Any) -> bool:
        try:
            with explaining("create the virtual machine", f"{spec.resource_group}/{spec.name}"):
                poller = await self._client.virtual_machines.begin_create_or_update(
                    spec.resource_group,
                    spec.name,
                    vm_body(spec),
                    match_condition=MatchConditions.IfMissing,
                    polling=polling,
                )
                await poller.result()
        except AzureFailure as refused:
            if refused.status == 412:  # If-None-Match: * says that it exists
                return False
            raise
        return True

    def _polling(
        self, what: str, resource_group: str, name: str, timeout_seconds: float, interval: float = POLL_SECONDS
    ) -> Any:
        return Polling(what, f"{resource_group}/{name}", self._clock, timeout_seconds, interval)


# Reading models


def status_of(vm: Mapping[str, Any]) -> VmStatus:
    """What the VM is doing, from its instance view and provisioning state: of an SDK's model, or of the JSON that Azure sends."""
    properties = vm.get("properties") or {}
    view = properties.get("instanceView") or {}
    power: Power = "unknown"
    error = ""
    generalized = False
    provisioning = (properties.get("provisioningState") or "").lower()
    for status in view.get("statuses") or []:
        code = status.get("code") or ""
        family, _, rest = code.partition("/")
        if family == "PowerState":
            power = next((known for known in POWERS if known == rest.lower()), "unknown")
        elif family == "ProvisioningState":
            state, _, detail = rest.partition("/")
            provisioning = provisioning or state.lower()
            if state.lower() == "failed":
                told = status.get("message") or status.get("displayStatus") or ""
                error = f"{detail or 'ProvisioningFailed'}: {told}"
        generalized = generalized or code == "OSState/generalized"
    agent = (view.get("vmAgent") or {}).get("statuses") or []
    return VmStatus(
        power=power,
        provisioning=provisioning or "unknown",
        error=error,
        generalized=generalized,
        agent_ready=any(status.get("code") == "ProvisioningState/succeeded" for status in agent) if agent else None,
    )


def listed(vm: Mapping[str, Any]) -> ListedVm:
    """What Azure's JSON says of a VM."""
    properties = vm.get("properties") or {}
    cards = (properties.get("networkProfile") or {}).get("networkInterfaces") or []
    created = properties.get("timeCreated")
    return ListedVm(
        id=vm["id"],
        name=vm["name"],
        location=vm["location"],
        tags=vm.get("tags") or {},
        vm_id=properties.get("vmId") or "",
        provisioning=properties.get("provisioningState") or "Unknown",
        created_at=datetime.fromisoformat(created) if created else None,
        image=image_version_of(vm),
        network_cards=tuple(card["id"] for card in cards),
        etag=vm.get("etag") or "",
    )


def image_version_of(vm: Mapping[str, Any]) -> str | None:
    """The id of the image (or, of a marketplace image, its URN) that a VM was made from: of a model, or of Azure's JSON.

    A VM of a gallery definition's latest version names the definition, and the version that was taken: then it is that version's id.
    """
    storage = (vm.get("properties") or {}).get("storageProfile") or {}
    image = storage.get("imageReference")
    if not image:
        return None
    exact = image.get("exactVersion")
    if not image.get("id"):
        return f"{image.get('publisher')}:{image.get('offer')}:{image.get('sku')}:{exact or image.get('version')}"
    resource_id = str(image["id"])
    is_definition = "/galleries/" in resource_id.casefold() and "/versions/" not in resource_id.casefold()
    return f"{resource_id}/versions/{exact}" if is_definition and exact else resource_id


def merged(tags: Mapping[str, str] | None, set_tags: Mapping[str, str], remove: tuple[str, ...]) -> dict[str, str]:
    """Tags with some set and some removed. Names are compared without regard to case, as Azure does."""
    touched = {name.casefold() for name in (*set_tags, *remove)}
    kept = {name: value for name, value in (tags or {}).items() if name.casefold() not in touched}
    return {**kept, **set_tags}


# Writing models


def vm_body(spec: VmSpec) -> models.VirtualMachine:
    """The request body for a VM with its disk inline, and its NIC inline or by reference."""
    return models.VirtualMachine(
        location=spec.location,
        tags=dict(spec.tags),
        zones=list(spec.zones) or None,
        identity=models.VirtualMachineIdentity(type="SystemAssigned") if spec.identity else None,
        plan=_plan(spec.plan),
        properties=models.VirtualMachineProperties(
            license_type=spec.license_type,
            hardware_profile=models.HardwareProfile(vm_size=spec.size),
            storage_profile=_storage(spec),
            os_profile=None if isinstance(spec.image, AttachedDisk) else _os(spec),
            network_profile=_network(spec),
            security_profile=_security(spec),
            diagnostics_profile=models.DiagnosticsProfile(boot_diagnostics=models.BootDiagnostics(enabled=True)),
        ),
    )


def _plan(plan: PurchasePlan | None) -> models.Plan | None:
    if plan is None:
        return None
    return models.Plan(name=plan.name, publisher=plan.publisher, product=plan.product)


def _storage(spec: VmSpec) -> models.StorageProfile:
    image = spec.image
    if isinstance(image, AttachedDisk):
        attached = models.OSDisk(
            os_type="Windows",
            create_option="Attach",
            caching="ReadWrite",
            delete_option="Delete",
            managed_disk=models.ManagedDiskParameters(id=image.disk_id),
        )
        return models.StorageProfile(os_disk=attached)
    if isinstance(image, GalleryImage):
        reference = models.ImageReference(id=image.version_id)
    else:
        reference = models.ImageReference(
            publisher=image.publisher, offer=image.offer, sku=image.sku, version=image.version
        )
    return models.StorageProfile(
        image_reference=reference,
        os_disk=models.OSDisk(
            name=f"{spec.name}-os",
            os_type="Windows",
            create_option="FromImage",
            caching="ReadWrite",
            delete_option="Delete",
            disk_size_gb=spec.os_disk_gb,
            managed_disk=models.ManagedDiskParameters(storage_account_type=spec.os_disk_type),
        ),
    )


def _os(spec: VmSpec) -> models.OSProfile:
    return models.OSProfile(
        computer_name=spec.name,
        admin_username=spec.admin_username,
        admin_password=spec.admin_password.get_secret_value(),
        windows_configuration=models.WindowsConfiguration(
            provision_vm_agent=True,
            enable_automatic_updates=spec.automatic_updates,
            patch_settings=models.PatchSettings(
                patch_mode="AutomaticByOS" if spec.automatic_updates else "Manual", assessment_mode="ImageDefault"
            ),
        ),
    )


def _network(spec: VmSpec) -> models.NetworkProfile:
    if spec.network_card:
        return models.NetworkProfile(network_interfaces=[_reference(spec.network_card, primary=True)])
    address = models.VirtualMachineNetworkInterfaceIPConfiguration(
        name="ipconfig",
        properties=models.VirtualMachineNetworkInterfaceIPConfigurationProperties(
            primary=True, subnet=models.SubResource(id=spec.subnet_id)
        ),
    )
    nic = models.VirtualMachineNetworkInterfaceConfiguration(
        name=f"{spec.name}-nic",
        tags=dict(spec.tags),
        properties=models.VirtualMachineNetworkInterfaceConfigurationProperties(
            primary=True, delete_option="Delete", ip_configurations=[address]
        ),
    )
    return models.NetworkProfile(network_api_version=NETWORK_API_VERSION, network_interface_configurations=[nic])


def _reference(card_id: str, *, primary: bool | None) -> models.NetworkInterfaceReference:
    """A NIC that outlives the VM."""
    properties = models.NetworkInterfaceReferenceProperties(primary=primary, delete_option="Detach")
    return models.NetworkInterfaceReference(id=card_id, properties=properties)


def _security(spec: VmSpec) -> models.SecurityProfile:
    if spec.security_type == "Standard":  # said aloud, since newer API versions default to TrustedLaunch
        return models.SecurityProfile(security_type="Standard")
    uefi = models.UefiSettings(secure_boot_enabled=True, v_tpm_enabled=True)
    return models.SecurityProfile(security_type=spec.security_type, uefi_settings=uefi)


def _extension(spec: ExtensionSpec) -> models.VirtualMachineExtension:
    return models.VirtualMachineExtension(
        location=spec.location,
        tags=dict(spec.tags),
        properties=models.VirtualMachineExtensionProperties(
            publisher=spec.publisher,
            type=spec.kind,
            type_handler_version=spec.version,
            auto_upgrade_minor_version=spec.auto_upgrade_minor_version,
            settings=dict(spec.settings),
            protected_settings=_revealed(spec.protected_settings) or None,
        ),
    )


def _revealed(value: Any) -> Any:
    """The settings with their secrets in the open, for the wire."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {name: _revealed(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_revealed(inner) for inner in value]
    return value


def _run_command(script: Script) -> models.VirtualMachineRunCommand:
    parameter = models.RunCommandInputParameter
    password = script.run_as_password
    return models.VirtualMachineRunCommand(
        location=script.location,
        tags=dict(script.tags),
        properties=models.VirtualMachineRunCommandProperties(
            source=models.VirtualMachineRunCommandScriptSource(script=script.source),
            parameters=[parameter(name=name, value=value) for name, value in script.parameters.items()],
            protected_parameters=[
                parameter(name=name, value=value.get_secret_value())
                for name, value in script.protected_parameters.items()
            ],
            async_execution=True,
            run_as_user=script.run_as_user,
            run_as_password=password.get_secret_value() if password else None,
            timeout_in_seconds=script.timeout_seconds,
            treat_failure_as_deployment_failure=False,
        ),
    )


def _script_result(command: models.VirtualMachineRunCommand) -> ScriptResult:
    view = command.properties.instance_view if command.properties else None
    if view is None:
        return ScriptResult(None, "", "", "Unknown")
    state = str(getattr(view.execution_state, "value", view.execution_state) or "Unknown")
    code = view.exit_code if state in SCRIPT_OVER else None
    return ScriptResult(code, view.output or "", view.error or "", state, view.execution_message or "")


def _if_unchanged(etag: str | None) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


def _numerically(version: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in version.split("."))
