"""The walls between the rooms: who may import whom, and who may read the time or wait.

flows -> tasks -> evergold, and never back. evergold and simulator meet only on the wire. Decisions are made in modules that can
reach neither Prefect nor an Azure SDK. Time comes from one module in the product and from one in the simulator.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("evergold", "flows", "tasks", "simulator")


@dataclass(frozen=True)
class Wall:
    """Files (a glob from the top of the repository) that may not import these modules or anything inside them."""

    files: str
    never: tuple[str, ...]
    why: str
    but: tuple[str, ...] = ()


WALLS = (
    Wall("tasks/**/*.py", ("flows",), "tasks are what flows are made of"),
    Wall("evergold/**/*.py", ("flows", "tasks"), "the product's knowledge is usable without its flows"),
    Wall("evergold/**/*.py", ("simulator",), "the product meets the simulator only on the wire"),
    Wall("flows/**/*.py", ("simulator",), "the product meets the simulator only on the wire"),
    Wall("tasks/**/*.py", ("simulator",), "the product meets the simulator only on the wire"),
    Wall("simulator/**/*.py", ("evergold", "flows", "tasks"), "one must not hide the other's mistake"),
    Wall("simulator/**/*.py", ("prefect", "azure", "msgraph"), "it is Azure, not somebody who uses it"),
    Wall(
        "evergold/**/*.py",
        ("prefect",),
        "Prefect lives in flows and tasks, and in the programs that start its server and talk to it",
        but=(
            *("evergold/approve.py", "evergold/automations.py", "evergold/cli.py"),
            *("evergold/demo.py", "evergold/holds.py", "evergold/stack.py"),
        ),
    ),
)

# Decisions and data: these reach, by whatever way, neither Prefect nor an Azure SDK.
PURE = (
    "evergold/clock.py",
    "evergold/tags.py",
    "evergold/config/*.py",
    "evergold/images/manifest.py",
    "evergold/images/source.py",
    "evergold/images/versions.py",
    "evergold/cloudpc/model.py",
    "evergold/cloudpc/plan.py",
    "evergold/cloudpc/prerequisites.py",
    "evergold/rollout/model.py",
    "evergold/rollout/plan.py",
    "evergold/validation/page.py",
    "evergold/validation/pictures.py",
    "evergold/validation/report.py",
    "evergold/validation/timeline.py",
    "evergold/validation/verdicts.py",
)
NEVER_REACHED_FROM_PURE = ("prefect", "azure", "msgraph", "aiohttp", "flows", "tasks")

CLOCKS = ("evergold/clock.py", "simulator/kernel/clock.py")
TIME = frozenset(
    {
        "asyncio.sleep",
        "anyio.sleep",
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "time.monotonic",
        "time.monotonic_ns",
        "time.perf_counter",
        "time.perf_counter_ns",
        "time.sleep",
        "time.time",
        "time.time_ns",
    }
)
# File -> why it may read the machine's time by itself. Empty is best.
MAY_READ_TIME: dict[str, str] = {}


# The checker


def imported(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Every module that a source imports, anywhere in it, as absolute names; `from a import b` counts as a.b."""
    found: set[str] = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def crossed(imports: set[str], never: tuple[str, ...]) -> list[str]:
    """Those of the imports that lie in a forbidden module."""
    return sorted(name for name in imports if any(name == each or name.startswith(f"{each}.") for each in never))


def time_read(source: str) -> list[str]:
    """Each place that reads the time or waits, as "line: name", whatever it was imported as."""
    tree = ast.parse(source)
    meaning: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            meaning |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            meaning |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    uses = (node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute))
    found = [(node.lineno, name) for node in uses if (name := _dotted(node, meaning)) in TIME]
    return [f"{line}: {name}" for line, name in sorted(found)]


def _dotted(node: ast.expr, meaning: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return meaning.get(node.id, "")
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, meaning)):
        return f"{base}.{node.attr}"
    return ""


def _files(pattern: str) -> list[Path]:
    return sorted(REPOSITORY.glob(pattern))


