"""How tests are shared out among the processes of `pytest -n 3`: those that share something costly to one process, all others freely.

The stack is started once a process and takes minutes, in which it mostly waits: the other tests use the cores meanwhile, and step back
whenever a process of the stack wants one, because its time runs on. (`--dist loadgroup` with pytest-xdist 3.8.0 and this pytest passes
the groups over without a word: the workers read the option after it was reset.)
"""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

STACK, CONTRACTS = (
    "tests/stack/",
    "tests/contracts/",
)  # a running stack; a walk over every route, and Microsoft's parsers
BESIDE_THE_STACK = 19  # the niceness of the tests that only compute


class SharersTogether(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Hands out every test by itself, but those of the stack together, and those of the contracts."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in (STACK, CONTRACTS) if nodeid.startswith(folder)), nodeid)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Steps back, once, for the processes of the stack."""
    if not item.nodeid.startswith(STACK) and os.getpriority(os.PRIO_PROCESS, 0) < BESIDE_THE_STACK:
        os.setpriority(os.PRIO_PROCESS, 0, BESIDE_THE_STACK)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """The scheduler of this project's tests."""
    return SharersTogether(config, log)
