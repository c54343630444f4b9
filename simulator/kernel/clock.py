"""The simulator's only source of time.

Four clocks with one method: the wall clock, the wall clock made faster, an event loop's own time, and one moved by hand.
Times are aware datetimes in UTC.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the virtual time."""

    def now(self) -> datetime:
        """The virtual time, aware, UTC."""
        ...


@dataclass(frozen=True)
class WallClock:
    """Real time."""

    def now(self) -> datetime:
        """The machine's time."""
        return datetime.now(UTC)


@dataclass(frozen=True)
class ScaledClock:
    """Real time made `speed` times faster: at `real_start` it showed `virtual_start`."""

    speed: float
    virtual_start: datetime
    real_start: datetime

    def now(self) -> datetime:
        """The scaled time."""
        return self.virtual_start + (datetime.now(UTC) - self.real_start) * self.speed


@dataclass(frozen=True)
class LoopClock:
    """The running event loop's time, counted from `epoch`: virtual when the loop's time is."""

    epoch: datetime

    def now(self) -> datetime:
        """The loop's time."""
        return self.epoch + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass
class ManualClock:
    """A clock that stands still until somebody moves it."""

    current: datetime

    def now(self) -> datetime:
        """The time it was last set to."""
        return self.current

    def advance(self, seconds: float) -> None:
        """Moves it forward."""
        self.current += timedelta(seconds=seconds)


def wall_seconds() -> float:
    """Real seconds since 1970: what a client's token cache counts in, whatever the virtual time is."""
    return time.time()