def _name(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


def _module(file: Path) -> str:
    return _name(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def _imports(file: Path) -> frozenset[str]:
    source = file.read_text(encoding="utf-8")
    return frozenset(imported(source, _module(file), is_package=file.name == "__init__.py"))


def _own_files(name: str) -> Iterator[Path]:
    """The files of this repository that importing a name runs: its packages, and itself."""
    parts = name.split(".")
    if parts[0] not in ROOMS:
        return
    for length in range(1, len(parts) + 1):
        path = REPOSITORY.joinpath(*parts[:length])
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield file


def _reached(start: Path) -> dict[str, str]:
    """Everything that importing a file imports in the end, each with the file that does it."""
    found: dict[str, str] = {}
    waiting, seen = [start, *_own_files(_module(start))], set[Path]()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in _imports(file):
            found.setdefault(name, _name(file))
            waiting += _own_files(name)
    return found


# The walls


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: f"{wall.files.split('/')[0]} without {' '.join(wall.never)}")
def test_no_import_goes_through_a_wall(wall: Wall) -> None:
    holes = {
        _name(file): names
        for file in _files(wall.files)
        if _name(file) not in wall.but and (names := crossed(set(_imports(file)), wall.never))
    }
    assert not holes, wall.why


@pytest.mark.parametrize("pattern", PURE)
def test_decisions_reach_neither_prefect_nor_azure(pattern: str) -> None:
    files = _files(pattern)
    assert files, f"{pattern} is not there any more: name its successor, so that the wall stays"
    for file in files:
        reached = _reached(file)
        ways = {name: reached[name] for name in crossed(set(reached), NEVER_REACHED_FROM_PURE)}
        assert not ways, f"{_name(file)} reaches these, each by the file named"


def test_only_the_clocks_read_the_time_or_wait() -> None:
    found = {
        _name(file): uses
        for room in ROOMS
        for file in _files(f"{room}/**/*.py")
        if (uses := time_read(file.read_text()))
    }
    assert {name: uses for name, uses in found.items() if name not in CLOCKS and name not in MAY_READ_TIME} == {}
    assert set(MAY_READ_TIME) <= set(found), "a reason is given for a file that needs none"


# The checker sees what it should


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import prefect", "prefect"),
        ("import prefect.flows as f", "prefect.flows"),
        ("from prefect import flow", "prefect.flow"),
        ("def late():\n    from prefect.runtime import flow_run", "prefect.runtime.flow_run"),
        ("if TYPE_CHECKING:\n    from prefect import Flow", "prefect.Flow"),
    ],
)
def test_a_planted_import_is_seen_wherever_it_stands(source: str, name: str) -> None:
    assert crossed(imported(source, "evergold.rollout.plan"), ("prefect",)) == [name]


def test_a_relative_import_is_seen_as_what_it_means() -> None:
    assert imported("from ..azure import compute", "evergold.rollout.plan") == {"evergold.azure.compute"}
    assert imported("from . import plan", "evergold.rollout", is_package=True) == {"evergold.rollout.plan"}


def test_a_module_that_only_begins_with_a_forbidden_name_may_be_imported() -> None:
    assert crossed({"prefectionist", "azure_like.core", "evergold.azure.ids"}, ("prefect", "azure")) == []


def test_an_import_is_followed_through_the_rooms() -> None:
    assert "azure.mgmt.compute.aio.ComputeManagementClient" in _reached(REPOSITORY / "evergold/azure/bundle.py")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)", "2: time.sleep"),
        ("from time import monotonic as t\nt()", "2: time.monotonic"),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(0)", "3: asyncio.sleep"),
        ("from datetime import UTC, datetime\ndatetime.now(UTC)", "2: datetime.datetime.now"),
        ("import datetime as dt\nx = dt.datetime.utcnow", "2: datetime.datetime.utcnow"),
        ("from datetime import date\ndate.today()", "2: datetime.date.today"),
    ],
)
def test_a_planted_look_at_the_time_is_seen_whatever_it_is_called(source: str, found: str) -> None:
    assert time_read(source) == [found]


def test_a_clock_of_ours_may_be_asked() -> None:
    assert time_read("async def f(clock):\n    clock.now()\n    await clock.sleep(1)") == []
