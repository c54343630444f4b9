"""One refresh on real parts, killed three times, approved by a person in a browser; the tests look at what came of it."""

import asyncio
from collections.abc import Iterator

import pytest

from evergold.stack import Stack
from tests.stack.killed_refresh import KilledRefresh, run_killed_refresh


@pytest.fixture(scope="session")
def killed_refresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledRefresh]:
    """The refresh, ended."""
    with Stack(tmp_path_factory.mktemp("stack") / "state", speed=600, journal=True) as stack:
        yield asyncio.run(run_killed_refresh(stack))
