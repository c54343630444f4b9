"""Answers to the questions whether Cloud PCs are reprovisioned, or put back: which count, and what a waiver must say."""

from typing import Any

import pytest

from evergold.config.models import Approval
from tasks import cloud_pc_restore
from tasks.approval import Question
from tasks.cloud_pc_restore import RestoreForm, users_in
from tasks.cloud_pcs import CloudPcForm, objection_to, waivers_in

USERS = {"ada@contoso.com", "grace@contoso.com"}


def objection(approvers: tuple[str, ...] = (), by: str = "", **form: Any) -> str | None:
    whole = CloudPcForm(**{"decision": "approve", "name": "Ada", **form})
    return objection_to(whole, Question("", "", Approval(approvers=approvers, four_eyes=bool(by)), by), USERS)


def test_an_approval_with_a_name_counts() -> None:
    assert objection() is None


def test_somebody_else_cannot_approve_and_a_rejection_needs_a_reason() -> None:
    assert "not among the approvers" in (objection(("Grace",)) or "")
    assert "give the reason" in (objection(decision="reject") or "")


def test_where_two_people_are_wanted_whoever_asked_for_it_cannot_approve() -> None:
    assert "wants somebody else" in (objection(by="ada") or "")
    assert objection(by="Grace") is None


def test_a_waiver_names_a_user_of_these_cloud_pcs_and_a_reason() -> None:
    assert objection(waivers="Ada@contoso.com: nothing on it\n\ngrace@contoso.com: asked for it") is None
    assert "names nobody" in (objection(waivers="mallory@contoso.com: because") or "")
    assert "has no reason" in (objection(waivers="ada@contoso.com:") or "")


def test_waivers_are_kept_by_user() -> None:
    assert waivers_in("Ada@contoso.com: nothing: really\n") == {"ada@contoso.com": "nothing: really"}


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"decision": "approve", "name": "Mallory"}, "not among the approvers"),
        ({"decision": "approve", "name": "Ada"}, "wants somebody else"),
        ({"decision": "reject", "name": "Grace"}, "give the reason"),
        ({"decision": "reject", "name": "Grace", "reason": "They work on it."}, None),
        ({"decision": "approve", "name": "Grace"}, None),
    ],
)
def test_a_restore_is_approved_by_the_same_people_as_a_reprovision(form: dict[str, Any], says: str | None) -> None:
    question = Question("", "", Approval(approvers=("Ada", "Grace"), four_eyes=True), "Ada")
    found = cloud_pc_restore.objection_to(RestoreForm(**form), question)
    assert found is None if says is None else says in (found or "")


def test_those_to_restore_are_named_once_each_and_an_empty_list_never_means_everybody() -> None:
    assert users_in(" Ada@contoso.com, bob@contoso.com,,ada@contoso.com ") == ["ada@contoso.com", "bob@contoso.com"]
    with pytest.raises(ValueError, match="names nobody"):
        users_in(" , ")
