"""Scripts run in a VM: managed run commands, which are resources, and the older action.

A managed run command's provisioning state says only that the platform ran it; whether the script did well stands in its instance
view: execution state, exit code, and the last 4 KB of each stream. With asyncExecution the operation ends once the script runs.
A PUT of the same name runs it anew; a DELETE ends a script that runs. A script whose machine stops under it has failed.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.guest import Performance
from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found
from simulator.kernel.world import Event
from simulator.vm_orders import missing

if TYPE_CHECKING:
    from simulator.compute import Compute
    from simulator.machines import Machine

PATH = "Microsoft.Compute/virtualMachines/{name}/runCommands"
KEEPS = 4096  # bytes of each stream
STARTS_AFTER_S = 5.0
NOTICED_AFTER_S = 1.0  # from the script's end to the operation's, which tells how it went
ACTION_TAKES_S = 20.0  # at least
REMOVAL_S = 10.0
DEFAULT_TIMEOUT_S = 5400
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
    message: str = ""
    started: str | None = None
    ended: str | None = None
    next: Event | None = None  # its beginning or its end, whichever comes next

    @property
    def limit_s(self) -> float:
        """After how many seconds it is stopped."""
        return float(self.given.get("timeoutInSeconds") or DEFAULT_TIMEOUT_S)

    def body(self, *, view: bool = False) -> Json:
        """The resource as a GET shows it: nothing protected is in it."""
        properties = {k: v for k, v in self.given.items() if k not in NEVER_RETURNED}
        properties["provisioningState"] = self.state
        if view:
            properties["instanceView"] = self.view()
        return {
            "id": f"{self.vm}/runCommands/{self.name}",
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines/runCommands",
            "location": self.location,
            "tags": dict(self.tags),
            "properties": properties,
        }

    def view(self) -> Json:
        """How the script is doing."""
        seen: Json = {
            "executionState": self.execution,
            "executionMessage": self.message,
            "output": self.output[-KEEPS:],
            "error": self.error[-KEEPS:],
        }
        seen |= {"exitCode": self.exit_code} if self.exit_code is not None else {}
        seen |= {"startTime": self.started} if self.started else {}
        seen |= {"endTime": self.ended} if self.ended else {}
        return seen

    def cancel(self) -> None:
        """Ends it without a trace."""
        if self.next is not None:
            self.next.cancel()


class RunCommands:
    """The scripts that Azure runs in VMs."""

    def __init__(self, compute: "Compute") -> None:
        self._compute = compute
        self._acting: set[str] = set()  # the machines in which the action runs a script: one at a time

    def routes(self) -> list[Route]:
        """PUT, GET, DELETE and list of managed run commands, and the action."""
        one, many = group_path(PATH + "/{command}"), group_path(PATH)
        action = group_path("Microsoft.Compute/virtualMachines/{name}/runCommand")
        return [
            Route("PUT", one, self._put, bucket="UpdateVM"),
            Route("GET", one, self._get, bucket="LowCostGet"),
            Route("DELETE", one, self._delete, bucket="UpdateVM"),
            Route("GET", many, self._list, bucket="LowCostGet"),
            Route("POST", action, self._act, bucket="UpdateVM"),
        ]

    # Managed run commands

    def _put(self, request: ArmRequest) -> Reply:
        machine = self._compute.need_running(request)
        given, key = request.body.get("properties") or {}, request["command"].lower()
        if not (given.get("source") or {}).get("script"):
            raise missing("runCommand.properties.source.script")
        existing = machine.run_commands.get(key)
        if existing is not None:
            existing.cancel()
        command = RunCommand(
            machine.id,
            request["command"],
            request.body.get("location") or machine.location,
            given,
            dict(request.body.get("tags") or {}),
            "Updating" if existing else "Creating",
        )
        machine.run_commands[key] = command
        performance = self._perform(machine, given)
        self._let_it_run(machine, command, performance)
        waits = STARTS_AFTER_S
        if not given.get("asyncExecution"):
            waits += _runs(command, performance) + NOTICED_AFTER_S
        operation = self._compute.cloud.operations.start(
            request["subscription"], machine.location, waits, lambda: _settle(command)
        )
        return Reply(200 if existing else 201, command.body(), operation.headers(request, location=False))

    def _let_it_run(self, machine: "Machine", command: RunCommand, performance: Performance) -> None:
        world, boots = self._compute.cloud.world, machine.boots

        def begin() -> None:
            if not self._compute.still_runs(machine, boots):
                end()
                return
            command.execution, command.started = "Running", world.now.isoformat()
            command.next = world.after(_runs(command, performance), end)

        def end() -> None:
            command.ended = world.now.isoformat()
            if not self._compute.still_runs(machine, boots):
                command.execution, command.exit_code = "Failed", -1
                command.message = "The VM stopped, or started anew, while the script ran."
            elif performance.seconds > command.limit_s:
                command.execution, command.exit_code = "TimedOut", -1
                command.message = f"Execution timed out after {int(command.limit_s)} seconds."
            else:
                performance.effect()
                _note(command, performance)

        command.next = world.after(STARTS_AFTER_S, begin)

    def _get(self, request: ArmRequest) -> Reply:
        machine = self._compute.need(request)
        found = machine.run_commands.get(request["command"].lower())
        if found is None:
            path = f"Microsoft.Compute/virtualMachines/{machine.name}/runCommands/{request['command']}"
            raise not_found(path, request["group"])
        return Reply(200, found.body(view=request.query.get("$expand", "").lower() == "instanceview"))

    def _list(self, request: ArmRequest) -> Reply:
        return Reply(200, {"value": [each.body() for each in self._compute.need(request).run_commands.values()]})

    def _delete(self, request: ArmRequest) -> Reply:
        machine, key = self._compute.need(request), request["command"].lower()
        found = machine.run_commands.get(key)
        if found is None:
            return Reply(204)
        machine = self._compute.need_running(request)
        found.cancel()
        found.state = "Deleting"

        def finish() -> None:
            if machine.run_commands.get(key) is found:
                del machine.run_commands[key]

        operation = self._compute.cloud.operations.start(request["subscription"], machine.location, REMOVAL_S, finish)
        return Reply(202, None, operation.headers(request, location=True))

    # The action

    def _act(self, request: ArmRequest) -> Reply:
        machine = self._compute.need_running(request)
        if request.body.get("commandId") != "RunPowerShellScript":
            raise ArmError(404, "NotFound", "The entity was not found in this Azure location.")
        if machine.vm_id in self._acting:
            raise ArmError(
                409,
                "Conflict",
                "Run command extension execution is in progress. Please wait for completion before invoking a run command.",
            )
        self._acting.add(machine.vm_id)
        boots = machine.boots
        given: Json = {
            "source": {"script": "\n".join(request.body.get("script") or [])},
            "parameters": request.body.get("parameters") or [],
        }
        performance = self._perform(machine, given)

        def finish() -> Json:
            self._acting.discard(machine.vm_id)
            if not self._compute.still_runs(machine, boots):
                raise ArmError(
                    409, "VMAgentStatusCommunicationError", f"VM '{machine.name}' has not reported status for VM agent."
                )
            performance.effect()
            streams = (("StdOut", performance.output), ("StdErr", performance.error))
            return {"value": [_stream(name, text) for name, text in streams]}

        seconds = min(max(ACTION_TAKES_S, performance.seconds), DEFAULT_TIMEOUT_S)
        operation = self._compute.cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def _perform(self, machine: "Machine", given: Json) -> Performance:
        run_as = given.get("runAsUser")
        if run_as and not machine.lets_in(run_as, given.get("runAsPassword") or ""):
            return Performance(STARTS_AFTER_S, -1, "", "The user name or password is incorrect.")
        return self._compute.cloud.guest.play(
            machine,
            given["source"]["script"],
            _named(given.get("parameters")),
            _named(given.get("protectedParameters")),
            run_as,
        )


def _runs(command: RunCommand, performance: Performance) -> float:
    """How long it will have run when it is over, in seconds."""
    return min(performance.seconds, command.limit_s)


def _note(command: RunCommand, performance: Performance) -> None:
    command.exit_code, command.output, command.error = performance.exit_code, performance.output, performance.error
    command.execution = "Succeeded" if performance.exit_code == 0 else "Failed"
    command.message = "Execution completed" if performance.exit_code == 0 else "Execution failed"


def _settle(command: RunCommand) -> None:
    """The end of the operation, which is not the end of the script where that runs by itself."""
    if command.state == "Deleting":
        raise ArmError(409, "OperationPreempted", "Operation execution has been preempted by a more recent operation.")
    failed = command.execution in ("Failed", "TimedOut")
    if failed and command.given.get("treatFailureAsDeploymentFailure"):
        command.state = "Failed"
        raise ArmError(409, "VMRunCommandScriptFailed", f"The script of run command '{command.name}' has failed.")
    command.state = "Succeeded"


def _stream(name: str, text: str) -> Json:
    return {
        "code": f"ComponentStatus/{name}/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": text[-KEEPS:],
    }


def _named(parameters: list[Json] | None) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in parameters or []}
