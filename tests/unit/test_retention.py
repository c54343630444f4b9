"""What is kept and what is deleted: rules that hold for whatever a gallery may contain, and each reason once by example."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergold import tags
from evergold.azure.ids import key
from evergold.config.models import Retention
from evergold.images.retention import Fate, Kind, Needs, Thing, decide
from evergold.images.versions import Version

NOW = datetime(2026, 11, 12, 18, 0, tzinfo=UTC)
DEFINITION = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/office"
RULES = Retention()


def thing(
    version: str = "1.0.0",
    kind: Kind = "version",
    state: str = "promoted",
    days: float = 200,
    named: Mapping[str, str] | None = None,
) -> Thing:
    """A version, made so many days ago, or what belongs to it."""
    at = f"{DEFINITION}/versions/{version}" if kind == "version" else f"/subscriptions/s/{kind}/{version}"
    own = {tags.REFRESH: f"office-{version}", tags.IMAGE_SET: "office", tags.STATE: state}
    made = NOW - timedelta(days=days)
    return Thing(
        kind, at, version, {**own, **(named or {})}, made, excluded=state != "promoted", failed=state == "failed"
    )


def fates(*things: Thing, needs: Needs | None = None, rules: Retention = RULES) -> dict[str, str]:
    """What becomes of each, by kind and version: "kept" or "goes", and why."""
    decided = decide(things, needs or Needs(), rules, "office", NOW)
    return {f"{f.thing.kind} {f.thing.version}": f"{'kept' if f.kept else 'goes'}: {f.reason}" for f in decided}


def gone(decided: tuple[Fate, ...]) -> set[str]:
    return {fate.thing.id for fate in decided if not fate.kept}


# By example


def test_the_newest_are_kept_and_the_rest_go_with_a_reason_each() -> None:
    found = fates(*(thing(f"1.{number}.0") for number in range(6)))
    assert found == {
        "version 1.5.0": "kept: it is the latest",
        "version 1.4.0": "kept: it is the way back from the latest",
        "version 1.3.0": "kept: it is one of the newest 3",
        "version 1.2.0": "goes: nothing needs it, and there are 3 newer ones",
        "version 1.1.0": "goes: nothing needs it, and there are 3 newer ones",
        "version 1.0.0": "goes: nothing needs it, and there are 3 newer ones",
    }


def test_the_way_back_is_kept_however_few_are_asked_for() -> None:
    found = fates(thing("1.0.0"), thing("1.1.0"), thing("1.2.0"), rules=Retention(keep_versions=1))
    assert [word.split(":")[0] for word in found.values()] == ["kept", "kept", "goes"]


def test_what_something_needs_is_kept_and_says_who_does() -> None:
    old = thing("1.0.0")
    newer = [thing(f"1.{number}.0") for number in range(1, 5)]
    by_machine = Needs({key(old.id.upper()): ("machine pil-0001", "machine pil-0002")})
    assert fates(old, *newer, needs=by_machine)["version 1.0.0"] == "kept: needed by machine pil-0001, machine pil-0002"
    by_rollout = Needs(of_refresh={"office-1.0.0": ("the rollout to hp-pilot",)})
    assert fates(old, *newer, needs=by_rollout)["version 1.0.0"] == "kept: needed by the rollout to hp-pilot"
    by_all = Needs({key(DEFINITION): ("machine odd",)})
    assert set(fates(old, *newer, needs=by_all).values()) == {"kept: needed by machine odd"}


@pytest.mark.parametrize(
    ("state", "days", "outcome"),
    [
        ("rejected", 29, "kept: nobody gets it; kept as evidence until 2026-11-13"),
        ("rejected", 30, "goes: nobody gets it (rejected), for 30 days or more"),
        ("candidate", 31, "goes: nobody gets it (candidate), for 30 days or more"),
        ("failed", 31, "goes: it was never whole, and its refresh is over"),
        ("approved", 400, "kept: it is the way back from the latest"),
    ],
)
def test_a_version_that_nobody_gets_goes_after_a_while(state: str, days: float, outcome: str) -> None:
    assert fates(thing("1.0.0", state=state, days=days), thing("1.1.0"))["version 1.0.0"] == outcome


def test_the_highest_number_is_kept_so_that_it_is_not_used_again() -> None:
    found = fates(thing("1.0.0"), thing("1.1.0", state="rejected"))
    assert found["version 1.1.0"] == "kept: it is the highest number, which is not used again"


def test_what_is_not_ours_or_marked_or_being_changed_is_left_alone() -> None:
    newer = [thing(f"2.{number}.0") for number in range(4)]
    others = replace(thing("1.0.0"), named={})
    neighbours = thing("1.1.0", named={tags.IMAGE_SET: "kiosk"})
    marked = thing("1.2.0", named={tags.KEEP: "audit"})
    busy = replace(thing("1.3.0"), settled=False)
    found = fates(others, neighbours, marked, busy, *newer)
    assert found["version 1.0.0"] == found["version 1.1.0"] == "kept: no refresh of office made it"
    assert found["version 1.2.0"] == "kept: somebody has tagged it evergold-keep"
    assert found["version 1.3.0"] == "kept: Azure is at work on it"


def test_the_newest_snapshots_are_kept_by_their_age() -> None:
    shots = [thing(f"1.{number}.0", "snapshot", days=100 - number) for number in range(4)]
    found = fates(*shots)
    assert [word.split(":")[0] for word in found.values()] == ["kept", "kept", "goes", "goes"]
    assert next(iter(found)) == "snapshot 1.3.0"


def test_a_managed_image_stays_as_long_as_its_version() -> None:
    versions = [thing(f"1.{number}.0") for number in range(4)]
    found = fates(*versions, thing("1.3.0", "managed image"), thing("1.0.0", "managed image"))
    assert found["managed image 1.3.0"] == "kept: version 1.3.0 is kept"
    assert found["managed image 1.0.0"] == "goes: version 1.0.0 is not kept either"


# Whatever there is

numbers = st.builds(lambda a, b, c: f"{a}.{b}.{c}", *(st.integers(0, 3) for _ in range(3)))
states = st.sampled_from(["candidate", "approved", "promoted", "rejected", "failed"])
marks = st.sampled_from([{}, {}, {}, {tags.KEEP: "x"}, {tags.IMAGE_SET: "kiosk"}])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Thing, ...]:
    found = []
    sizes: tuple[tuple[Kind, int], ...] = (("version", 8), ("snapshot", 4), ("managed image", 4))
    for kind, most in sizes:
        for number in draw(st.lists(numbers, unique=True, max_size=most)):
            one = thing(number, kind, draw(states), draw(st.integers(0, 60)), draw(marks))
            settled = draw(st.integers(0, 9)) > 0
            found.append(replace(one, settled=settled, made=one.made if draw(st.integers(0, 9)) else None))
    return tuple(found)


@st.composite
def worlds_with_needs(draw: st.DrawFn) -> tuple[tuple[Thing, ...], Needs]:
    found = draw(worlds())
    needed = draw(st.lists(st.sampled_from(found), max_size=3)) if found else []
    return found, Needs({key(each.id): ("machine x",) for each in needed})


rules = st.builds(
    Retention,
    keep_versions=st.integers(1, 4),
    keep_snapshots=st.integers(1, 3),
    keep_rejected_days=st.integers(0, 40),
)


@settings(max_examples=60)
@given(worlds_with_needs(), rules)
def test_nothing_needed_marked_foreign_or_unsettled_ever_goes(
    world: tuple[tuple[Thing, ...], Needs], wanted: Retention
) -> None:
    found, needs = world
    for fate in decide(found, needs, wanted, "office", NOW):
        assert fate.reason
        if not fate.kept:
            assert not needs.of(fate.thing)
            assert tags.KEEP not in fate.thing.named
            assert fate.thing.named[tags.IMAGE_SET] == "office"
            assert fate.thing.settled


@settings(max_examples=60)
@given(worlds(), rules)
def test_everything_has_one_fate_and_the_newest_always_stay(found: tuple[Thing, ...], wanted: Retention) -> None:
    decided = decide(found, Needs(), wanted, "office", NOW)
    assert sorted(fate.thing.id for fate in decided) == sorted(each.id for each in found)
    staying = [fate.thing for fate in decided if fate.kept]
    versions = [each for each in found if each.kind == "version"]
    served = [each for each in versions if not each.excluded and not each.failed]
    newest = sorted(served, key=lambda each: Version.parse(each.version), reverse=True)
    approved = [each for each in versions if each.named[tags.STATE] == "approved"]
    room = max(0, max(wanted.keep_versions, 2) - len(approved))
    assert all(each in staying for each in newest[:room])
    if versions:
        assert max(versions, key=lambda each: Version.parse(each.version)) in staying


@settings(max_examples=60)
@given(worlds_with_needs(), rules)
def test_more_needs_never_delete_more(world: tuple[tuple[Thing, ...], Needs], wanted: Retention) -> None:
    found, needs = world
    assert gone(decide(found, needs, wanted, "office", NOW)) <= gone(decide(found, Needs(), wanted, "office", NOW))


@settings(max_examples=60)
@given(worlds_with_needs(), rules, st.data())
def test_whatever_went_first_the_end_is_the_same(
    world: tuple[tuple[Thing, ...], Needs], wanted: Retention, data: st.DataObject
) -> None:
    found, needs = world
    whole = gone(decide(found, needs, wanted, "office", NOW))
    if not whole:
        return
    first = data.draw(st.sampled_from(sorted(whole)))
    rest = tuple(each for each in found if each.id != first)
    assert gone(decide(rest, needs, wanted, "office", NOW)) == whole - {first}
