"""Switching virtual machines on and off: start, restart, power off, deallocate, generalise; and what Windows does meanwhile.

One change of power at a time. The same again while it is under way joins it; another one is refused until it is over. Deleting a
machine overtakes whatever is under way: that operation ends as OperationPreempted.
"""

from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Reply, Route, group_path
from simulator.kernel.operations import Operation
from simulator.machines import Machine, Power
from simulator.news import MachineRunning, MachineStopped, MachineStopping

if TYPE_CHECKING:
    from simulator.compute import Compute

VM = group_path("Microsoft.Compute/virtualMachines/{name}")
RESTART_S = (60.0, 120.0)
POWER_OFF_S = (5.0, 27.0)  # live Azure
AGENT_AFTER_BOOT_S = (10.0, 40.0)
GENERALISED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"


class Switches:
    """What changes a machine's power."""

    def __init__(self, compute: "Compute") -> None:
        self._compute = compute

    def routes(self) -> list[Route]:
        """The actions of a virtual machine."""
        return [
            Route("POST", VM + "/start", self._start, bucket="UpdateVM"),
            Route("POST", VM + "/powerOff", self._power_off, bucket="UpdateVM"),
            Route("POST", VM + "/restart", self._restart, bucket="UpdateVM"),
            Route("POST", VM + "/deallocate", self._deallocate, bucket="DeleteVM"),
            Route("POST", VM + "/generalize", self._generalize, bucket="UpdateVM"),
        ]

    # What happens to Windows

    def boot(self, machine: Machine, *, agent_after: float = 0.0) -> None:
        """Windows runs now; the VM agent answers `agent_after` seconds later."""
        world = self._compute.cloud.world
        machine.power, machine.booted_at, machine.ongoing = "running", world.now, None
        machine.boots += 1
        this_boot = machine.boots
        machine.change(reboot_pending=False)
        if machine.contents.image_state == GENERALISED:  # a first start: Windows sets itself up
            machine.change(image_state="IMAGE_STATE_COMPLETE", generalized=False)
        machine.agent_ready = agent_after <= 0

        def answer() -> None:
            machine.agent_ready = machine.agent_ready or (machine.is_running and machine.boots == this_boot)

        if agent_after > 0:
            world.after(agent_after, answer)
        world.tell(MachineRunning(machine.id))

    def go_down(self, machine: Machine, power: Power, *, clean: bool) -> None:
        """Windows stops running now, where it ran, and with it every session."""
        if machine.is_running:
            self._compute.cloud.world.tell(MachineStopping(machine.id, clean=clean))
        machine.power, machine.agent_ready = power, False

    def restart_from_within(self, machine: Machine) -> None:
        """Windows restarts itself, as after the installation of patches: Azure shows the machine as running all the while."""
        self._compute.cloud.world.tell(MachineStopping(machine.id, clean=True))
        self.boot(machine, agent_after=self._compute.takes("agent", machine, AGENT_AFTER_BOOT_S))

    def refuse_if_busy(self, machine: Machine, what: str) -> None:
        """Raises where a machine cannot be told to do something now: it goes, it is being made, or it changes its power."""
        if machine.is_being_deleted:
            raise _not_allowed(
                machine,
                what,
                "since it is marked for deletion. You can only retry the Delete operation (or wait for an ongoing one to complete)",
            )
        if machine.power == "creating":
            raise _not_allowed(machine, what, "since another operation is in progress")
        if machine.ongoing is not None:
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"An ongoing operation is changing power state of Virtual Machine {machine.name} to "
                f"{_AIM[machine.power]}. Please perform operation {what} after some time.",
            )

    # What other Azure services do

    def turn_on(self, machine: Machine) -> None:
        """Starts a machine that is off; nothing where it runs already, or something else is done to it."""
        if machine.power in ("stopped", "deallocated") and self._is_free(machine):
            machine.power = "starting"
            seconds = self._compute.takes("start", machine, self._compute.cloud.scenario.durations.vm_start)
            self._change(self._compute.cloud.scenario.subscription_id, machine, seconds, "running")

    def turn_off(self, machine: Machine) -> None:
        """Deallocates a machine that runs; nothing where it is off already, or something else is done to it."""
        if machine.is_running and self._is_free(machine):
            seconds = self._compute.takes("deallocate", machine, self._compute.cloud.scenario.durations.vm_deallocate)
            self.go_down(machine, "deallocating", clean=True)
            self._change(self._compute.cloud.scenario.subscription_id, machine, seconds, "deallocated")

    def _is_free(self, machine: Machine) -> bool:
        return machine.ongoing is None and not machine.is_being_deleted and not machine.generalized

    # Requests

    def _start(self, request: ArmRequest) -> Reply:
        machine = self._compute.need(request)
        if joined := self._joined(request, machine, "starting"):
            return joined
        self.refuse_if_busy(machine, "start")
        _refuse_generalized(machine, "start")
        if machine.is_running:
            return Reply(200)
        outcome = self._compute.cloud.guest.start_outcome(machine)
        seconds = self._compute.takes("start", machine, self._compute.cloud.scenario.durations.vm_start)
        machine.power = "starting"
        return self._accepted(request, machine, seconds, "running", outcome)

    def _restart(self, request: ArmRequest) -> Reply:
        machine = self._compute.need(request)
        self.refuse_if_busy(machine, "restart")
        _refuse_generalized(machine, "restart")
        if not machine.is_running:
            raise ArmError(409, "OperationNotAllowed", "The operation requires the VM to be running (or set to run).")
        self.go_down(machine, "starting", clean=True)
        return self._accepted(request, machine, self._compute.takes("restart", machine, RESTART_S), "running")

    def _power_off(self, request: ArmRequest) -> Reply:
        machine = self._compute.need(request)
        if joined := self._joined(request, machine, "stopping"):
            return joined
        self.refuse_if_busy(machine, "powerOff")
        if machine.power in ("stopped", "deallocated"):
            return Reply(200)
        self.go_down(machine, "stopping", clean=not request.flag("skipShutdown"))
        return self._accepted(request, machine, self._compute.takes("power off", machine, POWER_OFF_S), "stopped")

    def _deallocate(self, request: ArmRequest) -> Reply:
        machine = self._compute.need(request)
        if joined := self._joined(request, machine, "deallocating"):
            return joined
        self.refuse_if_busy(machine, "deallocate")
        if machine.power == "deallocated":
            return Reply(200)
        seconds = self._compute.takes("deallocate", machine, self._compute.cloud.scenario.durations.vm_deallocate)
        self.go_down(machine, "deallocating", clean=not request.flag("forceDeallocate"))
        return self._accepted(request, machine, seconds, "deallocated")

    def _generalize(self, request: ArmRequest) -> Reply:
        """Marks the machine; nobody looks at what is on its disk."""
        machine = self._compute.need(request)
        self.refuse_if_busy(machine, "generalize")
        if machine.is_running:
            raise _not_allowed(
                machine,
                "generalize",
                "since the VM is running. Please power off explicitly in case you shut down the VM from inside the guest "
                "operating system",
            )
        machine.generalized = True
        machine.revision += 1
        return Reply(200)

    def _joined(self, request: ArmRequest, machine: Machine, power: Power) -> Reply | None:
        if machine.ongoing is None or machine.power != power or machine.is_being_deleted:
            return None
        return Reply(202, None, machine.ongoing.headers(request, location=True))

    def _accepted(
        self, request: ArmRequest, machine: Machine, seconds: float, aim: Power, outcome: ArmError | None = None
    ) -> Reply:
        ongoing = self._change(request["subscription"], machine, seconds, aim, outcome)
        return Reply(202, None, ongoing.headers(request, location=True))

    def _change(
        self, subscription: str, machine: Machine, seconds: float, aim: Power, outcome: ArmError | None = None
    ) -> Operation:
        machine.task += 1
        task, before = machine.task, machine.power

        def finish() -> None:
            if machine.task != task:
                raise ArmError(
                    409, "OperationPreempted", "Operation execution has been preempted by a more recent operation."
                )
            machine.ongoing = None
            if outcome is not None:
                machine.power = "deallocated" if before == "starting" else before
                machine.provisioning_state, machine.failure = "Failed", outcome
                raise outcome
            machine.power = aim
            machine.provisioning_state, machine.failure = "Succeeded", None
            if aim == "running":
                self.boot(machine, agent_after=self._compute.takes("agent", machine, AGENT_AFTER_BOOT_S))
            else:
                self._compute.cloud.world.tell(MachineStopped(machine.id))

        machine.ongoing = self._compute.cloud.operations.start(subscription, machine.location, seconds, finish)
        return machine.ongoing


_AIM = {"starting": "Running", "stopping": "Stopped", "deallocating": "Deallocated"}


def _not_allowed(machine: Machine, what: str, why: str) -> ArmError:
    return ArmError(409, "OperationNotAllowed", f"Operation '{what}' is not allowed on VM '{machine.name}' {why}.")


def _refuse_generalized(machine: Machine, what: str) -> None:
    if machine.generalized:
        raise _not_allowed(machine, what, "since the VM is generalized")
