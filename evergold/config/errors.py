"""What is wrong in a configuration file: where, what, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake. `line` counts from 1 and is 0, and `field` empty, where the mistake is not at any one place."""

    file: str
    line: int
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        field = f"{self.field}: " if self.field else ""
        return f"{place}: {field}{self.message}. What to do: {self.remedy}"


class ConfigError(Exception):
    """Everything wrong in one file, in the order of its lines. Nothing was done with the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda each: each.line))
        super().__init__("\n".join(str(each) for each in self.problems))
