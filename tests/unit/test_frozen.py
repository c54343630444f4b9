"""Freezing in the pool's tags: what goes in comes out, nothing else does, and what finds no room is said to be left out."""

from collections.abc import Mapping
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from evergold import tags
from evergold.rollout.frozen import MOST_TAGS, frozen_into, frozen_into_any, noted, outlived
from evergold.rollout.model import Host
from tests.support.moments import EPOCH
from tests.support.pools import ago, host

REFRESH = "office-20261112-1630"
numbered = st.builds(
    "{}{:0{}d}".format, st.sampled_from(["pil-", "PIL", "x-9-", ""]), st.integers(0, 1200), st.integers(3, 4)
)
odd = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,13}", fullmatch=True)
names = st.lists(numbered | odd, min_size=1, max_size=60, unique_by=str.casefold)


def frozen_names(pool_tags: Mapping[str, str], refresh: str = REFRESH) -> set[str]:
    found = frozen_into(pool_tags, refresh)
    return set(found.names) if found else set()


@given(names=names, ages=st.lists(st.integers(0, 60 * 24 * 365), min_size=60, max_size=60))
def test_every_host_is_either_noted_or_left_out(names: list[str], ages: list[int]) -> None:
    hosts = [host(name, created_at=ago(age)) for name, age in zip(names, ages, strict=False)]
    result = noted(REFRESH, hosts)
    found = frozen_into(result.tags, REFRESH)
    held = {each.name for each in hosts if found is not None and found.has(each)}
    assert held | result.left_out == set(names)
    assert not held & result.left_out
    assert frozen_names(result.tags) <= {name.casefold() for name in names}
    assert len(result.tags) <= MOST_TAGS
    assert all(len(value) <= tags.LONGEST_VALUE for value in result.tags.values())


def test_ten_thousand_hosts_of_one_prefix_take_one_tag() -> None:
    result = noted(REFRESH, [host(f"pil-{number:05d}") for number in range(10_000)])
    assert (len(result.tags), result.left_out) == (1, frozenset())
    assert len(frozen_names(result.tags)) == 10_000


def test_names_that_find_no_room_are_left_out() -> None:
    hosts = [host(f"{number:02d}-{'abcdefghijkl'[number % 12] * 10}x") for number in range(900)]
    result = noted(REFRESH, hosts)
    assert len(result.tags) == MOST_TAGS
    assert len(result.left_out) + len(frozen_names(result.tags)) == 900
    assert result.left_out


def test_a_host_whose_age_azure_does_not_tell_is_left_out() -> None:
    result = noted(REFRESH, [host("a"), host("b", created_at=None)])
    assert (frozen_names(result.tags), set(result.left_out)) == ({"a"}, {"b"})
    assert noted(REFRESH, [host("b", created_at=None)]).tags == {}


def test_the_youngest_is_frozen_and_what_is_made_after_it_is_not() -> None:
    youngest = host("a", created_at=EPOCH + timedelta(milliseconds=700))
    found = frozen_into(noted(REFRESH, [youngest, host("b")]).tags, REFRESH)
    assert found is not None
    assert found.has(youngest)
    assert not found.has(host("b", created_at=EPOCH + timedelta(minutes=1)))


def test_another_refresh_has_frozen_nothing() -> None:
    result = noted(REFRESH, [host("a")])
    assert frozen_into(result.tags, "office-20261212-1630") is None
    assert frozen_into_any(result.tags) == frozen_into(result.tags, REFRESH)
    assert frozen_into_any({}) is None


def test_the_tags_of_the_refresh_before_are_taken_away() -> None:
    before = {f"{tags.FROZEN}{number}": "old" for number in (1, 2, 3)} | {"owner": "Ada"}
    assert outlived(before, {f"{tags.FROZEN}1": "new"}) == (f"{tags.FROZEN}2", f"{tags.FROZEN}3")


@given(value=st.text(max_size=80), name=st.sampled_from(["a", "pil-001"]))
def test_a_tag_that_somebody_has_written_into_is_read_without_a_fault(value: str, name: str) -> None:
    subject: Host = host(name)
    found = frozen_into({f"{tags.FROZEN}1": f"{REFRESH}|{value}"}, REFRESH)
    assert found is None or found.has(subject) in (True, False)
