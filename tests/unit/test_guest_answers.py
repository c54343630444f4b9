"""What becomes of a script's output: an answer, or a failure that says what to do."""

import pytest

from evergold.azure.compute import ScriptResult
from evergold.images.guest import Machine, StepFailure, answer_in, facts_or_failure, new_password
from evergold.images.sysprep import cause_of

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
        ("There are one or more Windows updates that require a reboot.", "Windows waits for a restart."),
        ("BitLocker-Sysprep: BitLocker is on for the OS volume (0x80310039)", "BitLocker is on."),
        ("hr = 0x8007139f", "This Windows was generalised too often."),
    ],
)
def test_known_causes_of_a_failed_sysprep_are_named(text: str, problem: str) -> None:
    cause = cause_of(f"2026-11-12 20:14:01, Error\t{text}\nmore")
    assert cause is not None
    assert cause.problem == problem


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
