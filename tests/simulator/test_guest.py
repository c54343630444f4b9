"""Scripts and extensions in simulated machines, played from what is on their disks."""

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from simulator.machines import Machine
from simulator.news import AgentInstalled
from simulator.scenario import Durations
from tests.simulator.test_compute import act, running, vm_path
from tests.support.caller import Answer, Caller

GUEST = Path(__file__).parents[2] / "guest"
GENERALISED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
KEEPER = {"runAsUser": "keeper", "runAsPassword": "Correct1Horse"}
POOL = "Microsoft.DesktopVirtualization/hostPools/hp-pilot"


def script(name: str) -> str:
    """The real script."""
    return (GUEST / name).read_text(encoding="utf-8")


def send(world: Caller, source: str, name: str = "c1", **changes: Any) -> Answer:
    """Sends a script as a managed run command."""
    body = {"location": "westeurope", "properties": {"source": {"script": source}, "asyncExecution": True, **changes}}
    return world.send("PUT", vm_path(world, rest=f"/runCommands/{name}"), body)


def view(world: Caller, name: str = "c1") -> dict[str, Any]:
    """How a script is doing."""
    path = vm_path(world, rest=f"/runCommands/{name}")
    seen: dict[str, Any] = world.send("GET", path, expand="instanceView").json()["properties"]["instanceView"]
    return seen


