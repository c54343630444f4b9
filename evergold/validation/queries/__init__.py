"""The KQL files, and how values are put into them.

Each file can be pasted into Log Analytics as it stands. Its parameters are the `let` lines at its top, each with a comment that says what
it means; the value after the `=` is what gets replaced, as a KQL literal, never by joining text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

FOLDER = Path(__file__).parent
_PARAMETER = re.compile(r'^let (?P<name>\w+) = (?P<default>"[^"]*"|\d+[smhd]);(?P<rest> *//.*)$', re.MULTILINE)

Value = str | timedelta


def query(name: str, **values: Value) -> str:
    """The query in `<name>.kql` with these values; ValueError unless they are exactly those that it declares."""
    text = (FOLDER / f"{name}.kql").read_text(encoding="utf-8")
    return filled(text, f"{name}.kql", values)


def parameters_of(text: str) -> frozenset[str]:
    """The names of the parameters that a query declares."""
    return frozenset(found["name"] for found in _PARAMETER.finditer(text))


def filled(text: str, name: str, values: Mapping[str, Value]) -> str:
    """A query's text with these values; ValueError, which calls it `name`, unless they are exactly those that it declares."""
    declared = parameters_of(text)
    if declared != set(values):
        raise ValueError(f"{name} declares {sorted(declared)}, and was given {sorted(values)}.")
    return _PARAMETER.sub(lambda found: f"let {found['name']} = {literal(values[found['name']])};{found['rest']}", text)


def literal(value: Value) -> str:
    """The value as KQL writes it."""
    if isinstance(value, timedelta):
        return f"{int(value.total_seconds())}s"
    if not value.isprintable():
        raise ValueError(f"{value!r} holds characters that no name in Azure has.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
