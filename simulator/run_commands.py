"""Scripts run in a VM: managed run commands, which are resources, and the older action.

A managed run command's provisioning state says only that the platform ran it; whether the script did well stands in its instance
view: execution state, exit code, and the last 4 KB of each stream. With asyncExecution the operation ends once the script runs.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.guest import Performance
from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found
from simulator.kernel.world import Event

if TYPE_CHECKING:
    from simulator.compute import Compute
    from simulator.machines import Machine

PATH = "Microsoft.Compute/virtualMachines/{name}/runCommands"
KEEPS = 4096  # bytes of each stream
STARTS_WITHIN_S = 10
NEVER_RETURNED = ("protectedParameters", "runAsPassword", "instanceView", "provisioningState")


@dataclass
class RunCommand:
    """One managed run command of a VM."""

    vm: str
    name: str
    location: str
    given: Json
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "Creating"
    execution: str = "Pending"
    exit_code: int | None = None
    output: str = ""
    error: str = ""
    started: str | None = None
    ended: str | None = None
    ending: Event | None = None

    def body(self, *, view: bool = False) -> Json:
        """The resource as a GET shows it: nothing protected is in it."""
        properties = {k: v for k, v in self.given.items() if k not in NEVER_RETURNED}
        properties["provisioningState"] = self.state
        if view:
            seen: Json = {
                "executionState": self.execution,
                "output": self.output[-KEEPS:],
                "error": self.error[-KEEPS:],
            }
            seen |= {"exitCode": self.exit_code} if self.exit_code is not None else {}
            seen |= {"startTime": self.started} if self.started else {}
            seen |= {"endTime": self.ended} if self.ended else {}
            properties["instanceView"] = seen
        return {
            "id": f"{self.vm}/runCommands/{self.name}",
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines/runCommands",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": properties,
        }


def run_command_routes(compute: "Compute") -> list[Route]:
    """PUT, GET, DELETE and list of managed run commands, and the action."""
    one, many = group_path(PATH + "/{command}"), group_path(PATH)

    def put(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        _refuse_unless_running(machine)
        given, key = request.body.get("properties") or {}, request["command"].lower()
        existing = machine.run_commands.get(key)
        tags = dict(request.body.get("tags") or {})
        command = RunCommand(machine.id, request["command"], request.body["location"], given, tags)
        machine.run_commands[key] = command
        performance = _perform(compute, machine, given)
        _let_it_run(compute, machine, command, performance)
        waits = STARTS_WITHIN_S if given.get("asyncExecution") else STARTS_WITHIN_S + performance.seconds

        def finish() -> None:
            command.state = "Succeeded"

        operation = compute.cloud.operations.start(request["subscription"], machine.location, waits, finish)
        if existing:
            command.state = "Updating"
        return Reply(200 if existing else 201, command.body(), operation.headers(request, location=False))

    def get(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        found = machine.run_commands.get(request["command"].lower())
        if found is None:
            path = f"Microsoft.Compute/virtualMachines/{machine.name}/runCommands/{request['command']}"
            raise not_found(path, request["group"])
        return Reply(200, found.body(view=request.query.get("$expand", "").lower() == "instanceview"))

    def list_all(request: ArmRequest) -> Reply:
        return Reply(200, {"value": [each.body() for each in compute.need(request).run_commands.values()]})

    def delete(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        found = machine.run_commands.get(request["command"].lower())
        if found is None:
            return Reply(204)
        if found.ending is not None:
            found.ending.cancel()

        def finish() -> None:
            machine.run_commands.pop(request["command"].lower(), None)

        operation = compute.cloud.operations.start(request["subscription"], machine.location, 10, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def act(request: ArmRequest) -> Reply:
        machine = compute.need(request)
        _refuse_unless_running(machine)
        given: Json = {
            "source": {"script": "\n".join(request.body.get("script") or [])},
            "parameters": request.body.get("parameters") or [],
        }
        performance = _perform(compute, machine, given)

        def finish() -> Json:
            performance.effect()
            stream = {
                "code": "ComponentStatus/StdOut/succeeded",
                "level": "Info",
                "displayStatus": "Provisioning succeeded",
            }
            return {"value": [{**stream, "message": performance.output[-KEEPS:]}]}

        seconds = max(20.0, performance.seconds)
        operation = compute.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    return [
        Route("PUT", one, put, bucket="UpdateVM"),
        Route("GET", one, get, bucket="LowCostGet"),
        Route("DELETE", one, delete, bucket="UpdateVM"),
        Route("GET", many, list_all, bucket="LowCostGet"),
        Route("POST", group_path("Microsoft.Compute/virtualMachines/{name}/runCommand"), act, bucket="UpdateVM"),
    ]


def _perform(compute: "Compute", machine: "Machine", given: Json) -> Performance:
    script = (given.get("source") or {}).get("script") or ""
    return compute.cloud.guest.play(
        machine,
        script,
        _named(given.get("parameters")),
        _named(given.get("protectedParameters")),
        given.get("runAsUser"),
    )


def _let_it_run(compute: "Compute", machine: "Machine", command: RunCommand, performance: Performance) -> None:
    world = compute.cloud.world
    limit = command.given.get("timeoutInSeconds") or 5400

    def begin() -> None:
        command.execution, command.started = "Running", world.now.isoformat()
        command.ending = world.after(min(performance.seconds, limit), end)

    def end() -> None:
        command.ended = world.now.isoformat()
        if not machine.is_running:
            command.execution = "Failed"
            command.error = "The VM stopped while the script ran."
        elif performance.seconds > limit:
            command.execution, command.exit_code = "TimedOut", -1
        else:
            performance.effect()
            command.exit_code, command.output, command.error = (
                performance.exit_code,
                performance.output,
                performance.error,
            )
            command.execution = "Succeeded" if performance.exit_code == 0 else "Failed"

    world.after(STARTS_WITHIN_S / 2, begin)


def _named(parameters: list[Json] | None) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in parameters or []}


def _refuse_unless_running(machine: "Machine") -> None:
    if not machine.is_running:
        raise ArmError(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
