"""One rollout a pool at a time: a lease in the host pool's tags.

A lease names the refresh, its holder (a flow run) and the time at which it ends by itself. It lasts while its holder renews it; a
holder that died blocks the pool for no longer than `LEASE_MINUTES`, and not at all when it is started again under its own name.
Host pools have no ETag, so two writers could meet, and what is read of one may be a minute old. So whoever takes a lease has seen for
longer than that that nobody has it, writes it at once, reads it back when everybody who saw the same has written (the last one wins), and
looks at every tick whether it is theirs. That takes three minutes; a run that is started again under its own name has it at once.

Azure may hold a call up for longer than a lease lasts. So whatever changes the pool's hosts is done through a `Holding`: nothing is begun
in the last minutes of a lease, and what is not over by then is given up.
"""

import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from evergold import tags
from evergold.azure import AzureFailure
from evergold.azure.bundle import Azure
from evergold.azure.ids import ResourceId
from evergold.clock import Clock, no_less_than, within

log = logging.getLogger("evergold.rollout")
T = TypeVar("T")

LEASE_MINUTES = 10
# Longer than Azure is seen to answer a read with what was before the last write.
OLDEST_READ_S = 65
# A lease is written within this time of the look that showed nobody to have it, or not at all.
WRITE_WITHIN_S = 60
# What was sent may be carried out so much later.
LAST_MINUTES = 2
TRIES_ON_THE_WAY_OUT, BETWEEN_TRIES_S = 4, 5


class LeaseHeldError(Exception):
    """Another rollout holds the pool; says whose, until when, and what to do."""


@dataclass(frozen=True)
class Lease:
    """Who may change the pool's hosts, and until when."""

    refresh: str
    holder: str
    until: datetime

    def __str__(self) -> str:
        return f"{self.refresh}|{self.holder}|{tags.format_time(self.until)}"


def parse(text: str | None) -> Lease | None:
    """The lease in a tag's value; None where there is none or the text is none of ours."""
    refresh, _, rest = (text or "").partition("|")
    holder, _, until = rest.partition("|")
    ends = tags.parse_time(until) if until else None
    return Lease(refresh, holder, ends) if refresh and holder and ends else None


async def take(azure: Azure, pool: ResourceId, refresh: str, holder: str) -> Lease:
    """Takes the pool's lease, or keeps the one this holder has. Raises LeaseHeldError; nothing else has been changed then.

    One that is new is written soon after it was seen that nobody has it, or not at all: a write that Azure holds up is given up, and all of
    it begun anew. So whoever saw the same at the same time has written too when it is read back.
    """
    held = await _read(azure, pool)
    _refuse_foreign(held, holder, azure.clock.now(), pool)
    if held is not None and held.holder == holder and held.until > azure.clock.now():
        return await _write(azure, pool, refresh, holder)
    while True:
        await azure.clock.sleep(OLDEST_READ_S)
        _refuse_foreign(await _read(azure, pool), holder, azure.clock.now(), pool)
        with suppress(TimeoutError):
            lease = await within(azure.clock, _write_within_s(azure.clock), _write(azure, pool, refresh, holder))
            break
    await azure.clock.sleep(_write_within_s(azure.clock) + OLDEST_READ_S)
    _refuse_foreign(await _read(azure, pool), holder, azure.clock.now(), pool)
    return lease


async def keep(azure: Azure, pool: ResourceId, lease: Lease) -> Lease:
    """Renews the lease when half its time is over. Raises LeaseHeldError where somebody else has it now."""
    left = lease.until - azure.clock.now()
    if left > _lasts(azure.clock) / 2:
        return lease
    try:
        return await within(azure.clock, left.total_seconds(), _renewed(azure, pool, lease))
    except TimeoutError:
        # It has run out meanwhile, and somebody may have taken it.
        return await take(azure, pool, lease.refresh, lease.holder)


async def _renewed(azure: Azure, pool: ResourceId, lease: Lease) -> Lease:
    _refuse_foreign(await _read(azure, pool), lease.holder, azure.clock.now(), pool)
    return await _write(azure, pool, lease.refresh, lease.holder)


