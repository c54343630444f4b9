"""Version numbers are numbers: how they are read, compared, raised, and what "latest" means."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergold.images.versions import (
    HIGHEST_PART,
    Bump,
    Listed,
    Version,
    calendar_version,
    given_version,
    latest,
    next_version,
)

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


def test_a_calendar_version_is_the_day_in_utc_and_a_count_within_it() -> None:
    evening = datetime(2026, 11, 13, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert str(calendar_version(["1.4.0"], evening)) == "2026.1112.0"
    assert str(calendar_version(["2026.1112.0"], evening)) == "2026.1112.1"
    assert str(calendar_version(["2026.1231.4"], datetime(2027, 1, 5, tzinfo=UTC))) == "2027.105.0"


@given(st.lists(versions, min_size=1), st.datetimes(timezones=st.just(UTC)))
def test_a_calendar_version_is_above_every_one_there_is(existing: list[Version], now: datetime) -> None:
    assert calendar_version(map(str, existing), now) > max(existing)


def test_a_number_that_is_given_must_be_above_every_one_there_is() -> None:
    assert str(given_version(["1.4.0", "1.10.0"], "1.10.1")) == "1.10.1"
    for wanted in ("1.10.0", "1.9.9"):
        with pytest.raises(ValueError, match=r"not above 1\.10\.0"):
            given_version(["1.4.0", "1.10.0"], wanted)


def test_a_part_that_cannot_be_raised_any_further_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="three whole numbers"):
        next_version([f"1.{HIGHEST_PART}.0"], "minor")
