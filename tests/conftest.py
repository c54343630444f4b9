"""How tests are shared out among the processes of `pytest -n 2`: those of one running stack to one process, all others freely.

The stack is started once a process, takes minutes and both cores. (`--dist loadgroup` with pytest-xdist 3.8.0 and this pytest passes the
groups over without a word: the workers read the option after it was reset.)
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

STACK = "tests/stack/"


class StackInOneProcess(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Hands out every test by itself, but those of the stack together."""

    def _split_scope(self, nodeid: str) -> str:
        return STACK if nodeid.startswith(STACK) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """The scheduler of this project's tests."""
    return StackInOneProcess(config, log)
