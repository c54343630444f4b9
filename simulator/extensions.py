"""VM extensions. The Entra join is played; any other extension succeeds after its time."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found

if TYPE_CHECKING:
    from simulator.compute import Compute
    from simulator.machines import Machine

PATH = "Microsoft.Compute/virtualMachines/{name}/extensions"
ENTRA_JOIN = "AADLoginForWindows"


@dataclass
class Extension:
    """One extension of a VM."""

    vm: str
    name: str
    location: str
    given: Json
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "Creating"

    def body(self, *, view: bool = False) -> Json:
        """The resource as a GET shows it: protected settings are never in it."""
        shown = {
            k: v for k, v in self.given.items() if k not in ("protectedSettings", "instanceView", "provisioningState")
        }
        properties = {**shown, "provisioningState": self.state}
        if view:
            status = {"code": f"ProvisioningState/{self.state.lower()}", "level": "Info", "displayStatus": self.state}
            properties["instanceView"] = {"name": self.name, "type": self.given.get("type", ""), "statuses": [status]}
        return {
            "id": f"{self.vm}/extensions/{self.name}",
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines/extensions",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": properties,
        }


def extension_routes(compute: "Compute") -> list[Route]:
    """PUT, GET, DELETE and list."""
    one, many = group_path(PATH + "/{extension}"), group_path(PATH)

    def put(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        _refuse_unless_running(machine)
        given, key = request.body.get("properties") or {}, request["extension"].lower()
        existing = machine.extensions.get(key)
        tags = dict(request.body.get("tags") or {})
        extension = Extension(machine.id, request["extension"], request.body["location"], given, tags)
        extension.state = "Updating" if existing else "Creating"
        machine.extensions[key] = extension
        outcome = compute.cloud.guest.extension_outcome(machine, given.get("type", ""))

        def finish() -> None:
            extension.state = "Failed" if outcome else "Succeeded"
            if outcome is not None:
                raise outcome
            if given.get("type") == ENTRA_JOIN:
                machine.change(entra_joined=True)

        seconds = compute.takes("extension", machine, compute.cloud.scenario.durations.extension)
        operation = compute.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(200 if existing else 201, extension.body(), operation.headers(request, location=False))

    def get(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        found = machine.extensions.get(request["extension"].lower())
        if found is None:
            path = f"Microsoft.Compute/virtualMachines/{machine.name}/extensions/{request['extension']}"
            raise not_found(path, request["group"])
        return Reply(200, found.body(view=request.query.get("$expand", "").lower() == "instanceview"))

    def list_all(request: ArmRequest) -> Reply:
        return Reply(200, {"value": [each.body() for each in compute.need(request).extensions.values()]})

    def delete(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        if request["extension"].lower() not in machine.extensions:
            return Reply(204)

        def finish() -> None:
            machine.extensions.pop(request["extension"].lower(), None)

        seconds = compute.takes("extension delete", machine, (10, 26))
        operation = compute.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    return [
        Route("PUT", one, put, bucket="UpdateVM"),
        Route("GET", one, get, bucket="LowCostGet"),
        Route("DELETE", one, delete, bucket="UpdateVM"),
        Route("GET", many, list_all, bucket="LowCostGet"),
    ]


def _refuse_unless_running(machine: "Machine") -> None:
    if not machine.is_running:
        raise ArmError(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
