"""Image version numbers: x.y.z, compared as numbers ("1.10.0" is above "1.9.0"), never as text.

Pure: no Azure here. Each part is a 32-bit whole number, as galleries have it. A new number is above every one that exists, whichever way
it is made: by raising a part, by the calendar, or by hand. So "latest" never goes back, and no number is used twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

Bump = Literal["major", "minor", "patch"]

HIGHEST_PART = 2**31 - 1
_FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


@dataclass(frozen=True, order=True)
class Version:
    """An image version's number. Compares as its parts do."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "x.y.z"; ValueError, in words, for anything else."""
        found = _FORM.fullmatch(text)
        if found is None or any(int(part) > HIGHEST_PART for part in found.groups()):
            raise ValueError(f"{text!r} is not a version: it must be three whole numbers, such as 1.4.0.")
        return cls(*(int(part) for part in found.groups()))

    def bumped(self, bump: Bump) -> Version:
        """The version after this one; the parts behind the one that is raised begin again at 0."""
        if bump == "major":
            return Version(self.major + 1, 0, 0)
        if bump == "minor":
            return Version(self.major, self.minor + 1, 0)
        return Version(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True)
class Listed:
    """A version that a gallery lists, as far as choosing "latest" needs it.

    Attributes:
        usable: it is published and replicated to the region in question.
        excluded: it is excluded from latest.

    """

    version: str
    usable: bool = True
    excluded: bool = False


def next_version(existing: Iterable[str], bump: Bump) -> Version:
    """The number for a new version: above every one that exists, whatever became of it, so that none is ever used twice."""
    highest = _highest(existing)
    return Version(1, 0, 0) if highest is None else _legal(highest.bumped(bump))


def calendar_version(existing: Iterable[str], now: datetime) -> Version:
    """The number for a new version by the day it is made (UTC): 2026.1112.0, then 2026.1112.1 on the same day.

    Where there is a higher one already (of a later day, or from before the scheme was changed), its last part is raised: never below.
    """
    day = now.astimezone(UTC)
    today = Version(day.year, day.month * 100 + day.day, 0)
    highest = _highest(existing)
    return today if highest is None or highest < today else _legal(highest.bumped("patch"))


def given_version(existing: Iterable[str], wanted: str) -> Version:
    """The number that a person wants; ValueError, in words, where it is none, or not above every one that exists."""
    version = Version.parse(wanted)
    highest = _highest(existing)
    if highest is not None and version <= highest:
        raise ValueError(f"{wanted} is not above {highest}, the highest version that there is.")
    return version


def _highest(existing: Iterable[str]) -> Version | None:
    return max((Version.parse(version) for version in existing), default=None)


def _legal(version: Version) -> Version:
    """The version, if a gallery can hold it; ValueError, in words, where a part has grown too high."""
    return Version.parse(str(version))


def latest(versions: Iterable[Listed]) -> str | None:
    """The version that "latest" means: the highest one that is usable and not excluded; None where there is none."""
    candidates = (Version.parse(each.version) for each in versions if each.usable and not each.excluded)
    highest = max(candidates, default=None)
    return None if highest is None else str(highest)
