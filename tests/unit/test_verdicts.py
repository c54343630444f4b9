"""Verdicts and evidence: what an approval names, and what a person reads before giving it."""

from typing import Any

import pytest

from evergold.images.manifest import Change, Difference, Manifest, OperatingSystem
from evergold.validation.verdicts import Check, Evidence, Verdict, judge_difference, worst


def check(name: str = "agent", verdict: Verdict = "pass", measured: str = "fine", **more: Any) -> Check:
    return Check(name=name, verdict=verdict, measured=measured, threshold="Available", remedy="", **more)


def evidence(*checks: Check, **changes: Any) -> Evidence:
    given: dict[str, Any] = {
        "refresh": "office-20261112-2000",
        "image_set": "office",
        "version": "1.5.0",
        "image_version_id": "/subscriptions/s/images/office/versions/1.5.0",
        "source": "publisher:offer:sku:1",
        "checks": checks,
        "manifest": Manifest(os=OperatingSystem(name="Windows 11", build="26200.9231"), hotfixes=("KB3",)),
    }
    return Evidence(**{**given, **changes})


def changed(**fields: Any) -> Difference:
    return Difference(**{"build_before": "26200.1", "build_after": "26200.2", **fields})


GONE = Change(name="Reader", before="9", after="")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "unknown"),
        (["pass", "pass"], "pass"),
        (["pass", "warn"], "warn"),
        (["warn", "unknown"], "unknown"),
        (["unknown", "fail", "pass"], "fail"),
    ],
)
def test_the_worst_verdict_counts(verdicts: list[Verdict], expected: Verdict) -> None:
    assert worst([check(verdict=verdict) for verdict in verdicts]) == expected


@pytest.mark.parametrize(("verdict", "passed"), [("pass", True), ("warn", True), ("unknown", False), ("fail", False)])
def test_nobody_is_asked_about_what_failed_or_could_not_be_seen(verdict: Verdict, passed: bool) -> None:
    assert evidence(check(verdict=verdict)).passed is passed


def test_looking_again_at_the_same_world_gives_the_same_digest() -> None:
    before = evidence(check(measured="heard of 1 minute ago"), check("heartbeat"))
    after = evidence(check("heartbeat"), check(measured="heard of 4 minutes ago"), canary="pil3")
    assert before.digest == after.digest


@pytest.mark.parametrize(
    "other",
    [
        evidence(check(verdict="warn")),
        evidence(check(facts=("KB1",))),
        evidence(check(), check("heartbeat")),
        evidence(check(), version="1.6.0"),
        evidence(check(), source="publisher:offer:sku:2"),
        evidence(check(), difference=changed(software_removed=(GONE,))),
    ],
)
def test_evidence_that_says_something_else_has_another_digest(other: Evidence) -> None:
    assert other.digest != evidence(check()).digest


def test_the_page_shows_each_check_the_contents_and_the_difference() -> None:
    text = evidence(
        check(measured="a | b\nc"), difference=changed(software_removed=(GONE,)), compared_with="1.4.0"
    ).to_markdown()
    assert "| agent | pass | a \\| b c | Available |  |" in text
    assert "In it: Windows 11, build 26200.9231, 1 hotfix, 0 programs." in text
    assert "### Against 1.4.0" in text
    assert "| Reader | **removed** | 9 |  |" in text


def test_a_long_difference_is_cut_and_says_so() -> None:
    many = tuple(Change(name=f"Program {number}", before="1", after="2") for number in range(25))
    assert "| and 5 more | changed | | |" in evidence(check(), difference=changed(software_changed=many)).to_markdown()


def test_going_back_to_an_older_windows_fails() -> None:
    assert judge_difference(changed(build_before="26200.2", build_after="26200.1")).verdict == "fail"


def test_a_program_that_is_gone_is_a_warning_and_a_fact() -> None:
    judged = judge_difference(changed(software_removed=(GONE,)))
    assert (judged.verdict, judged.facts) == ("warn", ("Reader",))


def test_a_feature_of_windows_that_is_gone_is_a_warning_and_stands_in_the_text() -> None:
    gone = changed(features_disabled=("NetFx3",), features_enabled=("SMB1Protocol",))
    judged = judge_difference(gone)
    assert (judged.verdict, judged.measured) == ("warn", "1 feature of Windows disabled.")
    text = evidence(check(), difference=gone).to_markdown()
    assert "| NetFx3 | **feature disabled** | | |" in text
    assert "| SMB1Protocol | feature enabled | | |" in text


def test_hotfixes_that_are_gone_are_a_warning_unless_a_newer_build_took_their_place() -> None:
    same = changed(build_after="26200.1", hotfixes_lost=("KB1",))
    assert (judge_difference(same).verdict, judge_difference(same).facts) == ("warn", ("KB1",))
    assert judge_difference(changed(hotfixes_lost=("KB1",))).verdict == "pass"


def test_not_knowing_the_version_before_is_a_warning() -> None:
    assert judge_difference(None).verdict == "warn"


def test_only_gains_pass() -> None:
    judged = judge_difference(changed(hotfixes_gained=("KB3",), software_added=(GONE,)))
    assert (judged.verdict, judged.measured) == ("pass", "1 program added or changed, 1 hotfix gained.")
