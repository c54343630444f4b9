"""VM extensions. The Entra join is played; any other extension succeeds after its time.

Protected settings go in and never come out.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found
from simulator.news import MachineJoined
from simulator.vm_orders import missing

if TYPE_CHECKING:
    from simulator.compute import Compute
    from simulator.machines import Machine

PATH = "Microsoft.Compute/virtualMachines/{name}/extensions"
ENTRA_JOIN = "AADLoginForWindows"
NEVER_RETURNED = ("protectedSettings", "instanceView", "provisioningState")
REMOVAL_S = (10.0, 26.0)  # live Azure


@dataclass
class Extension:
    """One extension of a VM."""

    vm: str
    name: str
    location: str
    given: Json
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "Creating"
    failure: ArmError | None = None

    @property
    def kind(self) -> str:
        """Its type, such as AADLoginForWindows."""
        return str(self.given.get("type", ""))

    def body(self, *, view: bool = False) -> Json:
        """The resource as a GET shows it."""
        properties = {k: v for k, v in self.given.items() if k not in NEVER_RETURNED}
        properties["provisioningState"] = self.state
        if view:
            properties["instanceView"] = self.view()
        return {
            "id": f"{self.vm}/extensions/{self.name}",
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines/extensions",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": properties,
        }

    def view(self) -> Json:
        """How it is doing."""
        state = self.state.lower()
        status: Json = {"code": f"ProvisioningState/{state}", "level": "Info", "displayStatus": f"Provisioning {state}"}
        if self.failure is not None:
            status |= {"level": "Error", "message": self.failure.message}
        return {
            "name": self.name,
            "type": f"{self.given.get('publisher', '')}.{self.kind}",
            "typeHandlerVersion": str(self.given.get("typeHandlerVersion", "1.0")),
            "statuses": [status],
        }


class Extensions:
    """The extensions of all VMs."""

    def __init__(self, compute: "Compute") -> None:
        self._compute = compute

    def routes(self) -> list[Route]:
        """PUT, GET, DELETE and list."""
        one, many = group_path(PATH + "/{extension}"), group_path(PATH)
        return [
            Route("PUT", one, self._put, bucket="UpdateVM"),
            Route("GET", one, self._get, bucket="LowCostGet"),
            Route("DELETE", one, self._delete, bucket="UpdateVM"),
            Route("GET", many, self._list, bucket="LowCostGet"),
        ]

    def _put(self, request: ArmRequest) -> Reply:
        machine = self._compute.need_running(request)
        given, key = request.body.get("properties") or {}, request["extension"].lower()
        for part in ("publisher", "type", "typeHandlerVersion"):
            if not given.get(part):
                raise missing(f"virtualMachineExtension.properties.{part}")
        existing = machine.extensions.get(key)
        if existing is not None and existing.state == "Deleting":
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation 'PUT' is not allowed on VM extension '{existing.name}' since it is marked for deletion. You can only "
                "retry the Delete operation (or wait for an ongoing one to complete).",
            )
        extension = Extension(
            machine.id,
            request["extension"],
            request.body.get("location") or machine.location,
            given,
            dict(request.body.get("tags") or {}),
            "Updating" if existing else "Creating",
        )
        machine.extensions[key] = extension
        boots = machine.boots
        operation = self._compute.cloud.operations.start(
            request["subscription"],
            machine.location,
            self._compute.takes("extension", machine, self._compute.cloud.scenario.durations.extension),
            lambda: self._settle(machine, extension, boots),
        )
        return Reply(200 if existing else 201, extension.body(), operation.headers(request, location=False))

    def _settle(self, machine: "Machine", extension: Extension, boots: int) -> None:
        """What has become of the installation."""
        if machine.extensions.get(extension.name.lower()) is not extension:
            raise ArmError(
                409, "OperationPreempted", "Operation execution has been preempted by a more recent operation."
            )
        failure = self._compute.cloud.guest.extension_outcome(machine, extension.name, extension.kind)
        if not self._compute.still_runs(machine, boots):
            failure = ArmError(
                409,
                "VMAgentStatusCommunicationError",
                f"VM '{machine.name}' has not reported status for VM agent or extensions. Verify that the OS is up and healthy, the VM "
                "has a running VM agent, and that it can establish outbound connections to Azure storage.",
            )
        extension.state, extension.failure = ("Failed" if failure else "Succeeded"), failure
        if failure is not None:
            raise failure
        if extension.kind == ENTRA_JOIN:
            machine.change(entra_joined=True)
            managed = bool((extension.given.get("settings") or {}).get("mdmId"))
            self._compute.cloud.world.tell(MachineJoined(machine.id, managed))

    def _get(self, request: ArmRequest) -> Reply:
        machine = self._compute.need(request)
        found = machine.extensions.get(request["extension"].lower())
        if found is None:
            path = f"Microsoft.Compute/virtualMachines/{machine.name}/extensions/{request['extension']}"
            raise not_found(path, request["group"])
        return Reply(200, found.body(view=request.query.get("$expand", "").lower() == "instanceview"))

    def _list(self, request: ArmRequest) -> Reply:
        return Reply(200, {"value": [each.body() for each in self._compute.need(request).extensions.values()]})

    def _delete(self, request: ArmRequest) -> Reply:
        machine, key = self._compute.need(request), request["extension"].lower()
        if key not in machine.extensions:
            return Reply(204)
        machine = self._compute.need_running(request)
        machine.extensions[key].state = "Deleting"

        def finish() -> None:
            machine.extensions.pop(key, None)

        seconds = self._compute.takes("extension removal", machine, REMOVAL_S)
        operation = self._compute.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))
