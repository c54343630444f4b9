"""The report: how it went in one word, and a page that stands by itself."""

import json
import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evergold.images.manifest import Change, Difference, Manifest, OperatingSystem
from evergold.validation.page import page
from evergold.validation.pictures import MOST_LANES, minutes_in_words, picture_of
from evergold.validation.report import Approval, PoolStory, Report, Retained, treated
from evergold.validation.timeline import Lane, Phase, Sample, Span
from evergold.validation.verdicts import Check, Evidence, Verdict

NOON = datetime(2026, 11, 13, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def lane(host: str, *phases: Phase, moved: int = 0) -> Lane:
    spans = tuple(Span(phase=phase, since=at(10 * n), until=at(10 * n + 10)) for n, phase in enumerate(phases))
    return Lane(host=host, is_new=phases[0] == "created", spans=spans, warned=moved, moved=moved)


def sample(minutes: float, capacity: int, waiting_for: str = "") -> Sample:
    return Sample(
        at=at(minutes), capacity_percent=capacity, replaced=0, total=2, users_to_move=5, waiting_for=waiting_for
    )


def story(**changes: Any) -> PoolStory:
    given: dict[str, Any] = {
        "pool": "hp-office",
        "ring": "broad",
        "release_method": "immediate",
        "hosts": 2,
        "on_version": 2,
        "floor_percent": 80,
        "lowest_percent": 83,
        "warned": 3,
        "moved": 2,
        "retained": (Retained(host="off-001", until="2026-11-16T12:00:00Z"),),
        "lanes": (
            lane("off-001", "old serving", "drained", "users gone", "retired", moved=2),
            lane("off-003", "created", "serving"),
        ),
        "samples": (sample(0, 100, "off-003 to come up"), sample(20, 83), sample(40, 100)),
    }
    return PoolStory(**{**given, **changes})


def evidence(verdict: Verdict = "pass") -> Evidence:
    check = Check(name="AVD agent", verdict=verdict, measured="<Available> & well", threshold="Available", remedy="")
    return Evidence(
        refresh="r1",
        image_set="office",
        version="1.5.0",
        image_version_id="/v",
        source="a:b:c:1",
        checks=(check,),
        canary="off-003",
        manifest=Manifest(os=OperatingSystem(name="Windows 11", build="26200.9231")),
        difference=Difference(
            build_before="1.1", build_after="1.2", software_changed=(Change(name="Edge", before="1", after="2"),)
        ),
    )


def report(**changes: Any) -> Report:
    given: dict[str, Any] = {
        "image_set": "office",
        "version": "1.5.0",
        "refresh": "office-20261113-1200",
        "source": "a:b:c:1",
        "written_at": at(60),
        "approval": Approval(by="Ada", at=at(-5), digest="d" * 64, reason="Patch Tuesday"),
        "evidence": evidence(),
        "pools": (story(),),
    }
    return Report(**{**given, **changes})


FAILED = story(lanes=(lane("off-004", "created", "failed"),))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "well"),
        ({"evidence": None}, "well"),
        ({"evidence": evidence("warn")}, "well"),
        ({"evidence": evidence("unknown")}, "look"),
        ({"pools": (story(lowest_percent=70),)}, "look"),
        ({"pools": (FAILED,)}, "look"),
        ({"pools": (story(on_version=1),)}, "stopped"),
        ({"problem": "hp-office halted."}, "stopped"),
    ],
)
def test_how_it_went_in_one_word(changes: dict[str, Any], outcome: str) -> None:
    found = report(**changes)
    assert found.outcome == outcome
    assert f'<header class="{outcome}">' in page(found)
    assert bool(found.remarks) is (outcome == "look")


def test_what_the_approver_saw_and_let_pass_is_told_and_alarms_nobody_again() -> None:
    text = page(report(evidence=evidence("warn")))
    assert "It went well" in text
    assert "Approved with warnings: AVD agent." in text


def test_what_did_not_pass_is_read_first() -> None:
    fine, bad = (evidence(verdict).checks[0].model_copy(update={"name": verdict}) for verdict in ("pass", "warn"))
    text = page(report(evidence=evidence().model_copy(update={"checks": (fine, bad)})))
    assert text.index("<td>warn</td>") < text.index("<td>pass</td>")


def test_how_long_the_way_back_is_open_is_told_as_people_tell_it() -> None:
    assert "<td>Mon 16 Nov 12:00 UTC</td>" in page(report())


@pytest.mark.parametrize(
    ("warned", "moved", "words"),
    [
        (0, 0, "Nobody was warned or signed out: every host went when its last user had left."),
        (1, 1, "1 user was warned and then signed out."),
        (3, 2, "3 users were warned; 2 of them were then signed out, the others had left by themselves."),
        (3, 0, "3 users were warned, and left before anybody had to be signed out."),
    ],
)
def test_what_users_met_is_told_in_a_sentence(warned: int, moved: int, words: str) -> None:
    assert treated(warned, moved) == words


def test_of_a_rollout_that_stopped_nobody_says_that_every_host_went() -> None:
    assert treated(0, 0, ended=False) == "Nobody was warned or signed out."
    assert "every host went" not in page(report(problem="It halted.", pools=(story(warned=0, moved=0),)))


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(report())
    assert "<script" not in text
    assert not re.search(r"(src|href)=|url\(|@import", text)
    assert set(re.findall(r"https?://[^\"'<> ]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_what_others_wrote_cannot_become_part_of_the_page() -> None:
    hostile = "<img onerror=x>"
    text = page(report(problem=hostile, approval=Approval(by=hostile, at=NOON, digest="d", reason=hostile)))
    assert "<img" not in text
    assert text.count("&lt;img onerror=x&gt;") == 3
    assert "&lt;Available&gt; &amp; well" in text


def test_every_picture_is_well_formed_and_names_what_it_shows() -> None:
    pictures = [picture_of(report()), *re.findall(r"<svg.*?</svg>", page(report()), re.DOTALL)]
    assert len(pictures) >= 6
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.find("{http://www.w3.org/2000/svg}title") is not None


def test_a_lane_says_on_hover_when_its_host_came_where_and_who_was_signed_out() -> None:
    text = page(report())
    assert "<title>off-001: drained from 2026-11-13 12:10 UTC</title>" in text
    assert "2 signed out" in text


def test_time_that_nobody_saw_is_shown_as_such() -> None:
    text = page(report(pools=(story(samples=(sample(0, 100), sample(100, 100))),)))
    assert "no record" in text
    assert "Nobody looked from Fri 12:00 to Fri 13:40 UTC." in text


def test_a_pool_without_any_record_says_so() -> None:
    assert "There is no record of how it went over time." in page(report(pools=(story(samples=(), lanes=()),)))


def test_a_large_pool_is_drawn_in_part_and_says_so() -> None:
    many = tuple(lane(f"off-{n:03}", "created", "serving") for n in range(MOST_LANES + 7))
    assert "and 7 hosts more" in page(report(pools=(story(lanes=many),)))


def test_the_document_is_whole_and_its_digest_is_of_all_of_it() -> None:
    document = json.loads(report().to_json())
    assert document["digest"] == report().digest
    assert Report.model_validate(document["report"]) == report()
    assert report(problem="x").digest != report().digest


@pytest.mark.parametrize(
    ("minutes", "words"), [(4, "4 min"), (60, "1 h"), (250, "4 h 10 min"), (1440, "1 day"), (3060, "2 days 3 h")]
)
def test_lengths_of_time_in_words(minutes: float, words: str) -> None:
    assert minutes_in_words(minutes) == words
