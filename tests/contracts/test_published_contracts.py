"""The simulator speaks as Azure publishes that it speaks: every operation, driven by Microsoft's own clients, judged by two checkers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.checkers import ALLOWED, check_bodies, check_with_oav, why_not_oav, why_not_python
from tests.contracts.walk import record

# Routes that nothing leads to: cards are made inline by their machine, so that Network starts no operation of its own.
UNWALKED = {
    (
        "GET",
        "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/operations/{operation}",
    )
}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[tuple[str, str]]]:
    """The recording of a walk through everything, and the routes that it did not take."""
    path = tmp_path_factory.mktemp("contracts") / "traffic.jsonl"
    return path, record(path)


def test_the_walk_takes_every_route_of_the_simulator(walked: tuple[Path, set[tuple[str, str]]]) -> None:
    assert walked[1] == UNWALKED


@pytest.mark.skipif(bool(why_not_python()), reason=why_not_python())
def test_bodies_hold_to_the_published_resource_types(walked: tuple[Path, set[tuple[str, str]]]) -> None:
    found = check_bodies(walked[0])
    assert found.violations == 0, found.output
    assert found.covered >= 0.8 * found.seen, found.output


@pytest.mark.skipif(bool(why_not_oav()), reason=why_not_oav())
def test_exchanges_hold_to_the_published_openapi_files(walked: tuple[Path, set[tuple[str, str]]]) -> None:
    found = check_with_oav(walked[0])
    assert found.violations == 0, found.output
    assert found.covered >= 80, found.output


def test_every_exception_has_its_reason() -> None:
    assert all(len(reason) > 20 for reason in ALLOWED.values())
