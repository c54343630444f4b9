"""What happens inside a VM when a script runs in it: Windows, played.

A script says which one it is in its first line, `# STEP: name`. The known steps are played from what is on the disk: sysprep generalises it or
refuses, the manifest lists it, the image state tells it, the agent's installer registers the host. A script without a step takes
its time and exits with 0. Answers have the form of the real scripts': one JSON line, last.

A scenario's `guest_failures` makes a step end otherwise: {"sysprep": "appx"}, {"install-apps": "exit:1603"}, {"prepare": "timeout"};
the step "create" or "extension" makes machines fail to come up: {"create": "2:AllocationFailed"} is the second VM created.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.kernel.arm import ArmError
from simulator.news import AgentInstalled

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

STEP = re.compile(r"^\s*#\s*STEP:\s*([\w-]+)", re.MULTILINE)
GENERALISED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
PAGE_LENGTH = 3000
NEVER_ENDS_S = 10 * 86_400.0
FAILURES = {
    "AllocationFailed": "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about "
    "improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    "OSProvisioningTimedOut": "OS Provisioning for VM '{name}' did not finish in the allotted time. The VM may still finish provisioning "
    "successfully. Please check provisioning state later. Also, make sure the image has been properly prepared (generalized).",
}
APPX = (
    "SYSPRP Package Contoso.Widget_1.0.0.0_x64__8wekyb3d8bbwe was installed for a user, but not provisioned for all users. This "
    "package will not function properly in the sysprep image."
)


def nothing() -> None:
    """What most scripts change that the simulator knows of."""


@dataclass(frozen=True)
class Performance:
    """How a script goes: its length, how it ends, and what it changes when it has ended."""

    seconds: float
    exit_code: int
    output: str
    error: str = ""
    effect: Callable[[], None] = nothing


class Guest:
    """Windows, as far as scripts can see it."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._created = 0
        self._plays: dict[str, Callable[[Machine, dict[str, str], str | None], Performance]] = {
            "install-apps": self._install_apps,
            "prepare": self._prepare,
            "local-administrator": self._local_administrator,
            "sysprep": self._sysprep,
            "image-state": self._image_state,
            "manifest": self._manifest,
            "register-host": self._register_host,
        }

    def play(
        self,
        machine: "Machine",
        script: str,
        parameters: dict[str, str],
        protected: dict[str, str],
        run_as: str | None,
    ) -> Performance:
        """How this script goes on this machine now."""
        found = STEP.search(script)
        step = found[1] if found else ""
        failure = self._cloud.scenario.guest_failures.get(step)
        if failure == "timeout":
            return Performance(NEVER_ENDS_S, -1, "")
        if failure and failure.startswith("exit:"):
            code = int(failure.removeprefix("exit:"))
            return Performance(
                self._time(machine, step), code, _answer(step, ok=False, error=f"The step failed with {code}.")
            )
        play = self._plays.get(step)
        if play is None:
            return Performance(self._time(machine, step), 0, _answer(step or "script", ok=True))
        return play(machine, {**parameters, **protected}, run_as)

    def creation_outcome(self, machine: "Machine") -> ArmError | None:
        """Why the creation of a machine fails, if the scenario says that this one does."""
        self._created += 1
        if "boot" in machine.contents.defects:
            return _failure("OSProvisioningTimedOut", machine)
        number, _, code = self._cloud.scenario.guest_failures.get("create", "").partition(":")
        return _failure(code, machine) if number == str(self._created) else None

    def extension_outcome(self, machine: "Machine", kind: str) -> ArmError | None:
        """Why an extension fails, if the scenario says so."""
        if self._cloud.scenario.guest_failures.get("extension") != kind:
            return None
        return ArmError(
            409,
            "VMExtensionProvisioningError",
            f"VM has reported a failure when processing extension '{kind}' on {machine.name}. Error message: \"the join failed\".",
        )

    def _time(self, machine: "Machine", step: str) -> float:
        dice = self._cloud.world.chance("script", machine.vm_id, step, self._cloud.world.now)
        return dice.uniform(*self._cloud.scenario.durations.script)

    def _install_apps(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:
        def effect() -> None:
            machine.change(software={**machine.contents.software, "Contoso Agent": "4.2.1"}, reboot_pending=True)

        return Performance(self._time(machine, "install-apps"), 0, _answer("install-apps", ok=True), effect=effect)

    def _prepare(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:

        def effect() -> None:
            machine.change(avd_agent_version=None, registered_in=None, reboot_pending=False)

        removed = ["avd-agent"] if machine.contents.avd_agent_version else []
        facts = {"removed": removed, "reboot_pending": False}
        return Performance(self._time(machine, "prepare"), 0, _answer("prepare", ok=True, **facts), effect=effect)

    def _local_administrator(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:
        name = given.get("UserName", "")
        if not given.get("Password"):
            return Performance(5, 1, _answer("local-administrator", ok=False, error="No password was given."))

        def effect() -> None:
            machine.change(local_administrators=(*machine.contents.local_administrators, name))

        return Performance(10, 0, _answer("local-administrator", ok=True, user=name), effect=effect)

    def _sysprep(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:
        contents = machine.contents
        if not run_as or run_as not in contents.local_administrators:
            return _sysprep_fails(
                "Sysprep must run under a local administrator, and this is SYSTEM.", contents.image_state
            )
        blockers = contents.sysprep_blockers
        if self._cloud.scenario.guest_failures.get("sysprep") == "appx":
            blockers = (*blockers, APPX)
        dice = self._cloud.world.chance("sysprep", machine.vm_id)
        seconds = dice.uniform(*self._cloud.scenario.durations.sysprep)
        if blockers:

            def broken() -> None:
                machine.change(image_state="IMAGE_STATE_UNDEPLOYABLE")

            failed = _sysprep_fails(
                "Sysprep ended, and the image state is IMAGE_STATE_UNDEPLOYABLE.", "", setuperr="\n".join(blockers)
            )
            return Performance(seconds / 4, failed.exit_code, failed.output, effect=broken)

        def effect() -> None:
            machine.change(image_state=GENERALISED, generalized=True, entra_joined=False)

        answer = _answer("sysprep", ok=True, seconds=int(seconds), image_state=GENERALISED)
        return Performance(seconds, 0, answer, effect=effect)

    def _image_state(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:
        state = machine.contents.image_state
        if state == GENERALISED:
            return Performance(5, 0, _answer("image-state", ok=True, image_state=state))
        error = f"Windows is not generalised: its image state is {state}."
        return Performance(5, 1, _answer("image-state", ok=False, error=error, image_state=state))

    def _manifest(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:
        contents, number = machine.contents, int(given.get("Page", "1"))
        found = {
            "os": {"name": contents.edition, "build": contents.os_build},
            "hotfixes": sorted(contents.hotfixes),
            "software": dict(sorted(contents.software.items())),
        }
        raw = json.dumps(found, separators=(",", ":")).encode()
        text = base64.b64encode(gzip.compress(raw, mtime=0)).decode()
        pages = [text[start : start + PAGE_LENGTH] for start in range(0, len(text), PAGE_LENGTH)]
        if number > len(pages):
            error = f"There are {len(pages)} pages, and page {number} was asked for."
            return Performance(10, 1, _answer("manifest", ok=False, error=error))
        digest = hashlib.sha256(raw).hexdigest()
        answer = _answer("manifest", ok=True, page=number, pages=len(pages), digest=digest, chunk=pages[number - 1])
        return Performance(15, 0, answer)

    def _register_host(self, machine: "Machine", given: dict[str, str], run_as: str | None) -> Performance:
        dice = self._cloud.world.chance("agent install", machine.vm_id)
        seconds = dice.uniform(*self._cloud.scenario.durations.agent_install)
        token = given.get("RegistrationToken", "")
        if not self._cloud.desktop.takes_token(token):
            error = "The agent was not registered after 15 minutes: see event 3277 of source WVD-Agent on this machine."
            return Performance(900, 1, _answer("register-host", ok=False, error=error))

        def effect() -> None:
            self._cloud.world.tell(AgentInstalled(machine.id, token))

        return Performance(
            seconds, 0, _answer("register-host", ok=True, already=False, agent="1.0.12183.900"), effect=effect
        )


def _answer(step: str, *, ok: bool, **facts: Any) -> str:
    return json.dumps({"ok": ok, "step": step, **facts}, separators=(",", ":")) + "\n"


def _sysprep_fails(error: str, state: str, *, setuperr: str = "") -> Performance:
    facts = {"error": error, "image_state": state or "IMAGE_STATE_UNDEPLOYABLE", "setuperr": setuperr, "setupact": ""}
    return Performance(10, 1, _answer("sysprep", ok=False, **facts))


def _failure(code: str, machine: "Machine") -> ArmError:
    return ArmError(409, code, FAILURES.get(code, "The machine could not be created.").format(name=machine.name))
