"""One refresh on real parts, killed three times, approved by a person in a browser; the tests look at what came of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from evergold.stack import Stack
from simulator.scenario import load
from tests.stack.killed_refresh import KilledRefresh, run_killed_refresh
from tests.stack.receiver import receiver

# Slower than the demo: other tests keep the machine busy, and a look at a pool must not be old before it is planned on.
SPEED = 450


@pytest.fixture(scope="session")
def killed_refresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledRefresh]:
    """The refresh, ended."""
    folder = tmp_path_factory.mktemp("stack")
    with (
        receiver() as told,
        Stack(folder / "state", scenario=smaller_demo(folder), speed=SPEED, journal=True) as stack,
    ):
        yield asyncio.run(run_killed_refresh(stack, told))


def smaller_demo(folder: Path) -> str:
    """The demo's world with three hosts in each pool: the same story in less time."""
    scenario = load("demo")
    pools = [pool.model_copy(update={"hosts": 3, "people": 8}) for pool in scenario.host_pools]
    path = folder / "smaller-demo.yaml"
    path.write_text(yaml.safe_dump(scenario.model_copy(update={"host_pools": pools}).model_dump(mode="json")))
    return str(path)
