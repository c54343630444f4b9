"""Answers to an approval: which count, and why others do not."""

from typing import Any, Literal

from tasks.approval import ApprovalForm, objection_to


def answer(decision: Literal["approve", "reject"] = "approve", **more: Any) -> ApprovalForm:
    return ApprovalForm(**{"decision": decision, "name": "Ada", "reason": "", **more})


def test_an_approval_with_a_name_counts() -> None:
    assert objection_to(answer(), approvers=()) is None


def test_a_name_of_blanks_is_no_name() -> None:
    assert objection_to(answer(name="   "), approvers=()) == "it carries no name."


def test_an_approver_is_known_by_name_in_any_case() -> None:
    assert objection_to(answer(name=" ada "), approvers=("Ada", "Grace")) is None


def test_somebody_else_cannot_approve() -> None:
    objection = objection_to(answer(name="Mallory"), approvers=("Ada", "Grace"))
    assert objection == "Mallory is not among the approvers of this image set (Ada, Grace)."


def test_a_rejection_needs_a_reason() -> None:
    assert "give the reason" in (objection_to(answer("reject"), approvers=()) or "")
    assert objection_to(answer("reject", reason="Teams does not start"), approvers=()) is None
