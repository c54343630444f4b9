"""The world: virtual time, events in order, chance that can be repeated, and news between services.

Nothing runs in the background. Before each request the world is brought up to its clock's time: every event due by then
happens in order, each at its own instant. So the same requests at the same times always meet the same world.
"""

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from simulator.kernel.clock import Clock

News = TypeVar("News")


@dataclass(order=True)
class Event:
    """Something that will happen. `cancel()` it and it will not."""

    due: datetime
    order: int
    happen: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Takes the event out of the future."""
        self.cancelled = True


class World:
    """Virtual time and what happens in it.

    `now` is the instant of the event that is happening, or the time the world was last brought up to.
    """

    def __init__(self, clock: Clock, seed: int = 1) -> None:
        self.clock = clock
        self.seed = seed
        self.now: datetime = clock.now()
        self._events: list[Event] = []
        self._order = itertools.count()
        self._listeners: dict[type[Any], list[Callable[[Any], None]]] = defaultdict(list)

    def chance(self, *names: object) -> random.Random:
        """Dice of their own for whoever names them: a new user of chance does not change what the others throw."""
        return random.Random(":".join([str(self.seed), *map(str, names)]))

    def at(self, due: datetime, happen: Callable[[], None]) -> Event:
        """Lets something happen at `due`, or at once where that is past."""
        event = Event(max(due, self.now), next(self._order), happen)
        heapq.heappush(self._events, event)
        return event

    def after(self, seconds: float, happen: Callable[[], None]) -> Event:
        """Lets something happen `seconds` from now."""
        return self.at(self.now + timedelta(seconds=seconds), happen)

    def catch_up(self) -> None:
        """Brings the world up to its clock's time."""
        until = self.clock.now()
        while self._events and self._events[0].due <= until:
            event = heapq.heappop(self._events)
            if not event.cancelled:
                self.now = event.due
                event.happen()
        self.now = max(self.now, until)

    def next_due(self) -> datetime | None:
        """When the next event is due."""
        while self._events and self._events[0].cancelled:
            heapq.heappop(self._events)
        return self._events[0].due if self._events else None

    def listen(self, kind: type[News], hear: Callable[[News], None]) -> None:
        """Calls `hear` with every piece of news of this kind."""
        self._listeners[kind].append(hear)

    def tell(self, news: object) -> None:
        """Passes news to those who listen for its kind, at once, in the order they began to listen."""
        for hear in self._listeners[type(news)]:
            hear(news)
