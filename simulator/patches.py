"""Guest patching: assessments and installations of Windows updates in a running VM."""

import uuid
from typing import TYPE_CHECKING

from simulator.contents import Patch
from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

VM = "Microsoft.Compute/virtualMachines/{name}"
URGENT = ("Critical", "Security")


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
        started = self._cloud.world.now

        def finish() -> Json:
            missing = machine.contents.missing_patches
            urgent = sum(1 for patch in missing if patch.classification in URGENT)
            summary = {
                "status": "Succeeded",
                "assessmentActivityId": self._activity(machine),
                "rebootPending": machine.contents.reboot_pending,
                "criticalAndSecurityPatchCount": urgent,
                "otherPatchCount": len(missing) - urgent,
            }
            machine.patch_assessment = {
                **summary,
                "startTime": started.isoformat(),
                "lastModifiedTime": self._cloud.world.now.isoformat(),
            }
            return {
                **summary,
                "startDateTime": started.isoformat(),
                "availablePatches": [_available(patch, started.isoformat()) for patch in missing],
            }

        seconds = self._cloud.compute.takes("assess", machine, self._cloud.scenario.durations.assess_patches)
        operation = self._cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def _install(self, request: ArmRequest) -> Reply:
        machine = self._running(request)
        started = self._cloud.world.now
        wanted = (request.body.get("windowsParameters") or {}).get("classificationsToInclude") or list(URGENT)

        def finish() -> Json:
            missing = machine.contents.missing_patches
            installed = tuple(patch for patch in missing if patch.classification in wanted)
            left = tuple(patch for patch in missing if patch not in installed)
            machine.change(
                missing_patches=left, hotfixes=(*machine.contents.hotfixes, *(patch.kb for patch in installed))
            )
            return {
                "status": "Succeeded",
                "installationActivityId": self._activity(machine),
                "rebootStatus": "Completed" if installed else "NotNeeded",
                "maintenanceWindowExceeded": False,
                "excludedPatchCount": 0,
                "notSelectedPatchCount": len(left),
                "pendingPatchCount": 0,
                "installedPatchCount": len(installed),
                "failedPatchCount": 0,
                "patches": [_installed(patch) for patch in installed],
                "startDateTime": started.isoformat(),
            }

        seconds = self._cloud.compute.takes("install patches", machine, (600, 1800))
        operation = self._cloud.operations.start(request["subscription"], machine.location, seconds, finish)
        return Reply(202, None, operation.headers(request, location=True))

    def _running(self, request: ArmRequest) -> "Machine":
        machine = self._cloud.compute.need(request)
        if not machine.is_running:
            raise ArmError(409, "OperationNotAllowed", "The operation requires the VM to be running (or set to run).")
        return machine

    def _activity(self, machine: "Machine") -> str:
        dice = self._cloud.world.chance("patch activity", machine.vm_id, self._cloud.world.now)
        return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def _available(patch: Patch, published: str) -> Json:
    return {
        "patchId": patch.kb,
        "name": patch.title,
        "version": "1",
        "kbId": patch.kb.removeprefix("KB"),
        "classifications": [patch.classification],
        "rebootBehavior": "CanRequestReboot",
        "activityId": patch.kb,
        "publishedDate": published,
        "lastModifiedDateTime": published,
        "assessmentState": "Available",
    }


def _installed(patch: Patch) -> Json:
    return {
        "patchId": patch.kb,
        "name": patch.title,
        "version": "1",
        "kbId": patch.kb.removeprefix("KB"),
        "classifications": [patch.classification],
        "installationState": "Installed",
    }
