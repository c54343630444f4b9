"""Virtual machines: creating, starting, stopping, generalising and deleting them.

A create, start or deallocation answers at once and takes its time; what the machine becomes is told to the other services as
news. Deleting a VM takes its network card and its OS disk along where they were made so (`deleteOption: Delete`).
"""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from simulator.contents import Contents
from simulator.extensions import extension_routes
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
from simulator.machines import Machine, Power, check_computer_name, without_secrets
from simulator.news import MachineDeleted, MachineRunning, MachineStopped, MachineStopping
from simulator.run_commands import run_command_routes

if TYPE_CHECKING:
    from simulator.cloud import Cloud

VM = "Microsoft.Compute/virtualMachines/{name}"


class Compute:
    """All virtual machines."""

    def __init__(self, cloud: "Cloud") -> None:
        self.cloud = cloud
        self._machines: dict[str, Machine] = {}
        self._made = 0

    def populate(self) -> None:
        """The hosts of the scenario's pools are placed by the desktop service."""

    def routes(self) -> list[Route]:
        """Everything under virtualMachines."""
        vm = group_path(VM)
        everywhere = "/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines"
        return [
            Route("PUT", vm, self._put, bucket="PutVM"),
            Route("PATCH", vm, self._patch, bucket="PutVM"),
            Route("GET", vm, self._get, bucket="LowCostGet"),
            Route("DELETE", vm, self._delete, bucket="DeleteVM"),
            Route("GET", vm + "/instanceView", self._instance_view, bucket="LowCostGet"),
            Route("GET", group_path("Microsoft.Compute/virtualMachines"), self._list, bucket="HighCostGet"),
            Route("GET", everywhere, self._list_all, bucket="HighCostGet"),
            Route("POST", vm + "/start", self._start, bucket="UpdateVM"),
            Route("POST", vm + "/powerOff", self._power_off, bucket="UpdateVM"),
            Route("POST", vm + "/restart", self._restart, bucket="UpdateVM"),
            Route("POST", vm + "/deallocate", self._deallocate, bucket="DeleteVM"),
            Route("POST", vm + "/generalize", self._generalize, bucket="UpdateVM"),
            *extension_routes(self),
            *run_command_routes(self),
        ]

    # What the world asks

    def find(self, vm_id: str) -> Machine | None:
        """The machine with this id."""
        return self._machines.get(vm_id.lower())

    def machines(self) -> list[Machine]:
        """Every machine, oldest first."""
        return list(self._machines.values())

    def place(
        self,
        subscription: str,
        group: str,
        name: str,
        location: str,
        size: str,
        subnet_id: str,
        contents: Contents,
        image_reference: Json,
        tags: dict[str, str],
        created: datetime,
    ) -> Machine:
        """Puts a machine into the world that has been running there for long."""
        self.cloud.management.reserve(location, size)
        machine = self._build(
            subscription, group, name, location, size, subnet_id, contents, image_reference, tags, created
        )
        machine.power, machine.provisioning_state, machine.booted_at = "running", "Succeeded", created
        self.cloud.world.tell(MachineRunning(machine.id))
        return machine

    def need(self, request: ArmRequest) -> Machine:
        """The machine that a request is about. Raises the 404."""
        machine = self.find(self._id(request))
        if machine is None:
            raise not_found(f"Microsoft.Compute/virtualMachines/{request['name']}", request["group"])
        return machine

    def takes(self, what: str, machine: Machine, low_high: tuple[float, float]) -> float:
        """How long something takes on a machine this time, in seconds."""
        machine.revision += 1
        return self.cloud.world.chance(what, machine.vm_id, machine.revision).uniform(*low_high)

    # Making

    def _build(
        self,
        subscription: str,
        group: str,
        name: str,
        location: str,
        size: str,
        subnet_id: str,
        contents: Contents,
        image_reference: Json,
        tags: dict[str, str],
        created: datetime,
    ) -> Machine:
        self._made += 1
        vm_id = str(uuid.UUID(int=self.cloud.world.chance("vm", self._made).getrandbits(128), version=4))
        machine_id = resource_id(subscription, group, f"Microsoft.Compute/virtualMachines/{name}")
        nic = resource_id(subscription, group, f"Microsoft.Network/networkInterfaces/{name}-nic-{vm_id[:8]}")
        self.cloud.network.join(subnet_id, nic, location, machine_id, dict(tags))
        creation: Json = {"createOption": "FromImage"}
        if image_reference.get("id"):
            creation["galleryImageReference"] = {"id": image_reference["id"]}
        disk = self.cloud.disks.add(
            subscription,
            group,
            f"{name}_OsDisk_{vm_id[:8]}",
            location,
            contents,
            managed_by=machine_id,
            creation=creation,
            tags=dict(tags),
        )
        machine = Machine(
            subscription, group, name, location, size, vm_id, disk, nic, image_reference, created, tags=dict(tags)
        )
        self._machines[machine.id.lower()] = machine
        return machine

    def _put(self, request: ArmRequest) -> Reply:
        self.cloud.management.require_group(request["group"])
        existing = self.find(self._id(request))
        if existing is not None:
            return self._put_again(request, existing)
        properties = request.body["properties"]
        location = request.body["location"]
        size = properties["hardwareProfile"]["vmSize"]
        check_computer_name((properties.get("osProfile") or {}).get("computerName") or request["name"])
        image, contents = self._image(properties, location)
        security = (properties.get("securityProfile") or {}).get("securityType", "Standard")
        self._check_security(image, security)
        subnet, tags = _subnet(properties), dict(request.body.get("tags") or {})
        self.cloud.management.reserve(location, size)
        try:
            machine = self._build(
                request["subscription"],
                request["group"],
                request["name"],
                location,
                size,
                subnet,
                contents,
                image,
                tags,
                self.cloud.world.now,
            )
        except ArmError:
            self.cloud.management.release(location, size)
            raise
        machine.security_type, machine.given = security, without_secrets(properties)
        machine.zones = list(request.body.get("zones") or [])
        machine.disk.sku = ((properties["storageProfile"].get("osDisk") or {}).get("managedDisk") or {}).get(
            "storageAccountType", "Premium_LRS"
        )
        if request.body.get("identity"):
            tenant = self.cloud.scenario.tenant_id
            machine.identity = {"type": "SystemAssigned", "principalId": machine.vm_id, "tenantId": tenant}
        return self._creating(request, machine)

    def _creating(self, request: ArmRequest, machine: Machine) -> Reply:
        outcome = self.cloud.guest.creation_outcome(machine)

        def finish() -> None:
            if self.find(machine.id) is not machine:
                raise ArmError(404, "NotFound", f"The VM {machine.name} was deleted while it was being created.")
            machine.provisioning_state = "Failed" if outcome else "Succeeded"
            machine.failure = outcome
            if outcome is None or outcome.code.startswith("OSProvisioning"):
                self._boot(machine)
            else:
                machine.power = "stopped"
            if outcome is not None:
                raise outcome

        seconds = self.takes("create", machine, self.cloud.scenario.durations.vm_create)
        operation = self.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(201, machine.body(), operation.headers(request, location=False))

    def _boot(self, machine: Machine) -> None:
        machine.change(image_state="IMAGE_STATE_COMPLETE", generalized=False)
        machine.power, machine.booted_at = "running", self.cloud.world.now
        self.cloud.world.tell(MachineRunning(machine.id))

    def _put_again(self, request: ArmRequest, machine: Machine) -> Reply:
        if request.headers.get("if-none-match") == "*":
            raise ArmError(412, "PreconditionFailed", f"The resource '{machine.name}' already exists.")
        machine.tags = dict(request.body.get("tags") or {})
        return self._updating(request, machine)

    def _patch(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        match = request.headers.get("if-match")
        if match and match not in ("*", f'"{machine.revision}"'):
            raise ArmError(412, "PreconditionFailed", "The condition specified by the If-Match header was not met.")
        if "tags" in request.body:
            machine.tags = dict(request.body["tags"] or {})
        return self._updating(request, machine)

    def _updating(self, request: ArmRequest, machine: Machine) -> Reply:
        machine.revision += 1
        before = machine.provisioning_state

        def finish() -> None:
            if machine.provisioning_state == "Updating":
                machine.provisioning_state = "Succeeded"

        if before == "Succeeded":
            machine.provisioning_state = "Updating"
        operation = self.cloud.operations.start(request["subscription"], machine.location, 3, finish)
        return Reply(200, machine.body(), operation.headers(request, location=False))

    def _image(self, properties: Json, location: str) -> tuple[Json, Contents]:
        """The image reference as asked for, and what is in the image. Raises where there is no such image."""
        reference = dict((properties.get("storageProfile") or {}).get("imageReference") or {})
        if image_id := reference.get("id"):
            if managed := self.cloud.images.find(image_id):
                return {"id": managed.id}, managed.contents
            version = self.cloud.galleries.usable(image_id, location)
            return {"id": image_id}, version.contents
        publisher, offer = reference.get("publisher", ""), reference.get("offer", "")
        contents = self.cloud.galleries.marketplace(
            publisher, offer, reference.get("sku", ""), reference.get("version", "latest"), location
        )
        return reference, contents

    def _check_security(self, image: Json, security: str) -> None:
        version = self.cloud.galleries.find(image.get("id", ""))
        if version is not None and version.definition.security_type == "TrustedLaunch" != security:
            raise ArmError(
                400,
                "BadRequest",
                "The provided gallery image only supports creation of VMs and VM Scale Sets with 'TrustedLaunch' security type.",
            )

    # Reading

    def _id(self, request: ArmRequest) -> str:
        return resource_id(
            request["subscription"], request["group"], f"Microsoft.Compute/virtualMachines/{request['name']}"
        )

    def _get(self, request: ArmRequest) -> Reply:
        return Reply(200, self.need(request).body(view=request.query.get("$expand", "").lower() == "instanceview"))

    def _instance_view(self, request: ArmRequest) -> Reply:
        return Reply(200, self.need(request).instance_view())

    def _list(self, request: ArmRequest) -> Reply:
        self.cloud.management.require_group(request["group"])
        found = [m.body() for m in self._machines.values() if m.group.lower() == request["group"].lower()]
        return page(request, found)

    def _list_all(self, request: ArmRequest) -> Reply:
        """With statusOnly=true: what every machine is doing, without its tags."""
        only = request.flag("statusOnly")
        return page(request, [m.body(view=only, tags=not only) for m in self._machines.values()])

    # Doing

    def _refuse_generalized(self, machine: Machine, what: str) -> None:
        if machine.generalized:
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation '{what}' is not allowed on VM '{machine.name}' since the VM is generalized.",
            )

    def _accepted(self, request: ArmRequest, machine: Machine, seconds: float, then: Power) -> Reply:
        def finish() -> None:
            machine.power = then
            if then == "running":
                self._boot(machine)
            else:
                self.cloud.world.tell(MachineStopped(machine.id))

        operation = self.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def _start(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        self._refuse_generalized(machine, "start")
        if machine.is_running:
            return Reply(200)
        machine.power = "starting"
        return self._accepted(
            request, machine, self.takes("start", machine, self.cloud.scenario.durations.vm_start), "running"
        )

    def _restart(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        self._refuse_generalized(machine, "restart")
        self._go_down(machine, "starting")
        return self._accepted(request, machine, self.takes("restart", machine, (60, 120)), "running")

    def _power_off(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        self._go_down(machine, "stopping")
        return self._accepted(request, machine, self.takes("power off", machine, (5, 27)), "stopped")

    def _deallocate(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        if machine.power == "deallocated":
            return Reply(200)
        self._go_down(machine, "deallocating")
        seconds = self.takes("deallocate", machine, self.cloud.scenario.durations.vm_deallocate)
        return self._accepted(request, machine, seconds, "deallocated")

    def _go_down(self, machine: Machine, power: Power) -> None:
        if machine.is_running:
            self.cloud.world.tell(MachineStopping(machine.id, clean=True))
        machine.power = power

    def _generalize(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        if machine.power in ("running", "starting"):
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation 'generalize' is not allowed on VM '{machine.name}' since the VM is running. Please power off explicitly in "
                "case you shut down the VM from inside the guest operating system.",
            )
        machine.generalized = True
        return Reply(200)

    def _delete(self, request: ArmRequest) -> Reply:
        machine = self.find(self._id(request))
        if machine is None:
            return Reply(204)
        if machine.is_running:
            self.cloud.world.tell(MachineStopping(machine.id, clean=False))
        machine.power, machine.provisioning_state = "stopping", "Deleting"

        def finish() -> None:
            if not same(machine.id, self._id(request)) or self._machines.pop(machine.id.lower(), None) is None:
                return
            self.cloud.management.release(machine.location, machine.size)
            self.cloud.network.leave(machine.nic)
            self.cloud.disks.remove(machine.disk.id)
            self.cloud.world.tell(MachineDeleted(machine.id))

        seconds = self.takes("delete", machine, self.cloud.scenario.durations.vm_delete)
        operation = self.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))


def _subnet(properties: Json) -> str:
    """The subnet of the one network card that is made with the VM."""
    profile = properties.get("networkProfile") or {}
    for card in profile.get("networkInterfaceConfigurations") or []:
        for address in card["properties"]["ipConfigurations"]:
            return str(address["properties"]["subnet"]["id"])
    raise ArmError(
        400,
        "InvalidParameter",
        "The simulator makes VMs with their network card inline: networkProfile.networkInterfaceConfigurations is required.",
        target="networkProfile",
    )