def outcome(world: Caller, source: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    """The exit code and the answer of a script that has run to its end."""
    assert send(world, source, **changes).status_code in (200, 201)
    for _ in range(400):
        world.wait(10)
        seen = view(world)
        if seen["executionState"] in ("Succeeded", "Failed", "TimedOut"):
            return seen["exitCode"], json.loads(seen["output"].splitlines()[-1]) if seen["output"] else {}
    raise AssertionError("The script does not end.")


def parameters(**given: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in given.items()]


def machine_in(**changes: Any) -> tuple[Caller, Machine]:
    """A world with a machine that runs."""
    world = Caller(**changes)
    return world, running(world)


# Run commands


def test_an_asynchronous_script_goes_from_pending_over_running_to_its_end() -> None:
    world, _ = machine_in(durations=Durations(script=(60, 60)))
    answer = send(world, "Get-Date")
    assert (answer.status_code, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
    states = [view(world)["executionState"]]
    for _ in range(2):
        world.wait(35)
        states.append(view(world)["executionState"])
    assert states == ["Pending", "Running", "Succeeded"]


def test_the_operation_of_an_asynchronous_script_ends_when_it_has_started() -> None:
    world, _ = machine_in()
    assert world.ended(send(world, "Get-Date"), at_most=60)["status"] == "Succeeded"
    assert view(world)["executionState"] == "Running"


def test_that_azure_ran_a_script_says_nothing_about_how_it_ended() -> None:
    world, _ = machine_in(guest_failures={"prepare": "exit:3"})
    world.ended(send(world, script("prepare.ps1"), asyncExecution=False))
    command = world.send("GET", vm_path(world, rest="/runCommands/c1")).json()
    assert command["properties"]["provisioningState"] == "Succeeded"
    assert (view(world)["executionState"], view(world)["exitCode"]) == ("Failed", 3)


@pytest.mark.parametrize("in_background", [True, False])
def test_where_it_is_asked_for_a_script_that_fails_is_a_failed_operation(in_background: bool) -> None:
    world, _ = machine_in(guest_failures={"prepare": "exit:3"})
    ended = world.ended(
        send(world, script("prepare.ps1"), asyncExecution=in_background, treatFailureAsDeploymentFailure=True)
    )
    command = world.send("GET", vm_path(world, rest="/runCommands/c1")).json()
    if in_background:  # the operation is over before the script is
        assert (ended["status"], command["properties"]["provisioningState"]) == ("Succeeded", "Succeeded")
    else:
        assert (ended["error"]["code"], command["properties"]["provisioningState"]) == (
            "VMRunCommandScriptFailed",
            "Failed",
        )


def test_protected_parameters_and_passwords_are_never_returned() -> None:
    world, _ = machine_in()
    answer = send(world, "Get-Date", protectedParameters=parameters(Token="hush-hush"), **KEEPER)
    seen = world.send("GET", vm_path(world, rest="/runCommands/c1"), expand="instanceView")
    assert "hush-hush" not in answer.text + seen.text
    assert "Correct1Horse" not in answer.text + seen.text


def test_a_script_that_takes_too_long_is_stopped_and_has_no_effect() -> None:
    world, machine = machine_in(durations=Durations(script=(300, 300)))
    code, _ = outcome(world, script("customise/install-apps.ps1"), timeoutInSeconds=120)
    assert (view(world)["executionState"], code) == ("TimedOut", -1)
    assert "7-Zip 25.01 (x64)" not in machine.contents.software


def test_a_script_whose_machine_stops_under_it_has_failed_even_if_the_machine_runs_again() -> None:
    world, machine = machine_in(durations=Durations(script=(900, 900)))
    send(world, script("customise/install-apps.ps1"))
    world.wait(60)
    world.ended(act(world, "restart"))
    world.wait(900)
    assert view(world)["executionState"] == "Failed"
    assert "7-Zip 25.01 (x64)" not in machine.contents.software


def test_deleting_a_run_command_ends_its_script() -> None:
    world, machine = machine_in()
    send(world, script("customise/install-apps.ps1"))
    world.ended(world.send("DELETE", vm_path(world, rest="/runCommands/c1")))
    world.wait(3600)
    assert "7-Zip 25.01 (x64)" not in machine.contents.software
    assert world.send("GET", vm_path(world, rest="/runCommands/c1")).status_code == 404
    assert world.send("DELETE", vm_path(world, rest="/runCommands/c1")).status_code == 204


def test_a_script_sent_again_under_its_name_takes_the_place_of_the_first() -> None:
    world, _ = machine_in(durations=Durations(script=(600, 600)))
    send(world, "first")
    world.wait(500)
    assert send(world, "second").status_code == 200
    world.wait(300)
    assert view(world)["executionState"] == "Running"


def test_a_wrong_password_does_not_let_a_script_run_under_an_account() -> None:
    world, _ = machine_in()
    code, answer = outcome(world, script("sysprep.ps1"), runAsUser="keeper", runAsPassword="Wrong1Horse")
    assert (code, answer) == (-1, {})
    assert "password is incorrect" in view(world)["error"]


def test_no_script_runs_in_a_machine_that_is_off() -> None:
    world, _ = machine_in()
    world.ended(act(world, "deallocate"))
    answer = send(world, "Get-Date")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"].startswith("Cannot modify extensions in the VM when the VM is not running")


def test_the_older_action_brings_both_streams_back_at_its_location_one_at_a_time() -> None:
    world, _ = machine_in()
    body = {"commandId": "RunPowerShellScript", "script": script("image-state.ps1").splitlines()}
    path = vm_path(world, rest="/runCommand")
    first = world.send("POST", path, body)
    assert world.send("POST", path, body).status_code == 409
    out, error = world.result(first)["value"]
    assert json.loads(out["message"])["image_state"] == "IMAGE_STATE_COMPLETE"
    assert error["code"] == "ComponentStatus/StdErr/succeeded"


# The steps


def test_installed_applications_are_in_the_manifest_and_want_a_restart() -> None:
    world, machine = machine_in()
    given = parameters(Packages="7zip.7zip, Contoso.Tool")
    code, answer = outcome(world, script("customise/install-apps.ps1"), parameters=given)
    assert (code, answer["installed"]) == (0, ["7zip.7zip", "Contoso.Tool"])
    assert machine.contents.reboot_pending
    assert outcome(world, script("customise/install-apps.ps1"), parameters=given)[1]["installed"] == []
    assert manifest(world)["software"]["Contoso.Tool"] == "1.0.0"


def manifest(world: Caller) -> dict[str, Any]:
    """The manifest, put together from its pages."""
    first = outcome(world, script("manifest.ps1"))[1]
    others = range(2, first["pages"] + 1)
    pages = [outcome(world, script("manifest.ps1"), parameters=parameters(Page=str(number)))[1] for number in others]
    raw = gzip.decompress(base64.b64decode("".join(page["chunk"] for page in (first, *pages))))
    assert hashlib.sha256(raw).hexdigest() == first["digest"]
    found: dict[str, Any] = json.loads(raw)
    return found


def test_a_long_manifest_comes_in_pages_that_fit_into_what_azure_brings_back() -> None:
    world, machine = machine_in()
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(200)]
    machine.change(software=dict.fromkeys(names, "1.0"))
    answer = outcome(world, script("manifest.ps1"))[1]
    assert answer["pages"] > 1
    assert len(view(world)["output"]) < 4096
    assert set(manifest(world)["software"]) == set(names)


def test_a_page_that_is_not_there_is_said_so() -> None:
    world, _ = machine_in()
    code, answer = outcome(world, script("manifest.ps1"), parameters=parameters(Page="7"))
    assert (code, answer["ok"]) == (1, False)


def test_preparing_waits_for_a_restart_and_then_takes_the_agent_out() -> None:
    world, machine = machine_in()
    machine.change(reboot_pending=True, avd_agent_version="1.0", registered_in="somewhere")
    code, answer = outcome(world, script("prepare.ps1"))
    assert (code, answer["reboot_pending"]) == (1, True)
    world.ended(act(world, "restart"))
    assert outcome(world, script("prepare.ps1"))[0] == 0
    assert (machine.contents.avd_agent_version, machine.contents.registered_in) == (None, None)


def test_sysprep_under_system_refuses_and_changes_nothing() -> None:
    world, machine = machine_in()
    code, answer = outcome(world, script("sysprep.ps1"))
    assert code == 1
    assert "this is SYSTEM" in answer["error"]
    assert machine.contents.image_state == "IMAGE_STATE_COMPLETE"


def test_sysprep_under_an_administrator_generalises_and_the_proof_says_so() -> None:
    world, machine = machine_in()
    assert outcome(world, script("image-state.ps1"))[0] == 1
    assert outcome(world, script("sysprep.ps1"), **KEEPER)[1]["image_state"] == GENERALISED
    assert outcome(world, script("image-state.ps1")) == (
        0,
        {"ok": True, "step": "image-state", "image_state": GENERALISED},
    )
    assert machine.contents.generalized


def test_the_account_that_a_script_makes_is_one_that_sysprep_can_run_under() -> None:
    world, _ = machine_in()
    secret = parameters(Password="Another1Horse")
    outcome(world, script("local-administrator.ps1"), parameters=parameters(UserName="sys"), protectedParameters=secret)
    assert outcome(world, script("sysprep.ps1"), runAsUser=".\\sys", runAsPassword="Another1Horse")[0] == 0


@pytest.mark.parametrize(
    ("blocker", "says"),
    [("appx", "was installed for a user, but not provisioned"), ("restart", "updates that require a reboot")],
)
def test_what_blocks_sysprep_stands_in_the_end_of_its_log(blocker: str, says: str) -> None:
    world, machine = machine_in(guest_failures={"sysprep": "appx"} if blocker == "appx" else {})
    machine.change(reboot_pending=blocker == "restart")
    code, answer = outcome(world, script("sysprep.ps1"), **KEEPER)
    assert (code, answer["image_state"]) == (1, "IMAGE_STATE_UNDEPLOYABLE")
    assert says in answer["setuperr"]


def test_a_failure_that_is_planned_once_happens_once() -> None:
    world, _ = machine_in(guest_failures={"sysprep": "once:appx"})
    assert outcome(world, script("sysprep.ps1"), **KEEPER)[0] == 1
    assert outcome(world, script("sysprep.ps1"), **KEEPER)[0] == 0


def test_the_agent_registers_with_a_good_token_and_is_told_to_the_broker() -> None:
    world, machine = machine_in()
    heard: list[AgentInstalled] = []
    world.cloud.world.listen(AgentInstalled, heard.append)
    path = world.path("rg-avd-pilot", POOL)
    expires = {"expirationTime": "2026-11-13T16:30:00Z", "registrationTokenOperation": "Update"}
    world.send("PATCH", path, {"properties": {"registrationInfo": expires}})
    token = world.send("POST", path + "/retrieveRegistrationToken").json()["token"]
    given = parameters(RegistrationToken=token)
    assert outcome(world, script("register-host.ps1"), protectedParameters=given)[1]["already"] is False
    assert heard == [AgentInstalled(machine.id, token)]
    assert outcome(world, script("register-host.ps1"), protectedParameters=given)[1]["already"] is True


def test_the_agent_does_not_register_with_a_token_that_is_not_good() -> None:
    world, _ = machine_in()
    code, answer = outcome(
        world, script("register-host.ps1"), protectedParameters=parameters(RegistrationToken="stale")
    )
    assert code == 1
    assert "not registered" in answer["error"]


# Extensions


def join(world: Caller) -> Answer:
    """Asks for the join to Entra."""
    given = {"publisher": "Microsoft.Azure.ActiveDirectory", "type": "AADLoginForWindows", "typeHandlerVersion": "2.0"}
    path = vm_path(world, rest="/extensions/join")
    return world.send("PUT", path, {"location": "westeurope", "properties": given})


def with_identity(**changes: Any) -> tuple[Caller, Machine]:
    world, machine = machine_in(**changes)
    machine.identity = {"type": "SystemAssigned"}
    return world, machine


def test_the_entra_extension_joins_a_machine_that_has_an_identity() -> None:
    world, machine = with_identity()
    answer = join(world)
    assert (answer.status_code, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
    assert world.ended(answer)["status"] == "Succeeded"
    assert machine.contents.entra_joined


def test_a_machine_without_an_identity_cannot_join() -> None:
    world, machine = machine_in()
    ended = world.ended(join(world))
    assert ended["error"]["code"] == "VMExtensionProvisioningError"
    assert not machine.contents.entra_joined


def test_an_extension_whose_machine_stops_fails_for_want_of_its_agent() -> None:
    world, machine = with_identity()
    answer = join(world)
    act(world, "deallocate")
    assert world.ended(answer)["error"]["code"] == "VMAgentStatusCommunicationError"
    assert not machine.contents.entra_joined


# Patches


def patched(world: Caller, action: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = world.result(world.send("POST", vm_path(world, rest=f"/{action}"), body))
    return found


def with_missing_patches() -> tuple[Caller, Machine]:
    """A machine from the older marketplace image."""
    world, machine = machine_in()
    machine.disk.contents = world.cloud.galleries.marketplace(
        "microsoftwindowsdesktop", "office-365", "win11-25h2-avd-m365", "26200.9060.261013", "westeurope"
    )
    return world, machine


def test_an_assessment_names_what_is_missing_and_stays_in_the_instance_view() -> None:
    world, _ = with_missing_patches()
    result = patched(world, "assessPatches")
    assert (result["status"], result["criticalAndSecurityPatchCount"]) == ("Succeeded", 1)
    assert [patch["kbId"] for patch in result["availablePatches"]] == ["5103388"]
    status = world.send("GET", vm_path(world, rest="/instanceView")).json()["patchStatus"]
    assert status["availablePatchSummary"]["assessmentActivityId"] == result["assessmentActivityId"]


def test_installing_patches_restarts_the_machine_and_leaves_nothing_to_install() -> None:
    world, machine = with_missing_patches()
    asked = {
        "maximumDuration": "PT2H",
        "rebootSetting": "IfRequired",
        "windowsParameters": {"classificationsToInclude": ["Security"]},
    }
    result = patched(world, "installPatches", asked)
    assert (result["installedPatchCount"], result["rebootStatus"]) == (1, "Completed")
    assert machine.boots == 2
    assert "KB5103388" in machine.contents.hotfixes
    assert patched(world, "assessPatches")["availablePatches"] == []


def test_an_assessment_that_is_broken_off_succeeds_as_a_call_and_failed_by_its_status() -> None:
    world, _ = with_missing_patches()
    answer = world.send("POST", vm_path(world, rest="/assessPatches"))
    act(world, "deallocate")
    assert world.result(answer)["status"] == "Failed"
