"""Version numbers are numbers: how they are read, compared, raised, and what "latest" means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergold.images.versions import HIGHEST_PART, Bump, Listed, Version, latest, next_version

parts = st.integers(0, HIGHEST_PART - 1)
versions = st.builds(Version, parts, parts, parts)
bumps = st.sampled_from(["major", "minor", "patch"])


@pytest.mark.parametrize(
    "text", ["1.2", "1.2.3.4", "1.2.x", "v1.2.3", "01.2.3", "1.2.-3", "", " 1.2.3", "1.2.2147483648"]
)
def test_what_is_not_three_plain_numbers_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="three whole numbers"):
        Version.parse(text)


@given(versions)
def test_a_version_reads_back_as_it_was_written(version: Version) -> None:
    assert Version.parse(str(version)) == version


def test_ten_is_above_nine() -> None:
    assert Version.parse("1.10.0") > Version.parse("1.9.9")


@pytest.mark.parametrize(("bump", "after"), [("major", "2.0.0"), ("minor", "1.5.0"), ("patch", "1.4.8")])
def test_a_bump_raises_its_part_and_resets_those_behind_it(bump: Bump, after: str) -> None:
    assert str(Version.parse("1.4.7").bumped(bump)) == after


def test_the_first_version_is_1_0_0() -> None:
    assert str(next_version([], "minor")) == "1.0.0"


@given(st.lists(versions, min_size=1), bumps)
def test_the_next_version_is_above_every_one_there_is(existing: list[Version], bump: Bump) -> None:
    assert next_version(map(str, existing), bump) > max(existing)


def test_latest_is_the_highest_that_can_be_used_and_is_not_excluded() -> None:
    listed = [Listed("1.9.0"), Listed("1.10.0"), Listed("1.11.0", usable=False), Listed("2.0.0", excluded=True)]
    assert latest(listed) == "1.10.0"


def test_there_is_no_latest_where_every_version_is_excluded() -> None:
    assert latest([Listed("1.0.0", excluded=True)]) is None
