"""Work that goes on beside the rollout's loop: the checks of new hosts, which take minutes and must hold nothing else up.

Promise: each host has one at a time; what fails in one ends the loop at once, as if it had failed there; and none outlives the loop.
Nothing is remembered. A run that dies meanwhile leaves a host without the mark of its checks, and the next one checks it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from evergold.rollout.model import Action


class Beside:
    """What is under way beside the loop, by the host that it is about."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._passed: list[Action] = []

    def begin(self, action: Action, work: Callable[[], Awaitable[bool]]) -> None:
        """Begins an action that nobody waits for; does nothing where the host has one that is not over yet."""
        if action.host not in self._under_way:
            task = self._under_way[action.host] = self._group.create_task(self._run(action, work))
            task.add_done_callback(lambda _: self._under_way.pop(action.host))

    async def stop(self, hosts: Iterable[str]) -> None:
        """Ends what is under way for these hosts: the plan has something else in mind for them."""
        stopped = [self._under_way[host] for host in hosts if host in self._under_way]
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    def passed(self) -> tuple[Action, ...]:
        """The actions that were done since the last time that this was asked."""
        passed, self._passed = tuple(self._passed), []
        return passed

    async def _run(self, action: Action, work: Callable[[], Awaitable[bool]]) -> None:
        if await work():
            self._passed.append(action)


@asynccontextmanager
async def beside() -> AsyncIterator[Beside]:
    """A place beside a loop. On the way out, whatever it is, all that is under way there is ended; what failed first is raised."""
    ended = _EndedError()
    try:
        async with asyncio.TaskGroup() as group:
            yield Beside(group)
            raise ended
    except BaseExceptionGroup as failed:
        first = failed.exceptions[0]
        if first is not ended:
            raise first from None


class _EndedError(Exception):
    """The loop has ended as it should."""
