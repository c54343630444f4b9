"""What becomes of a script's output: an answer, or a failure that says what to do."""

import pytest

from evergold.azure.compute import ScriptResult
from evergold.images.guest import Machine, StepFailure, answer_in, facts_or_failure, new_password
from evergold.images.sysprep import cause_of

WAITS = "Windows waits for a restart."
BUSY = "Windows is still installing updates or features, and holds its servicing."
MACHINE = Machine("rg", "evg-1", "westeurope")


def result(output: str = "", exit_code: int | None = 0, state: str = "Succeeded", error: str = "") -> ScriptResult:
    return ScriptResult(exit_code, output, error, state)


def failure(of: ScriptResult) -> StepFailure:
    with pytest.raises(StepFailure) as raised:
        facts_or_failure(MACHINE, "sysprep", of)
    return raised.value


def test_the_answer_is_the_last_line() -> None:
    assert answer_in('{"ok": false}\nInstalling\n{"ok": true, "step": "prepare"}\n\n') == {
        "ok": True,
        "step": "prepare",
    }


@pytest.mark.parametrize("output", ["", "done", "[1]", '"ok"', 'cut off at the front": true}'])
def test_a_script_that_answers_nothing_has_no_facts(output: str) -> None:
    assert answer_in(output) == {}


def test_a_script_of_other_people_succeeds_by_its_exit_code() -> None:
    assert facts_or_failure(MACHINE, "apps", result("all installed")) == {}


def test_an_exit_code_other_than_0_fails_whatever_the_state_says() -> None:
    failed = failure(result("oh no", 3010, error="msiexec: 3010"))
    assert "Its exit code was 3010" in failed.problem
    assert failed.log == "msiexec: 3010\noh no"


def test_an_answer_that_is_not_ok_fails_whatever_the_exit_code_says() -> None:
    assert failure(result('{"ok": false, "error": "A restart is pending."}')).problem == "A restart is pending."


def test_the_tails_of_the_logs_come_back_with_the_failure() -> None:
    failed = failure(result('{"ok": false, "error": "no", "setuperr": "E1", "setupact": "A1"}', 1, "Failed"))
    assert failed.log == "setuperr.log:\nE1\nsetupact.log:\nA1"
    assert "The end of its log:\nsetuperr.log:\nE1" in str(failed)


def test_a_script_that_azure_stopped_says_so() -> None:
    assert "not done in the time" in failure(result("", None, "TimedOut")).problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "SYSPRP Package Contoso.App_1.0_x64__abc was installed for a user, but not provisioned for all users.",
            "The app Contoso.App_1.0_x64__abc was installed for one user only.",
        ),
        ("SYSPRP There are one or more Windows updates that require a reboot.", WAITS),
        ("SYSPRP A pending restart was found.", WAITS),
        ("SYSPRP Trusted Installer is busy", BUSY),
        ("SYSPRP CBS is busy", BUSY),
        (
            "SYSPRP Sysprep_Clean_Validate_Opk: Audit mode cannot be turned on if reserved storage is in use. An update or "
            "servicing operation may be using reserved storage.; hr = 0x800F0975",
            BUSY,
        ),
        (
            "SYSPRP BitLocker-Sysprep: BitLocker is on for the OS volume. Turn BitLocker off to run Sysprep. (0x80310039)",
            "BitLocker is on.",
        ),
        (
            "SYSPRP ActionPlatform::DeleteValue: Error from RegDeleteValueW for value senseGuid under key "
            r"HKEY_LOCAL_MACHINE\Software\Microsoft\Windows Advanced Threat Protection; dwRet = 0x5",
            "The machine is onboarded to Microsoft Defender for Endpoint, which protects its settings from sysprep.",
        ),
        ("The machine is joined to a domain.", "The machine is joined to a domain or managed by Intune."),
        (
            "[0x0f00a8] SYSPRP WinMain: Hit failure while processing sysprep generalize providers; hr = 0xc004d307\n"
            "[0x0f0073] SYSPRP RunExternalDlls:Not running DLLs; either the machine is in an invalid state or we couldn't update "
            "the recorded state, dwRet = 31",
            "This Windows was generalised too often: its rearm count is used up.",
        ),
        (
            "SYSPRP hr = 0x8007139f",
            "Windows is not in a state that can be generalised, as after a sysprep that broke off.",
        ),
    ],
)
def test_known_causes_of_a_failed_sysprep_are_named(text: str, problem: str) -> None:
    cause = cause_of(f"2026-11-12 20:14:01, Error\t{text}\nmore")
    assert cause is not None
    assert cause.problem == problem
    assert cause.remedy


def test_the_name_of_a_check_that_sysprep_ran_is_not_taken_for_a_cause() -> None:
    log = (
        "2026-11-12 20:14:01, Info                  SYSPRP ActionPlatform::LaunchModule: Executing method 'ValidateBitLockerState' "
        "from C:\\Windows\\System32\\BdeSysprep.dll\n"
        "2026-11-12 20:14:01, Warning               SYSPRP WinMain: a restart is pending\n"
        "2026-11-12 20:14:02, Error                 SYSPRP CBS is busy"
    )
    cause = cause_of(log)
    assert cause is not None
    assert cause.problem == BUSY


def test_an_unknown_cause_is_not_guessed() -> None:
    assert cause_of("SYSPRP ActionPlatform::LaunchModule: failure occurred, dwRet = 0x2") is None


def test_a_password_suits_windows_and_hides_itself() -> None:
    password = new_password()
    text = password.get_secret_value()
    assert text.isalnum()
    assert text[0].isalpha()
    assert any(letter.isdigit() for letter in text)
    assert text not in repr(password)
    assert new_password() != password
