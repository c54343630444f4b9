"""What happens inside a VM when a script runs in it: Windows, played.

A script says which one it is in a line `# STEP: name`. The known steps are played from what is on the disk: sysprep generalises it or
refuses, the manifest lists it, the image state tells it, the agent's installer registers the host. A script without a step takes
its time and exits with 0. Answers have the form of the real scripts': one JSON line, last.

A scenario's `guest_failures` makes things end otherwise: "install-patches" names updates that cannot be installed. By step of a script:
    {"install-apps": "exit:1603"}   the script ends with this exit code
    {"prepare": "timeout"}          it never ends by itself
    {"sysprep": "appx"}             sysprep stumbles over an app that is installed for one user, or over another of BLOCKERS
    {"preflight": "rearm"}          the look before sysprep finds that, or another of FINDINGS
    {"boot": "desktop"}             a machine made from an image comes up without a desktop
    "once:" before any of these     only the first time: {"sysprep": "once:appx"}
By what Azure does:
    {"create": "2:AllocationFailed,5:OSProvisioningTimedOut"}   the second and the fifth VM that are created
    {"start": "1:AllocationFailed"}                             the first start
    {"extension": "AADLoginForWindows"}                         this type of extension, always
    {"replicate": "northeurope"}                                copies of image versions to this region; with "once:" the first only
"""

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.kernel.arm import ArmError
from simulator.machines import plain_account
from simulator.news import AgentInstalled

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

STEP = re.compile(r"^\s*#\s*STEP:\s*([\w-]+)", re.MULTILINE)
FILES = re.compile(r"^\$List = '(\[.*\])'", re.MULTILINE)
GENERALISED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
BROKEN = "IMAGE_STATE_UNDEPLOYABLE"
AGENT_VERSION = "1.0.12183.900"
PAGE_LENGTH = 3000
NEVER_ENDS_S = 10 * 86_400.0
NOT_REGISTERED_S = 900.0  # how long register-host waits for the agent
TIMED_OUT = "OS Provisioning for VM '{name}' did not finish in the allotted time. "
FAILURES = {
    "AllocationFailed": "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about "
    "improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    "OSProvisioningTimedOut": TIMED_OUT
    + "The VM may still finish provisioning successfully. Please check provisioning state later. "
    "Also, make sure the image has been properly prepared (generalized).",
    "OSProvisioningClientError": TIMED_OUT
    + "However, the VM guest agent was detected running. This suggests the guest OS has not been "
    "properly prepared to be used as a VM image (with CreateOption=FromImage).",
}
APPX = (
    "SYSPRP Package Contoso.Widget_1.0.0.0_x64__8wekyb3d8bbwe was installed for a user, but not provisioned for all users. This "
    "package will not function properly in the sysprep image."
)
RESTART_PENDING = (
    "SYSPRP There are one or more Windows updates that require a reboot. To run Sysprep, reboot the computer and restart the "
    "application."
)
# By the word with which a scenario asks for it.
BLOCKERS = {
    "appx": APPX,
    "bitlocker": "SYSPRP BitLocker-Sysprep: BitLocker is on for the OS volume. Turn BitLocker off to run Sysprep. (0x80310039)",
    "domain": "SYSPRP The machine is joined to a domain.",
    "rearm": "SYSPRP WinMain: Hit failure while processing sysprep generalize providers; hr = 0xc004d307",
    "servicing": "SYSPRP Sysprep_Clean_Validate_Opk: Audit mode can't be turned on if reserved storage is in use. An update or servicing "
    "operation may be using reserved storage.",
}
# What guest/preflight.ps1 finds: name, verdict, what it says then, and what it says otherwise.
FINDINGS = {
    "restart": ("restart", "warn", "Windows waits for a restart.", "None is pending."),
    "servicing": ("servicing", "wait", "Windows is servicing itself.", "Nothing is under way."),
    "appx": (
        "apps",
        "fail",
        "1 apps were installed for one user only: Contoso.Widget_1.0.0.0_x64__8wekyb3d8bbwe.",
        "Every app is provisioned for all users.",
    ),
    "rearm": (
        "generalised before",
        "fail",
        "This Windows was generalised as often as it may be.",
        "It may be generalised 1001 times more.",
    ),
    "bitlocker": ("BitLocker", "warn", "It is on for C:.", "No volume is encrypted."),
    "domain": ("membership", "warn", "It is a member of a domain.", "It has joined nothing."),
    "defender": ("Defender", "warn", "It has an identity in Defender for Endpoint.", "It is not onboarded."),
    "disks": (
        "disks",
        "warn",
        "1 partitions lie behind the system's.",
        "The system partition is the last one of the only disk.",
    ),
}
# What the demo's packages are called once installed, and their versions; other packages go by their ids.
PACKAGES = {
    "7zip.7zip": ("7-Zip 25.01 (x64)", "25.01"),
    "notepad++.notepad++": ("Notepad++ (64-bit x64)", "8.8.5"),
}
DEFAULT_PACKAGES = "7zip.7zip,Notepad++.Notepad++"
DEFAULT_REMOVALS = "Microsoft.BingNews,Microsoft.GamingApp,Microsoft.Xbox"
DESKTOP_SETTINGS = ("MaxDisconnectionTime", "MaxIdleTime", "fEnableTimeZoneRedirection", "AllowStorageSenseGlobal")


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


