"""Guest patching: assessments and installations of Windows updates in a running VM.

Both operations succeed as operations; whether the patching did well stands in the status of their result.
"""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from simulator.contents import Patch
from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

VM = "Microsoft.Compute/virtualMachines/{name}"
URGENT = ("Critical", "Security")
INSTALLATION_S = (600.0, 1800.0)


class Patches:
    """assessPatches and installPatches."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Both actions; their result is the body of the operation's final location."""
        return [
            Route("POST", group_path(VM + "/assessPatches"), self._assess, bucket="PatchOperation"),
            Route("POST", group_path(VM + "/installPatches"), self._install, bucket="PatchOperation"),
        ]

    def _assess(self, request: ArmRequest) -> Reply:
        machine = self._running(request)
        started, boots = self._cloud.world.now, machine.boots

        def finish() -> Json:
            if not self._cloud.compute.still_runs(machine, boots):
                return self._broken_off("assessmentActivityId", machine, started)
            summary = self._look(machine, started)
            missing = machine.contents.missing_patches
            return {
                **summary,
                "startDateTime": started.isoformat(),
                "availablePatches": [self._available(patch, machine) for patch in missing],
            }

        seconds = self._cloud.compute.takes("assess", machine, self._cloud.scenario.durations.assess_patches)
        operation = self._cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def _look(self, machine: "Machine", started: datetime) -> Json:
        """Finds out what is missing, and leaves it in the machine's instance view."""
        missing = machine.contents.missing_patches
        urgent = sum(1 for patch in missing if patch.classification in URGENT)
        summary: Json = {
            "status": "Succeeded",
            "assessmentActivityId": self._activity(machine),
            "rebootPending": machine.contents.reboot_pending,
            "criticalAndSecurityPatchCount": urgent,
            "otherPatchCount": len(missing) - urgent,
        }
        times = {"startTime": started.isoformat(), "lastModifiedTime": self._cloud.world.now.isoformat()}
        machine.patch_assessment = {**summary, **times}
        return summary

    def _install(self, request: ArmRequest) -> Reply:
        machine = self._running(request)
        started, boots = self._cloud.world.now, machine.boots
        chosen = request.body.get("windowsParameters") or {}
        restarts = request.body.get("rebootSetting", "IfRequired")

        def finish() -> Json:
            if not self._cloud.compute.still_runs(machine, boots):
                return self._broken_off("installationActivityId", machine, started)
            installed = self._put_in(machine, chosen)
            restart = "NotNeeded"
            if installed or restarts == "Always":
                restart = "Required" if restarts == "Never" else "Completed"
            if restart == "Required":
                machine.change(reboot_pending=True)
            elif restart == "Completed":
                self._cloud.compute.switches.restart_from_within(machine)
            self._look(machine, self._cloud.world.now)
            return self._report(machine, started, installed, restart)

        seconds = self._cloud.compute.takes("install patches", machine, INSTALLATION_S)
        operation = self._cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def _put_in(self, machine: "Machine", chosen: Json) -> tuple[Patch, ...]:
        """Installs what is missing and chosen, and returns it."""
        classes = chosen.get("classificationsToInclude") or URGENT
        barred = {kb.upper().removeprefix("KB") for kb in chosen.get("kbNumbersToExclude") or []}
        missing = machine.contents.missing_patches
        barred |= {
            kb.removeprefix("KB") for kb in self._cloud.scenario.guest_failures.get("install-patches", "").split(",")
        }
        installed = tuple(p for p in missing if p.classification in classes and p.kb.removeprefix("KB") not in barred)
        machine.change(
            missing_patches=tuple(patch for patch in missing if patch not in installed),
            hotfixes=(*machine.contents.hotfixes, *(patch.kb for patch in installed)),
        )
        return installed

    def _report(self, machine: "Machine", started: datetime, installed: tuple[Patch, ...], restart: str) -> Json:
        return {
            "status": "Succeeded",
            "installationActivityId": self._activity(machine),
            "rebootStatus": restart,
            "maintenanceWindowExceeded": False,
            "excludedPatchCount": 0,
            "notSelectedPatchCount": len(machine.contents.missing_patches),
            "pendingPatchCount": 0,
            "installedPatchCount": len(installed),
            "failedPatchCount": 0,
            "patches": [_installed(patch) for patch in installed],
            "startDateTime": started.isoformat(),
        }

    def _broken_off(self, activity: str, machine: "Machine", started: datetime) -> Json:
        """The call succeeds though what it was for has failed: its status says so."""
        return {
            "status": "Failed",
            activity: self._activity(machine),
            "startDateTime": started.isoformat(),
            "error": {"code": "VMStopped", "message": f"VM '{machine.name}' stopped before the end."},
        }

    def _running(self, request: ArmRequest) -> "Machine":
        machine = self._cloud.compute.need(request)
        self._cloud.compute.switches.refuse_if_busy(machine, request.path.rpartition("/")[2])
        if not machine.is_running:
            raise ArmError(409, "OperationNotAllowed", "The operation requires the VM to be running (or set to run).")
        return machine

    def _available(self, patch: Patch, machine: "Machine") -> Json:
        found = self._cloud.world.now.isoformat()
        return {
            "patchId": _patch_id(patch),
            "name": patch.title,
            "version": "1",
            "kbId": patch.kb.removeprefix("KB"),
            "classifications": [patch.classification],
            "rebootBehavior": "CanRequestReboot",
            "activityId": self._activity(machine),
            "publishedDate": found,
            "lastModifiedDateTime": found,
            "assessmentState": "Available",
        }

    def _activity(self, machine: "Machine") -> str:
        dice = self._cloud.world.chance("patch activity", machine.vm_id, self._cloud.world.now)
        return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def _patch_id(patch: Patch) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://support.microsoft.com/help/{patch.kb}"))


def _installed(patch: Patch) -> Json:
    return {
        "patchId": _patch_id(patch),
        "name": patch.title,
        "version": "1",
        "kbId": patch.kb.removeprefix("KB"),
        "classifications": [patch.classification],
        "installationState": "Installed",
    }
