"""Virtual machines: making, reading, changing and deleting them.

A PUT answers 201 at once, and the machine runs when its operation has ended; what becomes of it is told to the other services as
news. `If-None-Match: *` makes a PUT that never touches what is there; `If-Match` a change that overwrites nobody else's.
Deleting a VM takes its network card and its OS disk along where they were made so (`deleteOption: Delete`); for the card that can be
changed later. A VM may be made with a card that is there.
"""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from simulator.contents import Contents
from simulator.disks import Disk
from simulator.extensions import Extensions
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
from simulator.machines import Machine, plain_account
from simulator.news import MachineDeleted, MachineRunning
from simulator.run_commands import RunCommands
from simulator.switches import VM, Switches
from simulator.vm_orders import Order, order_of

if TYPE_CHECKING:
    from simulator.cloud import Cloud

EVERYWHERE = "/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines"
UPDATE_S = 3.0  # live Azure: 0 to 9 s


class Compute:
    """All virtual machines."""

    def __init__(self, cloud: "Cloud") -> None:
        self.cloud = cloud
        self.switches = Switches(self)
        self._extensions = Extensions(self)
        self._run_commands = RunCommands(self)
        self._machines: dict[str, Machine] = {}
        self._made = 0

    def populate(self) -> None:
        """The hosts of the scenario's pools are placed by the desktop service."""

    def routes(self) -> list[Route]:
        """Everything under virtualMachines."""
        return [
            Route("PUT", VM, self._put, bucket="PutVM"),
            Route("PATCH", VM, self._patch, bucket="PutVM"),
            Route("GET", VM, self._get, bucket="LowCostGet"),
            Route("DELETE", VM, self._delete, bucket="DeleteVM"),
            Route("GET", VM + "/instanceView", self._instance_view, bucket="LowCostGet"),
            Route("GET", group_path("Microsoft.Compute/virtualMachines"), self._list, bucket="HighCostGet"),
            Route("GET", EVERYWHERE, self._list_all, bucket="HighCostGet"),
            *self.switches.routes(),
            *self._extensions.routes(),
            *self._run_commands.routes(),
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
        """Puts a machine into the world that has been running there since `created`."""
        self.cloud.management.reserve(location, size)
        order = Order(
            location=location,
            size=size,
            computer_name=name,
            admin_username="",
            admin_password="",
            image=image_reference,
            security_type="TrustedLaunch",
            subnet=subnet_id,
            nic_name=f"{name}-nic",
            disk_name=None,
            disk_sku="Premium_LRS",
            disk_size_gb=127,
            keeps_nic=False,
            keeps_disk=False,
            zones=[],
            tags=tags,
            nic_tags=tags,
            identity=True,
            plan=None,
            given={"licenseType": "Windows_Client"},
        )
        running = contents.changed(image_state="IMAGE_STATE_COMPLETE", generalized=False)
        machine = self._build(subscription, group, name, order, running, created)
        machine.power, machine.provisioning_state, machine.booted_at = "running", "Succeeded", created
        machine.boots, machine.agent_ready = 1, True
        machine.exact_version = str(image_reference.get("id", "")).rpartition("/")[2]
        self.cloud.world.tell(MachineRunning(machine.id))
        return machine

    def need(self, request: ArmRequest) -> Machine:
        """The machine that a request is about. Raises the 404."""
        machine = self.find(_id_in(request))
        if machine is None:
            raise not_found(f"Microsoft.Compute/virtualMachines/{request['name']}", request["group"])
        return machine

    def need_running(self, request: ArmRequest) -> Machine:
        """The machine that a request is about, where it runs and stays. Raises what Azure says of one that does not."""
        machine = self.need(request)
        self.switches.refuse_if_busy(machine, request.method)
        if not machine.is_running:
            raise ArmError(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
        return machine

    def still_runs(self, machine: Machine, boots: int) -> bool:
        """Whether a machine has been running without a break since its start number `boots`."""
        return machine.is_running and machine.boots == boots and self.find(machine.id) is machine

    def takes(self, what: str, machine: Machine, low_high: tuple[float, float]) -> float:
        """How long something takes on a machine this time, in seconds."""
        machine.throws += 1
        return self.cloud.world.chance(what, machine.vm_id, machine.throws).uniform(*low_high)

    # Making

    def _put(self, request: ArmRequest) -> Reply:
        self.cloud.management.require_group(request["group"])
        existing = self.find(_id_in(request))
        if existing is not None:
            return self._put_again(request, existing)
        order = order_of(request)
        image, contents, exact = ({}, self._free_disk(order).contents, "") if order.attached else self._image(order)
        if not order.attached:
            self._refuse_taken_disk(request, order)
            self.cloud.galleries.refuse_unbought(order.image, order.plan, request["name"])
        self.cloud.management.reserve(order.location, order.size)
        try:
            machine = self._build(
                request["subscription"],
                request["group"],
                request["name"],
                order,
                contents,
                self.cloud.world.now,
            )
        except ArmError:
            self.cloud.management.release(order.location, order.size)
            raise
        machine.image_reference, machine.exact_version = image, exact
        return self._creating(request, machine, order)

    def _build(
        self, subscription: str, group: str, name: str, order: Order, contents: Contents, created: datetime
    ) -> Machine:
        self._made += 1
        dice = self.cloud.world.chance("vm", self._made)
        vm_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        machine_id = resource_id(subscription, group, f"Microsoft.Compute/virtualMachines/{name}")
        nic = self._card_for(order, subscription, group, machine_id)
        disk = self._disk_for(order, subscription, group, name, machine_id, contents, dice.getrandbits(128))
        machine = Machine(
            subscription,
            group,
            name,
            order.location,
            order.size,
            vm_id,
            disk,
            nic,
            order.image,
            created,
            security_type=order.security_type,
            tags=dict(order.tags),
            given=order.given,
            zones=order.zones,
            computer_name=order.computer_name,
            plan=order.plan,
            keeps_nic=order.keeps_nic,
            keeps_disk=order.keeps_disk,
            attached=order.attached is not None,
        )
        if order.identity:
            principal = str(uuid.UUID(int=dice.getrandbits(128), version=4))
            machine.identity = {
                "type": "SystemAssigned",
                "principalId": principal,
                "tenantId": self.cloud.scenario.tenant_id,
            }
        self._machines[machine.id.lower()] = machine
        return machine

    def _card_for(self, order: Order, subscription: str, group: str, machine_id: str) -> str:
        """The id of a new machine's network card: the one that it is to have, or one made for it."""
        if order.card:
            return self.cloud.network.attach(order.card, order.location, machine_id).id
        made = resource_id(subscription, group, f"Microsoft.Network/networkInterfaces/{order.nic_name}")
        return self.cloud.network.join(order.subnet, made, order.location, machine_id, dict(order.nic_tags)).id

    def _disk_for(
        self, order: Order, subscription: str, group: str, name: str, machine_id: str, contents: Contents, number: int
    ) -> Disk:
        """The OS disk of a new machine: the one that it is to attach, or one made from its image."""
        if order.attached:
            found = self._free_disk(order)
            found.managed_by = machine_id
            return found
        creation: Json = {"createOption": "FromImage"}
        if order.image.get("id"):
            creation["galleryImageReference"] = {"id": order.image["id"]}
        made = self.cloud.disks.add(
            subscription,
            group,
            order.disk_name or f"{name}_OsDisk_1_{number:032x}",
            order.location,
            contents,
            managed_by=machine_id,
            creation=creation,
            tags=dict(order.tags),
            size_gb=order.disk_size_gb,
            sku=order.disk_sku,
        )
        made.security_type = order.security_type
        return made

    def _free_disk(self, order: Order) -> Disk:
        """The disk that a machine is to attach. Raises where there is none, or another machine has it."""
        return self._attachable(order.attached or "")

    def _attachable(self, disk_id: str) -> Disk:
        found = self.cloud.disks.find(disk_id)
        if found is None or found.kind != "disks":
            raise ArmError(404, "NotFound", f"Disk {disk_id.rpartition('/')[2]} is not found.", target="osDisk")
        if found.managed_by:
            raise ArmError(
                409,
                "ConflictingUserInput",
                f"Disk '{found.id}' cannot be attached as the disk is already owned by VM '{found.managed_by}'.",
                target="osDisk",
            )
        return found

    def _creating(self, request: ArmRequest, machine: Machine, order: Order) -> Reply:
        outcome = self.cloud.guest.creation_outcome(machine)
        task = machine.task

        def finish() -> None:
            if machine.task != task:
                raise ArmError(
                    409, "OperationPreempted", "Operation execution has been preempted by a more recent operation."
                )
            machine.provisioning_state = "Failed" if outcome else "Succeeded"
            machine.failure = outcome
            if outcome is None:
                self._set_up(machine, order)
            elif outcome.code.startswith("OSProvisioning"):  # it runs, but Windows is not set up and no agent answers
                machine.power, machine.booted_at = "running", self.cloud.world.now
            else:
                machine.power = "stopped"
            if outcome is not None:
                raise outcome

        seconds = self.takes("create", machine, self.cloud.scenario.durations.vm_create)
        operation = self.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(201, machine.body(), operation.headers(request, location=False))

    def _set_up(self, machine: Machine, order: Order) -> None:
        """Windows has set itself up under its new name, with the administrator it was asked for; on an attached disk it was before."""
        if order.attached:
            self.switches.boot(machine)
            return
        account = order.admin_username
        machine.passwords[plain_account(account)] = order.admin_password
        present = machine.contents.local_administrators
        if account.lower() not in {name.lower() for name in present}:
            machine.change(local_administrators=(*present, account))
        self.switches.boot(machine)

    def _image(self, order: Order) -> tuple[Json, Contents, str]:
        """The image reference as asked for, what is in the image, and its exact version. Raises where there is no such image."""
        if image_id := order.image.get("id"):
            if managed := self.cloud.images.find(image_id):
                return {"id": managed.id}, managed.contents, ""
            version = self.cloud.galleries.usable(image_id, order.location)
            _check_security(version.definition.security_type, order.security_type)
            return {"id": image_id}, version.contents, version.version
        publisher, offer, sku = (str(order.image.get(part) or "") for part in ("publisher", "offer", "sku"))
        asked = str(order.image.get("version") or "latest")
        contents = self.cloud.galleries.marketplace(publisher, offer, sku, asked, order.location)
        return order.image, contents, asked

    def _refuse_taken_disk(self, request: ArmRequest, order: Order) -> None:
        path = f"Microsoft.Compute/disks/{order.disk_name}"
        if order.disk_name and self.cloud.disks.find(resource_id(request["subscription"], request["group"], path)):
            raise ArmError(
                409,
                "ConflictingUserInput",
                f"Disk {order.disk_name} already exists in resource group {request['group'].upper()}. Only CreateOption.Attach is "
                "supported.",
                target="/subscriptions/" + request["subscription"],
            )

    # Changing

    def _put_again(self, request: ArmRequest, machine: Machine) -> Reply:
        self.refuse_if_leaving(machine, "PUT")
        if request.headers.get("if-none-match") == "*":
            raise ArmError(
                412,
                "PreconditionFailed",
                f"The resource '{machine.id}' already exists, and the request was made only for the case that it does not.",
            )
        _check_match(request, machine)
        storage = (request.body.get("properties") or {}).get("storageProfile") or {}
        asked = (storage.get("imageReference") or {}).get("id")
        if asked and not same(asked, machine.image_reference.get("id")):
            raise ArmError(
                409,
                "PropertyChangeNotAllowed",
                "Changing property 'imageReference' is not allowed.",
                target="imageReference",
            )
        _keep_card(request, machine)
        self._swap_disk(machine, storage.get("osDisk") or {})
        machine.tags = dict(request.body.get("tags") or {})
        return self._updating(request, machine)

    def _swap_disk(self, machine: Machine, asked: Json) -> None:
        """Another OS disk, where the PUT names one. Assumed: a machine that is not deallocated is refused (the portal stops it first)."""
        disk_id = (asked.get("managedDisk") or {}).get("id")
        if disk_id is None or same(disk_id, machine.disk.id):
            return
        if machine.power != "deallocated":
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"The OS disk of VM '{machine.name}' cannot be changed since the VM is {machine.power}. Please deallocate it first.",
                target="osDisk",
            )
        found = self._attachable(disk_id)
        machine.disk.managed_by, found.managed_by = None, machine.id
        machine.disk, machine.attached = found, True

    def _patch(self, request: ArmRequest) -> Reply:
        machine = self.need(request)
        self.refuse_if_leaving(machine, "PATCH")
        _check_match(request, machine)
        _keep_card(request, machine)
        if "tags" in request.body:
            machine.tags = dict(request.body["tags"] or {})
        return self._updating(request, machine)

    def refuse_if_leaving(self, machine: Machine, what: str) -> None:
        """Raises where a machine is being deleted; whatever else it does is no hindrance."""
        if machine.is_being_deleted:
            self.switches.refuse_if_busy(machine, what)

    def _updating(self, request: ArmRequest, machine: Machine) -> Reply:
        machine.revision += 1
        if machine.provisioning_state == "Succeeded":
            machine.provisioning_state = "Updating"

        def finish() -> None:
            if machine.provisioning_state == "Updating":
                machine.provisioning_state = "Succeeded"

        operation = self.cloud.operations.start(request["subscription"], machine.location, UPDATE_S, finish)
        return Reply(200, machine.body(), operation.headers(request, location=False))

    def _delete(self, request: ArmRequest) -> Reply:
        machine = self.find(_id_in(request))
        if machine is None:
            return Reply(204)
        if machine.is_being_deleted and machine.ongoing is not None:
            return Reply(202, None, machine.ongoing.headers(request, location=True))
        self.switches.go_down(machine, "stopping" if machine.is_running else machine.power, clean=False)
        machine.provisioning_state = "Deleting"
        machine.task += 1
        seconds = self.takes("delete", machine, self.cloud.scenario.durations.vm_delete)
        machine.ongoing = self.cloud.operations.start(
            request["subscription"], machine.location, seconds, lambda: self._gone(machine)
        )
        return Reply(202, None, machine.ongoing.headers(request, location=True))

    def _gone(self, machine: Machine) -> None:
        del self._machines[machine.id.lower()]
        self.cloud.management.release(machine.location, machine.size)
        if machine.keeps_nic:
            self.cloud.network.detach(machine.nic, failed=machine.failure is not None)
        else:
            self.cloud.network.leave(machine.nic)
        if machine.keeps_disk:
            machine.disk.managed_by = None
        else:
            self.cloud.disks.remove(machine.disk.id)
        self.cloud.world.tell(MachineDeleted(machine.id))

    # Reading

    def _get(self, request: ArmRequest) -> Reply:
        return Reply(200, self.need(request).body(view=request.query.get("$expand", "").lower() == "instanceview"))

    def _instance_view(self, request: ArmRequest) -> Reply:
        return Reply(200, self.need(request).instance_view())

    def _list(self, request: ArmRequest) -> Reply:
        self.cloud.management.require_group(request["group"])
        found = [machine for machine in self._machines.values() if same(machine.group, request["group"])]
        return _listed(request, found, Machine.body)

    def _list_all(self, request: ArmRequest) -> Reply:
        """With statusOnly=true: what every machine is doing, without its tags."""
        only = request.flag("statusOnly")
        return _listed(request, list(self._machines.values()), lambda machine: machine.body(view=only, tags=not only))


def _listed(request: ArmRequest, machines: list[Machine], body: Callable[[Machine], Json]) -> Reply:
    """One page of machines; only what is on the page is written out."""
    reply = page(request, machines)
    return Reply(200, {**reply.body, "value": [body(machine) for machine in reply.body["value"]]})


def _id_in(request: ArmRequest) -> str:
    path = f"Microsoft.Compute/virtualMachines/{request['name']}"
    return resource_id(request["subscription"], request["group"], path)


def _check_match(request: ArmRequest, machine: Machine) -> None:
    match = request.headers.get("if-match")
    if match and match not in ("*", machine.etag):
        raise ArmError(412, "PreconditionFailed", "The condition specified by the If-Match header was not met.")


def _keep_card(request: ArmRequest, machine: Machine) -> None:
    """What is to become of the machine's card, where the request says so; the machine cannot get another one here."""
    profile = (request.body.get("properties") or {}).get("networkProfile") or {}
    for card in profile.get("networkInterfaces") or []:
        if not same(card.get("id"), machine.nic):
            raise ArmError(
                400,
                "InvalidParameter",
                f"The simulator does not change the network cards of a VM: '{machine.name}' has {machine.nic}.",
                target="networkProfile",
            )
        option = (card.get("properties") or {}).get("deleteOption")
        if option is not None:
            machine.keeps_nic = option != "Delete"


def _check_security(of_image: str, asked: str) -> None:
    """Raises where a gallery's image and the VM do not agree on Trusted Launch."""
    if of_image == "TrustedLaunch" and asked != "TrustedLaunch":
        raise ArmError(
            400,
            "BadRequest",
            "The provided gallery image only supports creation of VMs and VM Scale Sets with 'TrustedLaunch' security type.",
        )
    if asked == "TrustedLaunch" and not of_image.startswith("TrustedLaunch"):
        raise ArmError(
            400,
            "BadRequest",
            "Use of TrustedLaunch setting is not supported for the provided image. Please select Trusted Launch Supported Gen2 OS "
            "Image. For more information, see https://aka.ms/TrustedLaunch-FAQ.",
        )
