"""What goes on beside the rollout's loop."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from evergold.clock import LoopClock, run_virtual
from evergold.rollout.beside import beside
from evergold.rollout.model import Action, Kind

T = TypeVar("T")
CHECK = Action(Kind.CHECK, "pil-003", "it is healthy")


def in_time(body: Callable[[LoopClock], Awaitable[T]]) -> T:
    """Runs a body in virtual time."""

    async def main(clock: LoopClock) -> T:
        return await body(clock)

    return run_virtual(main, datetime(2026, 11, 12, 20, tzinfo=UTC))


def test_what_was_begun_is_not_waited_for_and_is_told_of_once_when_it_is_done() -> None:
    async def body(clock: LoopClock) -> list[int]:
        async def work() -> bool:
            await clock.sleep(90)
            return True

        async with beside() as checks:
            told = []
            for _ in range(4):
                checks.begin(CHECK, work)
                told.append(len(checks.passed()))
                await clock.sleep(60)
            return told

    assert in_time(body) == [0, 0, 1, 0]


def test_a_host_has_one_at_a_time() -> None:
    async def body(clock: LoopClock) -> int:
        begun = []

        async def work() -> bool:
            begun.append(clock.now())
            await clock.sleep(90)
            return False

        async with beside() as checks:
            for _ in range(3):
                checks.begin(CHECK, work)
                await clock.sleep(60)
        return len(begun)

    assert in_time(body) == 2


def test_what_fails_beside_the_loop_ends_the_loop_at_once() -> None:
    async def body(clock: LoopClock) -> float:
        async def work() -> bool:
            await clock.sleep(5)
            raise LookupError("no permission")

        async def loop() -> None:
            async with beside() as checks:
                checks.begin(CHECK, work)
                await clock.sleep(3600)

        begun = clock.now()
        with pytest.raises(LookupError, match="no permission"):
            await loop()
        return (clock.now() - begun).total_seconds()

    assert in_time(body) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("how", ["ends", "fails", "stops it"])
def test_nothing_outlives_the_loop_or_goes_on_when_the_plan_has_something_else_in_mind(how: str) -> None:
    async def body(clock: LoopClock) -> list[str]:
        seen: list[str] = []

        async def work() -> bool:
            try:
                await clock.sleep(90)
            finally:
                seen.append("ended")
            return True

        async def loop() -> None:
            async with beside() as checks:
                checks.begin(CHECK, work)
                await clock.sleep(1)
                if how == "fails":
                    raise LookupError
                if how == "stops it":
                    await checks.stop(["pil-003", "pil-004"])
                    assert seen == ["ended"]

        outcome = await asyncio.gather(loop(), return_exceptions=True)
        return [*seen, type(outcome[0]).__name__]

    assert in_time(body) == ["ended", "LookupError" if how == "fails" else "NoneType"]
