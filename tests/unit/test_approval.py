"""Answers to an approval: which count, and why others do not."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun

from evergold.config.models import Approval
from tasks.approval import ApprovalForm, Question, objection_to, requester_of
from tasks.rollout import chosen_method
from tests.support.simulated import small_image_set

NOW = datetime(2026, 11, 13, 10, tzinfo=UTC)


def objection(form: dict[str, Any], requested_by: str = "", **rules: Any) -> str | None:
    """Why this form would not count under these rules."""
    whole = ApprovalForm(**{"decision": "approve", "name": "Ada", "reason": "", **form})
    return objection_to(whole, Question("digest", "evidence", Approval(**rules), requested_by), NOW)


def test_an_approval_with_a_name_counts() -> None:
    assert objection({}) is None


def test_a_name_of_blanks_is_no_name() -> None:
    assert objection({"name": "   "}) == "it carries no name."


def test_an_approver_is_known_by_name_in_any_case() -> None:
    assert objection({"name": " ada "}, approvers=("Ada", "Grace")) is None


def test_somebody_else_cannot_approve() -> None:
    told = objection({"name": "Mallory"}, approvers=("Ada", "Grace"))
    assert told == "Mallory is not among the approvers of this image set (Ada, Grace)."


def test_a_rejection_needs_a_reason() -> None:
    assert "give the reason" in (objection({"decision": "reject"}) or "")
    assert objection({"decision": "reject", "reason": "Teams does not start"}) is None


def test_with_four_eyes_whoever_asked_for_the_refresh_cannot_approve_it() -> None:
    told = objection({"name": "ada"}, requested_by="Ada", four_eyes=True)
    assert told == "ada asked for this refresh, and this image set wants somebody else to approve it."
    assert objection({"name": "Grace"}, requested_by="Ada", four_eyes=True) is None


def test_with_four_eyes_whoever_asked_for_the_refresh_may_still_reject_it() -> None:
    assert objection({"decision": "reject", "reason": "a mistake"}, requested_by="Ada", four_eyes=True) is None


def test_with_four_eyes_a_refresh_that_nobody_owns_up_to_is_not_approved() -> None:
    assert "nobody said who asked" in (objection({}, requested_by="", four_eyes=True) or "")


def test_without_four_eyes_one_person_is_enough() -> None:
    assert objection({"name": "Ada"}, requested_by="Ada") is None


@pytest.mark.parametrize("when", ["2026-11-28 22:00", "2026-11-28T22:00:00+01:00", " 2026-11-28 22:00 "])
def test_for_later_takes_a_time_in_the_future(when: str) -> None:
    assert objection({"decision": "approve for later", "not_before": when}) is None


@pytest.mark.parametrize("when", ["", "Saturday night", "28.11.2026", "2026-13-01 10:00"])
def test_for_later_wants_a_time_that_can_be_read(when: str) -> None:
    assert "is no time" in (objection({"decision": "approve for later", "not_before": when}) or "")


@pytest.mark.parametrize("when", ["2026-11-13 10:00", "2026-11-01 10:00", "2027-11-13 10:00"])
def test_for_later_is_neither_in_the_past_nor_next_year(when: str) -> None:
    assert "not within the next 60 days" in (objection({"decision": "approve for later", "not_before": when}) or "")


def test_a_time_with_an_approval_for_now_is_asked_about() -> None:
    assert objection({"not_before": "2026-11-28 22:00"}) == "a time was given, and the decision is not for later."


def test_an_approver_may_choose_the_gentlest_release_method() -> None:
    assert objection({"release_method": "opportunistic"}) is None


def test_a_rougher_release_method_needs_the_image_sets_leave() -> None:
    assert "immediate may not be chosen" in (objection({"release_method": "immediate"}) or "")
    assert objection({"release_method": "immediate"}, release_methods=("immediate",)) is None


def test_what_is_scheduled_wants_a_time_in_the_image_set() -> None:
    untimed = small_image_set()
    with pytest.raises(ValueError, match=r"office\.yaml says no time for it\. Nothing was changed"):
        chosen_method(untimed, "scheduled")
    assert chosen_method(untimed, "immediate") == "immediate"
    assert chosen_method(untimed, "as planned") is None
    timed = small_image_set(rollout={"scheduled_start": "2026-11-14T22:00:00+01:00"})
    assert chosen_method(timed, "scheduled") == "scheduled"


@pytest.mark.parametrize(
    ("run", "asked"),
    [
        ({"auto_scheduled": True}, "the schedule"),
        ({"created_by": {"type": "USER", "display_value": "ada"}}, "ada"),
        ({"created_by": {"type": "DEPLOYMENT", "display_value": "refresh-image"}}, ""),
        ({}, ""),
    ],
)
def test_whoever_did_not_give_a_name_is_known_as_prefect_knows_them(run: dict[str, Any], asked: str) -> None:
    assert requester_of(FlowRun(flow_id=uuid4(), **run)) == asked
