"""Image version numbers: x.y.z, compared as numbers ("1.10.0" is above "1.9.0"), never as text.

Pure: no Azure here. Each part is a 32-bit whole number, as galleries have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
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
    highest = max((Version.parse(version) for version in existing), default=None)
    if highest is None:
        return Version(1, 0, 0)
    return highest.bumped(bump)


def latest(versions: Iterable[Listed]) -> str | None:
    """The version that "latest" means: the highest one that is usable and not excluded; None where there is none."""
    candidates = (Version.parse(each.version) for each in versions if each.usable and not each.excluded)
    highest = max(candidates, default=None)
    return None if highest is None else str(highest)