@dataclass(frozen=True)
class Call:
    """A script that is to be played: in which machine, with which parameters, under which account (None: SYSTEM)."""

    machine: "Machine"
    step: str
    given: dict[str, str]
    run_as: str | None
    failure: str
    script: str = ""


class Guest:
    """Windows, as far as scripts can see it."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._count: Counter[str] = Counter()  # of creations, of starts, and of the failures of each step
        self._plays: dict[str, Callable[[Call], Performance]] = {
            "install-apps": self._install_apps,
            "configure-desktop": self._configure_desktop,
            "preflight": self._preflight,
            "prepare": self._prepare,
            "local-administrator": self._local_administrator,
            "sysprep": self._sysprep,
            "image-state": self._image_state,
            "manifest": self._manifest,
            "register-host": self._register_host,
            "files": self._files,
            "boot": self._boot,
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
        call = Call(machine, step, {**parameters, **protected}, run_as, self._failure_of(step), script)
        if call.failure == "timeout":
            return Performance(NEVER_ENDS_S, -1, "")
        if call.failure.startswith("exit:"):
            code = int(call.failure.removeprefix("exit:"))
            answer = _answer(step, ok=False, error=f"The step failed with {code}.")
            return Performance(self._time(call), code, answer)
        play = self._plays.get(step)
        if play is None:
            return Performance(self._time(call), 0, _answer(step or "script", ok=True))
        return play(call)

    # What Azure does to machines

    def creation_outcome(self, machine: "Machine") -> ArmError | None:
        """Why the creation of a machine fails, if it does: its image is not fit, or the scenario says so."""
        planned = self._planned("create", machine)
        if planned is not None:
            return planned
        state, own_image = machine.contents.image_state, bool(machine.image_reference.get("id"))
        if "boot" in machine.contents.defects or (own_image and state == BROKEN):
            return _failure("OSProvisioningTimedOut", machine)
        if own_image and state != GENERALISED:
            return _failure("OSProvisioningClientError", machine)
        return None

    def start_outcome(self, machine: "Machine") -> ArmError | None:
        """Why the start of a machine fails, if the scenario says that this one does."""
        return self._planned("start", machine)

    def extension_outcome(self, machine: "Machine", name: str, kind: str) -> ArmError | None:
        """Why an extension fails, if it does: a join without an identity to join with, or the scenario says so."""
        if kind == "AADLoginForWindows" and machine.identity is None:
            return _extension_failure(name, kind, "The VM has no system assigned managed identity to join with.")
        if self._cloud.scenario.guest_failures.get("extension") == kind:
            return _extension_failure(name, kind, "AAD Join failed with status code: -2145648639.")
        return None

    def _planned(self, what: str, machine: "Machine") -> ArmError | None:
        self._count[what] += 1
        for plan in self._cloud.scenario.guest_failures.get(what, "").split(","):
            number, _, code = plan.strip().partition(":")
            if number == str(self._count[what]):
                return _failure(code, machine)
        return None

    def _failure_of(self, step: str) -> str:
        planned = self._cloud.scenario.guest_failures.get(step, "")
        if not planned.startswith("once:"):
            return planned
        self._count[step] += 1
        return planned.removeprefix("once:") if self._count[step] == 1 else ""

    def _time(self, call: Call) -> float:
        return self._cloud.compute.takes(f"script {call.step}", call.machine, self._cloud.scenario.durations.script)

    # The steps

    def _install_apps(self, call: Call) -> Performance:
        present = call.machine.contents.software
        packages = _list(call.given.get("Packages", DEFAULT_PACKAGES))
        wanted = {package: PACKAGES.get(package.lower(), (package, "1.0.0")) for package in packages}
        missing = {package: found for package, found in wanted.items() if found[0] not in present}

        def effect() -> None:
            contents = call.machine.contents
            call.machine.change(
                software={**contents.software, **dict(missing.values())},
                reboot_pending=contents.reboot_pending or bool(missing),
            )

        removed = _list(call.given.get("Remove", DEFAULT_REMOVALS)) if missing else []
        answer = _answer(call.step, ok=True, installed=list(missing), removed=removed)
        return Performance(self._time(call), 0, answer, effect=effect)

    def _configure_desktop(self, call: Call) -> Performance:
        return Performance(20, 0, _answer(call.step, ok=True, changed=list(DESKTOP_SETTINGS)))

    def _boot(self, call: Call) -> Performance:
        contents = call.machine.contents
        if "desktop" in contents.defects or call.failure == "desktop":
            error = "Packages of the desktop are not registered: MicrosoftWindows.Client.CBS."
            return Performance(self._time(call), 1, _answer(call.step, ok=False, error=error))
        answer = _answer(call.step, ok=True, build=contents.os_build, image_state=contents.image_state)
        return Performance(self._time(call), 0, answer)

    def _files(self, call: Call) -> Performance:
        """Puts the files of the script's list on the disk. What a URL gives is what was asked for, unless the scenario says otherwise."""
        found = FILES.search(call.script)
        listed = json.loads(found[1].replace("''", "'")) if found else []
        for each in listed:
            content = gzip.decompress(base64.b64decode(each["content"])) if each["content"] else None
            if content is not None and hashlib.sha256(content).hexdigest() != each["sha256"]:
                error = f"{each['destination']}: It is not what was asked for: its SHA-256 is another."
                return Performance(self._time(call), 1, _answer(call.step, ok=False, error=error))
        present = call.machine.contents.files
        missing = {
            each["destination"]: each["sha256"] for each in listed if present.get(each["destination"]) != each["sha256"]
        }

        def effect() -> None:
            call.machine.change(files={**call.machine.contents.files, **missing})

        answer = _answer(call.step, ok=True, written=len(missing), unchanged=len(listed) - len(missing))
        return Performance(self._time(call), 0, answer, effect=effect)

    def _preflight(self, call: Call) -> Performance:
        contents = call.machine.contents
        present = {"restart"} if contents.reboot_pending else set()
        present |= (
            {"appx"} if any("not provisioned for all users" in each for each in contents.sysprep_blockers) else set()
        )
        present |= {call.failure} & FINDINGS.keys()
        findings = [
            {
                "name": name,
                "verdict": verdict if what in present else "pass",
                "measured": bad if what in present else good,
                "remedy": "",
            }
            for what, (name, verdict, bad, good) in FINDINGS.items()
        ]
        return Performance(self._time(call), 0, _answer(call.step, ok=True, findings=findings))

    def _prepare(self, call: Call) -> Performance:
        contents = call.machine.contents
        if contents.reboot_pending:
            facts = {"error": "A restart is pending: Windows servicing.", "reboot_pending": True}
            return Performance(15, 1, _answer(call.step, ok=False, **facts))

        def effect() -> None:
            call.machine.change(avd_agent_version=None, registered_in=None)

        removed = ["Remote Desktop Services Infrastructure Agent"] if contents.avd_agent_version else []
        return Performance(self._time(call), 0, _answer(call.step, ok=True, removed=removed), effect=effect)

    def _local_administrator(self, call: Call) -> Performance:
        name, password = call.given.get("UserName", ""), call.given.get("Password", "")
        if not name or not password:
            return Performance(5, 1, _answer(call.step, ok=False, error="A user name and a password are needed."))

        def effect() -> None:
            present = call.machine.contents.local_administrators
            if name.lower() not in {each.lower() for each in present}:
                call.machine.change(local_administrators=(*present, name))
            call.machine.passwords[plain_account(name)] = password

        return Performance(10, 0, _answer(call.step, ok=True, user=name), effect=effect)

    def _sysprep(self, call: Call) -> Performance:
        machine, contents = call.machine, call.machine.contents
        administrators = {plain_account(name) for name in contents.local_administrators}
        if not call.run_as or plain_account(call.run_as) not in administrators:
            who = f"{call.run_as} has none here" if call.run_as else "this is SYSTEM"
            rights = "with full rights, and" if call.run_as else "under a local administrator, and"
            return _sysprep_refuses(f"Sysprep must run {rights} {who}.", contents.image_state)
        if contents.image_state == GENERALISED:
            return Performance(5, 0, _answer(call.step, ok=True, seconds=0, image_state=GENERALISED))
        seconds = self._cloud.compute.takes("sysprep", machine, self._cloud.scenario.durations.sysprep)
        blockers = [*contents.sysprep_blockers]
        blockers += [BLOCKERS[call.failure]] if call.failure in BLOCKERS else []
        blockers += [RESTART_PENDING] if contents.reboot_pending else []
        if blockers:
            return self._sysprep_breaks(call, blockers, seconds / 4)

        def effect() -> None:
            machine.change(image_state=GENERALISED, generalized=True, entra_joined=False)

        answer = _answer(call.step, ok=True, seconds=int(seconds), image_state=GENERALISED)
        return Performance(seconds, 0, answer, effect=effect)

    def _sysprep_breaks(self, call: Call, blockers: list[str], seconds: float) -> Performance:
        at = f"{self._cloud.world.now:%Y-%m-%d %H:%M:%S}"
        lines = [f"{at}, Error                 {line}" for line in blockers]
        lines.append(
            f"{at}, Error                 SYSPRP Failed to remove apps for the current user: 0x80073cf2."
            if call.failure == "appx"
            else f"{at}, Error                 SYSPRP Failed to validate the machine: 0x80004005."
        )
        log = "\n".join(lines)

        def broken() -> None:
            call.machine.change(image_state=BROKEN)

        answer = _answer(
            call.step,
            ok=False,
            error=f"Sysprep ended, and the image state is {BROKEN}.",
            image_state=BROKEN,
            setuperr=log[-1500:],
            setupact=f"{at}, Info                  SYSPRP ========================================================\n{log}"[
                -1500:
            ],
        )
        return Performance(seconds, 1, answer, effect=broken)

    def _image_state(self, call: Call) -> Performance:
        state = call.machine.contents.image_state
        if state == GENERALISED:
            return Performance(5, 0, _answer(call.step, ok=True, image_state=state))
        error = f"Windows is not generalised: its image state is {state}."
        return Performance(5, 1, _answer(call.step, ok=False, error=error, image_state=state))

    def _manifest(self, call: Call) -> Performance:
        contents, number = call.machine.contents, int(call.given.get("Page", "1"))
        found = {
            "os": {"name": contents.edition, "build": contents.os_build},
            "hotfixes": sorted(set(contents.hotfixes)),
            "features": sorted(contents.features),
            "software": dict(sorted(contents.software.items())),
        }
        raw = json.dumps(found, separators=(",", ":")).encode()
        text = base64.b64encode(gzip.compress(raw, mtime=0)).decode()
        pages = [text[start : start + PAGE_LENGTH] for start in range(0, len(text), PAGE_LENGTH)]
        if not 1 <= number <= len(pages):
            error = f"There are {len(pages)} pages, and page {number} was asked for."
            return Performance(10, 1, _answer(call.step, ok=False, error=error))
        digest = hashlib.sha256(raw).hexdigest()
        answer = _answer(call.step, ok=True, page=number, pages=len(pages), digest=digest, chunk=pages[number - 1])
        return Performance(15, 0, answer)

    def _register_host(self, call: Call) -> Performance:
        contents, token = call.machine.contents, call.given.get("RegistrationToken", "")
        again = call.given.get("Again") == "yes"
        if contents.registered_in and not again:
            facts = {"already": True, "agent": contents.avd_agent_version or ""}
            return Performance(5, 0, _answer(call.step, ok=True, **facts))
        if not self._cloud.desktop.takes_token(token):
            error = "The agent was not registered after 15 minutes: see event 3277 of source WVD-Agent on this machine."
            return Performance(NOT_REGISTERED_S, 1, _answer(call.step, ok=False, error=error))
        durations = self._cloud.scenario.durations
        installed = contents.avd_agent_version is not None
        how_long = durations.agent_restart if installed else durations.agent_install
        seconds = self._cloud.compute.takes("agent install", call.machine, how_long)

        def effect() -> None:
            self._cloud.world.tell(AgentInstalled(call.machine.id, token))

        return Performance(seconds, 0, _answer(call.step, ok=True, already=False, agent=AGENT_VERSION), effect=effect)


def _answer(step: str, *, ok: bool, **facts: Any) -> str:
    return json.dumps({"ok": ok, "step": step, **facts}, separators=(",", ":")) + "\n"


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _sysprep_refuses(error: str, state: str) -> Performance:
    """The script does not even start sysprep, and nothing changes."""
    facts = {"error": error, "image_state": state, "setuperr": "", "setupact": ""}
    return Performance(10, 1, _answer("sysprep", ok=False, **facts))


def _extension_failure(name: str, kind: str, why: str) -> ArmError:
    return ArmError(
        409,
        "VMExtensionProvisioningError",
        f"VM has reported a failure when processing extension '{name}' (publisher 'Microsoft.Azure.ActiveDirectory' and type "
        f"'{kind}'). Error message: \"{why}\"\r\n\r\nMore information on troubleshooting is available at "
        "https://aka.ms/vmextensionwindowstroubleshoot.",
    )


def _failure(code: str, machine: "Machine") -> ArmError:
    text = FAILURES.get(code, "The virtual machine '{name}' could not be created or started.")
    return ArmError(409, code, text.format(name=machine.name))
