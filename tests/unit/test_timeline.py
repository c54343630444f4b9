"""The record of a rollout: what is kept of what was seen, a lane for each host, what it waited for, and time that nobody saw."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evergold import tags
from evergold.rollout import wording
from evergold.rollout.model import Host, Plan
from evergold.validation.timeline import CAUSES, OTHER_CAUSE, Sample, cause_of, gaps, lanes, phase_of, sample_of, waits
from tests.support.moments import EPOCH
from tests.support.pools import ago, drained, host, look, new, old, retired, serving, stamp, target, vacated

TARGET = target(2)


def sample(minutes: float, waiting_for: str = "", **phases: Any) -> Sample:
    at = EPOCH + timedelta(minutes=minutes)
    numbers = {"capacity_percent": 100, "replaced": 0, "total": 2, "users_to_move": 1}
    return Sample(at=at, waiting_for=waiting_for, phases=phases, **numbers)


def seen(*hosts: Host, at: datetime = EPOCH, before: tuple[Sample, ...] = (), **plan: Any) -> Sample | None:
    return sample_of(
        at, look(*hosts), Plan(**{"capacity_percent": 100, "total": 2, "users_to_move": 1, **plan}), TARGET, before
    )


@pytest.mark.parametrize(
    ("there", "phase"),
    [
        (new("n", registered=False), "created"),
        (new("n"), "joined"),
        (new("n", tagged={tags.CHECKED_AT: stamp(1)}), "checked"),
        (serving("n"), "serving"),
        (new("n", tagged={tags.FAILED: "join"}, registered=False), "failed"),
        (old("o"), "old serving"),
        (drained("o", users=2), "drained"),
        (vacated("o"), "users gone"),
        (retired("o"), "retired"),
        (host("another"), None),
    ],
)
def test_how_far_a_host_is(there: Host, phase: str | None) -> None:
    assert phase_of(there, TARGET) == phase


def test_a_tick_that_shows_nothing_new_is_not_kept_until_a_while_has_passed() -> None:
    first = seen(old("o"))
    assert first is not None
    assert seen(old("o"), at=EPOCH + timedelta(minutes=1), before=(first,)) is None
    assert seen(old("o"), at=EPOCH + timedelta(minutes=15), before=(first,)) is not None


@pytest.mark.parametrize(
    "change", [{"capacity_percent": 90}, {"replaced": 1}, {"waiting_for": "n to come up"}, {"done": True}]
)
def test_a_tick_that_shows_something_new_is_kept(change: dict[str, Any]) -> None:
    first = seen(old("o"))
    assert first is not None
    assert seen(old("o"), at=EPOCH + timedelta(minutes=1), before=(first,), **change) is not None


def test_only_hosts_that_came_further_are_in_a_line() -> None:
    first = seen(old("o"), new("n"))
    assert first is not None
    following = seen(drained("o", users=1), new("n"), before=(first,))
    assert following is not None
    assert following.phases == {"o": "drained"}


def test_a_look_that_failed_is_not_kept() -> None:
    assert sample_of(EPOCH, look(old("o"), complete=False), Plan(), TARGET, ()) is None


def test_a_lane_is_made_of_what_stands_in_azure_and_what_was_noted() -> None:
    gone = drained(
        "o", tagged={tags.EMPTY_SINCE: stamp(30), tags.RETIRED_AT: stamp(5), tags.MOVED_USERS: "2"}, registered=False
    )
    noted = [sample(-120, o="old serving"), sample(-20, n="joined"), sample(-2, n="serving")]
    first, second = lanes([gone, serving("n")], noted, TARGET)
    assert (first.host, first.is_new, first.moved) == ("o", False, 2)
    assert [(span.phase, span.since) for span in first.spans] == [
        ("old serving", ago(120)),
        ("drained", ago(60)),
        ("users gone", ago(30)),
        ("retired", ago(5)),
    ]
    assert [span.phase for span in second.spans] == ["created", "joined", "checked", "serving"]
    assert [span.until for span in second.spans[:-1]] == [span.since for span in second.spans[1:]]
    assert second.spans[-1].until is None


def test_without_any_record_the_lanes_still_tell_what_azure_knows() -> None:
    found = lanes([retired("o"), serving("n"), host("another")], [], TARGET)
    assert {lane.host: [span.phase for span in lane.spans] for lane in found} == {
        "o": ["old serving", "drained", "users gone", "retired"],
        "n": ["created", "checked"],
    }


def test_a_host_that_was_deleted_is_known_from_the_record() -> None:
    noted = [sample(0, bad="created"), sample(30, bad="failed")]
    (lane,) = lanes([], noted, TARGET)
    assert (lane.host, [span.phase for span in lane.spans]) == ("bad", ["created", "failed"])


def test_waiting_is_counted_by_its_cause_and_time_that_nobody_saw_is_a_gap() -> None:
    line = [
        sample(0, "n1, n2 to come up"),
        sample(20, "3 users of o1 to leave"),
        sample(50, "2 users of o1, o2 to leave"),
        sample(55),
        sample(60, "n3 to come up"),
        sample(200, "n3 to come up"),
    ]
    assert waits(line) == {"users to leave": 35, "new hosts to come up": 20}
    assert gaps(line) == ((line[4].at, line[5].at),)


def test_every_cause_is_one_that_a_plan_words_so() -> None:
    words = Path(wording.__file__).read_text()
    assert [part for part, _ in CAUSES if part not in words] == []
    assert cause_of("Azure to show what was done") == OTHER_CAUSE
    assert cause_of("") == ""
