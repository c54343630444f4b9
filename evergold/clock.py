"""The only way Evergold waits or asks the time.

Three clocks share one shape. `RealClock` is the wall clock. `ScaledClock` runs a fixed number of times faster than the
wall clock, from an agreed start, so that a demo and the simulator it talks to live in the same hour. `LoopClock` reads
its asyncio event loop; on a `VirtualTimeLoop` an hour of waiting takes no time at all, and the same program runs the
same way every time.

Promise: `now()` is timezone-aware UTC and never goes backwards within a process (as far as the machine's own clock
does not); `sleep(s)` returns once at least `s` seconds of *this clock's* time have passed.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """What everything that waits or needs the time is given; `speed` is how many of its seconds pass in a real one."""

    speed: float

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this many seconds of this clock's time; zero or less yields once and returns."""
        ...


class RealClock:
    """The wall clock."""

    speed = 1.0

    def now(self) -> datetime:
        """The machine's time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait this many real seconds."""
        await asyncio.sleep(max(0.0, seconds))


class ScaledClock:
    """A clock that shows `virtual_start` at the real instant `real_start` and runs `speed` times as fast from there.

    Two processes given the same three values agree on the time without talking to each other.
    """

    def __init__(self, speed: float, virtual_start: datetime, real_start: datetime) -> None:
        if speed <= 0:
            raise ValueError(f"A clock's speed must be greater than zero, and it is {speed}.")
        for name, moment in (("virtual_start", virtual_start), ("real_start", real_start)):
            if moment.tzinfo is None:
                raise ValueError(f"{name} has no time zone: write it in UTC, as in 2026-11-12T20:00:00Z.")
        self.speed = speed
        self._virtual_start = virtual_start.astimezone(UTC)
        self._real_start = real_start.astimezone(UTC)

    def now(self) -> datetime:
        """The scaled time, in UTC."""
        return self.at(datetime.now(UTC))

    def at(self, real: datetime) -> datetime:
        """What this clock shows, or showed, at a real instant."""
        return self._virtual_start + (real - self._real_start) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait until this much scaled time has passed."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)


class LoopClock:
    """Reads the running event loop: `epoch` is the moment at which the loop's own time is zero."""

    speed = 1.0

    def __init__(self, epoch: datetime) -> None:
        if epoch.tzinfo is None:
            raise ValueError("epoch has no time zone: write it in UTC, as in 2026-11-12T20:00:00Z.")
        self._epoch = epoch.astimezone(UTC)

    def now(self) -> datetime:
        """The epoch plus the loop's time, in UTC."""
        return self._epoch + timedelta(seconds=asyncio.get_running_loop().time())

    async def sleep(self, seconds: float) -> None:
        """Wait this many seconds of the loop's time."""
        await asyncio.sleep(max(0.0, seconds))


def no_less_than(clock: Clock, real_s: float, seconds: float) -> float:
    """So many of the clock's seconds, or as many as pass in `real_s`: a call takes real time, however fast the clock runs."""
    return max(seconds, real_s * clock.speed)


async def sleep_until(clock: Clock, moment: datetime) -> None:
    """Wait until the clock shows `moment` or later; returns at once if it already does."""
    remaining = (moment - clock.now()).total_seconds()
    if remaining > 0:
        await clock.sleep(remaining)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Do some work, or raise TimeoutError and cancel it once it has taken this much of the clock's time."""
    working, alarm = asyncio.ensure_future(work), asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({working, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise TimeoutError
    finally:
        for each in (working, alarm):
            each.cancel()
        await asyncio.gather(working, alarm, return_exceptions=True)


class StuckError(RuntimeError):
    """Every task of a virtual-time program is waiting, and no timer is set: it would wait for ever."""


class _JumpingSelector(selectors.BaseSelector):
    """Passes everything to a real selector, except the waiting: a wait moves the loop's time instead."""

    # How long, in real seconds, to allow a helper thread to hand something back when no timer is set.
    IDLE_LIMIT = 5.0

    def __init__(self) -> None:
        self.inner = selectors.DefaultSelector()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self.inner.select(0)
        if ready:
            return ready
        if timeout is None:
            ready = self.inner.select(self.IDLE_LIMIT)
            if not ready:
                raise StuckError(
                    "Every task is waiting for something that no timer will bring about. Look for a lock that is not "
                    "released, an event that nobody sets, or real network I/O, which virtual time does not wait for."
                )
            return ready
        self.time += max(0.0, timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self.inner.get_map()

    def close(self) -> None:
        self.inner.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, and jumps to the next timer when nothing can.

    It starts at zero. It is meant for programs without threads and without network traffic: neither would be waited
    for while a timer is set.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._jumping.time


def run_virtual(main: Callable[[LoopClock], Awaitable[T]], epoch: datetime) -> T:
    """Run `main(clock)` to its end on a fresh virtual-time loop that begins at `epoch`, and return its result."""

    async def start() -> T:
        return await main(LoopClock(epoch))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(start())
