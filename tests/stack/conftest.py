"""One refresh on real parts, killed three times, approved by a person in a browser; the tests look at what came of it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from evergold.stack import Stack
from simulator.scenario import load
from tests.stack.approving import answer_in_every_way
from tests.stack.by_hand import build_by_hand
from tests.stack.cancelling import cancel_a_roll_back
from tests.stack.doctor import see_the_doctor
from tests.stack.killed_refresh import KilledRefresh, run_killed_refresh
from tests.stack.receiver import receiver
from tests.stack.silence import fall_silent
from tests.support.mail import mail_server

# Slower than the demo: other tests keep the machine busy, and a look at a pool must not be old before it is planned on.
SPEED = 450


@pytest.fixture(scope="session")
def killed_refresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledRefresh]:
    """The refresh, ended."""
    folder = tmp_path_factory.mktemp("stack")
    with (
        receiver() as told,
        mail_server() as mailbox,
        Stack(folder / "state", scenario=smaller_demo(folder), speed=SPEED, journal=True) as stack,
    ):
        yield asyncio.run(run_killed_refresh(stack, told, mailbox, answers_and_silence))


async def answers_and_silence(refresh: KilledRefresh) -> list[Any]:
    """What needs a server and a worker, and nothing of the world."""
    works = (answer_in_every_way, fall_silent)
    outcomes: list[Any] = await asyncio.gather(*(work(refresh) for work in works), return_exceptions=True)
    return outcomes


@dataclass(frozen=True)
class Afterwards:
    """What came of what people did once the refresh had ended; asking for one that failed raises what it failed with."""

    outcomes: tuple[Any, ...]

    def _of(self, number: int) -> Any:
        if isinstance(outcome := self.outcomes[number], BaseException):
            raise outcome
        return outcome

    def answered(self) -> dict[str, Any]:
        """What was noted of an answer."""
        return dict(self._of(0))

    def told_of_silence(self) -> list[str]:
        """What a chat was told of a run that fell silent, and of two that nobody answered."""
        return list(self._of(1))

    def asked_by_hand(self) -> str:
        """What somebody was asked to do by hand."""
        return str(self._of(2))

    def cancelled(self) -> tuple[str, timedelta]:
        """How a cancelled roll back ended, and how long that took."""
        how, took = self._of(3)
        return how, took

    def looked_at_twice(self) -> tuple[set[str], set[str]]:
        """The names of the checks that `evergold doctor` printed, and of those of the refresh's preflight."""
        doctor, preflight = self._of(4)
        return set(doctor), set(preflight)


@pytest.fixture(scope="session")
def afterwards(killed_refresh: KilledRefresh) -> Afterwards:
    """What people did beside the refresh and afterwards, all at the same time."""

    async def everything() -> list[Any]:
        works = (build_by_hand, cancel_a_roll_back, see_the_doctor)
        outcomes: list[Any] = await asyncio.gather(*(work(killed_refresh) for work in works), return_exceptions=True)
        return outcomes

    return Afterwards((*killed_refresh.beside, *asyncio.run(everything())))


def smaller_demo(folder: Path) -> str:
    """The demo's world with three hosts in each pool: the same story in less time."""
    scenario = load("demo")
    pools = [pool.model_copy(update={"hosts": 3, "people": 8}) for pool in scenario.host_pools]
    path = folder / "smaller-demo.yaml"
    path.write_text(yaml.safe_dump(scenario.model_copy(update={"host_pools": pools}).model_dump(mode="json")))
    return str(path)
