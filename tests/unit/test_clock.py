"""Time is injected: what each clock promises, and that virtual time takes none."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from evergold.clock import (
    LoopClock,
    RealClock,
    ScaledClock,
    StuckError,
    VirtualTimeLoop,
    run_virtual,
    sleep_until,
    within,
)

EPOCH = datetime(2026, 11, 12, 20, tzinfo=UTC)


def test_a_month_of_virtual_time_passes_in_less_than_a_second() -> None:
    async def month(clock: LoopClock) -> datetime:
        for _ in range(30 * 24):
            await clock.sleep(3600)
        return clock.now()

    began = time.monotonic()
    assert run_virtual(month, EPOCH) == EPOCH + timedelta(days=30)
    assert time.monotonic() - began < 1


def test_virtual_time_begins_at_the_epoch_and_stands_still_while_anything_can_run() -> None:
    async def busy(clock: LoopClock) -> list[datetime]:
        seen = [clock.now()]
        for _ in range(100):
            await asyncio.sleep(0)
        return [*seen, clock.now()]

    assert run_virtual(busy, EPOCH) == [EPOCH, EPOCH]


def test_sleepers_wake_in_the_order_of_their_time_not_of_their_start() -> None:
    async def race(clock: LoopClock) -> list[int]:
        woken: list[int] = []

        async def sleeper(hours: int) -> None:
            await clock.sleep(hours * 3600)
            woken.append(hours)

        await asyncio.gather(*(sleeper(hours) for hours in (3, 1, 2)))
        return woken

    assert run_virtual(race, EPOCH) == [1, 2, 3]


def test_a_program_that_would_wait_for_ever_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evergold.clock._JumpingSelector.IDLE_LIMIT", 0.01)

    async def stuck(_: LoopClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(StuckError, match="lock that is not released"):
        run_virtual(stuck, EPOCH)


def test_asyncio_timeouts_go_by_virtual_time_too() -> None:
    async def impatient(clock: LoopClock) -> timedelta:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await clock.sleep(3600)
        return clock.now() - EPOCH

    assert run_virtual(impatient, EPOCH) == timedelta(seconds=60)


def test_a_virtual_loop_begins_at_zero() -> None:
    loop = VirtualTimeLoop()
    try:
        assert loop.time() == 0
    finally:
        loop.close()


async def test_a_scaled_clock_runs_as_fast_as_it_says() -> None:
    clock = ScaledClock(speed=3600, virtual_start=EPOCH, real_start=datetime.now(UTC))
    began = clock.now()
    await clock.sleep(60)  # a sixtieth of a second
    assert timedelta(seconds=60) <= clock.now() - began < timedelta(minutes=30)


def test_two_scaled_clocks_with_the_same_figures_agree() -> None:
    start = datetime.now(UTC)
    one, other = (ScaledClock(60, EPOCH, start) for _ in range(2))
    assert abs(one.now() - other.now()) < timedelta(seconds=60)


@pytest.mark.parametrize("speed", [0, -1])
def test_time_cannot_stand_still_or_run_backwards(speed: float) -> None:
    with pytest.raises(ValueError, match="greater than zero"):
        ScaledClock(speed, EPOCH, EPOCH)


def test_a_clock_refuses_a_start_without_a_time_zone() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        LoopClock(datetime(2026, 11, 12))


def test_the_real_clock_is_aware_and_in_utc() -> None:
    assert RealClock().now().utcoffset() == timedelta(0)


def test_sleeping_until_a_moment_that_has_passed_returns_at_once() -> None:
    async def late(clock: LoopClock) -> datetime:
        await sleep_until(clock, EPOCH - timedelta(days=1))
        await sleep_until(clock, EPOCH + timedelta(minutes=5))
        return clock.now()

    assert run_virtual(late, EPOCH) == EPOCH + timedelta(minutes=5)


def test_work_that_is_done_in_time_gives_its_result() -> None:
    async def body(clock: LoopClock) -> None:
        async def work() -> int:
            await clock.sleep(5)
            return 7

        assert await within(clock, 10, work()) == 7

    run_virtual(body, EPOCH)


def test_work_that_takes_too_long_on_the_clock_is_cancelled() -> None:
    async def body(clock: LoopClock) -> None:
        finished = []

        async def work() -> None:
            await clock.sleep(20)
            finished.append(True)

        with pytest.raises(TimeoutError):
            await within(clock, 10, work())
        await clock.sleep(60)
        assert not finished

    run_virtual(body, EPOCH)
