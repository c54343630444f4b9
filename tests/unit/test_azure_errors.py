"""What a refusal means: whether to wait, and what to tell the operator."""

import pickle
from typing import Any

import pytest

from evergold.azure.errors import RULES, AzureFailure, Refusal, failure, refusal_in_body


def read(body: Any, status: int = 409) -> AzureFailure:
    refusal = refusal_in_body(body, status)
    assert refusal is not None
    return failure("create the virtual machine", "rg/desk-01", refusal, status)


@pytest.mark.parametrize(
    ("message", "retryable", "remedy"),
    [
        ("Operation could not be completed as it results in exceeding approved DSv5 Cores quota.", False, "quota"),
        ("Operation 'start' is not allowed on VM 'x' since the VM is generalized.", False, "never start again"),
        ("Operation 'generalize' is not allowed on VM 'x' since the VM is running.", False, "Deallocate the VM first"),
        ("Operation 'PUT' is not allowed on VM extension 'x' since it is marked for deletion.", True, "gone"),
        ("An ongoing operation is changing power state of Virtual Machine x.", True, "under way"),
        ("Cannot modify extensions in the VM when the VM is not running.", False, "Start the VM"),
    ],
)
def test_one_code_means_many_things_and_its_words_tell_which(message: str, retryable: bool, remedy: str) -> None:
    result = read({"error": {"code": "OperationNotAllowed", "message": message}})
    assert result.retryable is retryable
    assert remedy in result.remedy


def test_computes_throttling_body_is_known_though_it_lacks_the_usual_wrapper() -> None:
    body = {
        "code": "OperationNotAllowed",
        "message": "The server rejected the request because too many requests have been received.",
        "details": [{"code": "TooManyRequests", "target": "HighCostGet", "message": "{}"}],
    }
    result = read(body, 429)
    assert (result.code, result.retryable) == ("TooManyRequests", True)


def test_the_innermost_cause_is_told() -> None:
    inner = {"code": "X", "message": "The disk is full."}
    result = read(
        {"error": {"code": "Failed", "message": "It failed.", "details": [{"message": "", "innererror": inner}]}}
    )
    assert result.message == "It failed. Cause: The disk is full."


@pytest.mark.parametrize(
    "code",
    [
        "Conflict",
        "OperationPreempted",
        "AllocationFailed",
        "GalleryImageNotFound",
        "NicInUse",
        "NicReservedForAnotherVm",
    ],
)
def test_some_refusals_pass_by_themselves(code: str) -> None:
    assert read({"error": {"code": code, "message": "No."}}).retryable


@pytest.mark.parametrize("code", ["SkuNotAvailable", "ScopeLocked", "AuthorizationFailed", "OSProvisioningClientError"])
def test_some_refusals_need_a_person(code: str) -> None:
    assert not read({"error": {"code": code, "message": "No."}}).retryable


def test_an_unknown_refusal_is_not_retried_unless_its_status_says_later() -> None:
    assert not read({"error": {"code": "Novel", "message": "?"}}, 400).retryable
    assert read({"error": {"code": "Novel", "message": "?"}}, 503).retryable


def test_a_failure_says_what_on_what_why_and_what_next() -> None:
    text = str(read({"error": {"code": "SkuNotAvailable", "message": "Not in westeurope."}}))
    assert text == (
        "Could not create the virtual machine (rg/desk-01). Azure: SkuNotAvailable: Not in westeurope. "
        "What to do: This VM size cannot be had there: choose another size, zone or region."
    )


def test_a_failure_survives_the_way_between_processes() -> None:
    one = failure("a", "b", Refusal("SkuNotAvailable", "c"), 409)
    other = pickle.loads(pickle.dumps(one))
    assert (str(other), other.status, other.retryable) == (str(one), 409, False)


def test_every_rule_ends_in_something_to_do() -> None:
    assert [rule for rule in RULES if not rule.says and len(rule.remedy.split()) < 5] == []