def refuse_another(seen: str | None, lease: Lease, now: datetime, pool: ResourceId) -> None:
    """Raises LeaseHeldError where a look at the pool shows in its tag that somebody else has it by now."""
    _refuse_foreign(parse(seen), lease.holder, now, pool)


async def release(azure: Azure, pool: ResourceId, lease: Lease) -> None:
    """Gives the lease back, unless somebody else has it by now."""
    held = await _read(azure, pool)
    if held is not None and held.holder == lease.holder:
        await azure.desktops.update_host_pool_tags(pool.resource_group, pool.name, {}, remove=(tags.LEASE,))


@dataclass
class Holding:
    """A pool while its lease is held: the lease as it was last renewed, and what may be done under it."""

    azure: Azure
    pool: ResourceId
    lease: Lease

    @property
    def _left_s(self) -> float:
        left = self.lease.until - self.azure.clock.now()
        return left.total_seconds() - no_less_than(self.azure.clock, 1.0, LAST_MINUTES * 60)

    def lasts(self) -> bool:
        """Whether something may be begun now."""
        return self._left_s > 0

    async def keep(self) -> bool:
        """Renews the lease where that is due, and tells whether it was. Raises LeaseHeldError where somebody else has it now."""
        before, self.lease = self.lease, await keep(self.azure, self.pool, self.lease)
        return self.lease is not before

    async def try_once(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does the work as far as the lease lasts. Raises TimeoutError where that was not enough: how much of it was done is not known."""
        if not self.lasts():
            raise TimeoutError
        return await within(self.azure.clock, self._left_s, work())

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does the work, again under a renewed lease where Azure held it up; doing it twice has to be as doing it once."""
        while True:
            await self.keep()
            with suppress(TimeoutError):
                return await self.try_once(work)
            log.warning(
                "%s: Azure took so long that the lease is all but over; it is renewed, and that tried again",
                self.pool.name,
            )

    async def do_on_the_way_out(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Does the work where the pool is still ours, and says so where it is not, or nobody can tell: it does not raise.

        A failure that may pass is given some more tries, and no more than that: whoever cancelled is waiting.
        """
        for tries_left in reversed(range(TRIES_ON_THE_WAY_OUT)):
            try:
                refuse_another(await _tag(self.azure, self.pool), self.lease, self.azure.clock.now(), self.pool)
                await self.do(work)
                return
            except (LeaseHeldError, AzureFailure) as problem:
                if not tries_left or isinstance(problem, LeaseHeldError) or not problem.retryable:
                    log.error("%s: not everything was put back on the way out: %s", self.pool.name, problem)
                    return
            await self.azure.clock.sleep(BETWEEN_TRIES_S)


def _lasts(clock: Clock) -> timedelta:
    return timedelta(seconds=no_less_than(clock, 6.0, LEASE_MINUTES * 60))


def _write_within_s(clock: Clock) -> float:
    return no_less_than(clock, 0.6, WRITE_WITHIN_S)


async def _read(azure: Azure, pool: ResourceId) -> Lease | None:
    return parse(await _tag(azure, pool))


async def _tag(azure: Azure, pool: ResourceId) -> str | None:
    found = await azure.desktops.get_host_pool(pool.resource_group, pool.name)
    return (found.tags or {}).get(tags.LEASE) if found else None


async def _write(azure: Azure, pool: ResourceId, refresh: str, holder: str) -> Lease:
    lease = Lease(refresh, holder, azure.clock.now() + _lasts(azure.clock))
    await azure.desktops.update_host_pool_tags(pool.resource_group, pool.name, {tags.LEASE: str(lease)})
    return lease


def _refuse_foreign(held: Lease | None, holder: str, now: datetime, pool: ResourceId) -> None:
    if held is None or held.holder == holder or held.until <= now:
        return
    raise LeaseHeldError(
        f"Host pool {pool.name} is being changed by refresh {held.refresh} (flow run {held.holder}), which holds it until "
        f"{held.until:%Y-%m-%d %H:%M} UTC. Nothing was changed. Wait for that run, or cancel it in the Prefect UI; its hold ends "
        f"by itself {LEASE_MINUTES} minutes after it stopped."
    )
