"""One rollout a pool at a time: a lease in the host pool's tags.

A lease names the refresh, its holder (a flow run) and the time at which it ends by itself. It lasts while its holder renews it; a
holder that died blocks the pool for no longer than `LEASE_MINUTES`, and not at all when it is started again under its own name.
Host pools have no ETag, so two writers could meet, and what is read of one may be a minute old. So whoever takes a lease has seen for
longer than that that nobody has it, writes it at once, reads it back when everybody who saw the same has written (the last one wins), and
looks at every tick whether it is theirs. That takes three minutes; a run that is started again under its own name has it at once.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from evergold import tags
from evergold.azure import AzureFailure
from evergold.azure.bundle import Azure
from evergold.azure.ids import ResourceId
from evergold.clock import within

log = logging.getLogger("evergold.rollout")

LEASE_MINUTES = 10
# Longer than Azure is seen to answer a read with what was before the last write.
OLDEST_READ_S = 65
# A lease is written within this time of the look that showed nobody to have it, or not at all.
WRITE_WITHIN_S = 60


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
            lease = await within(azure.clock, WRITE_WITHIN_S, _write(azure, pool, refresh, holder))
            break
    await azure.clock.sleep(WRITE_WITHIN_S + OLDEST_READ_S)
    _refuse_foreign(await _read(azure, pool), holder, azure.clock.now(), pool)
    return lease


async def keep(azure: Azure, pool: ResourceId, lease: Lease) -> Lease:
    """Renews the lease when half its time is over. Raises LeaseHeldError where somebody else has it now."""
    left = lease.until - azure.clock.now()
    if left > timedelta(minutes=LEASE_MINUTES / 2):
        return lease
    try:
        return await within(azure.clock, left.total_seconds(), _renewed(azure, pool, lease))
    except TimeoutError:
        # It has run out meanwhile, and somebody may have taken it.
        return await take(azure, pool, lease.refresh, lease.holder)


async def _renewed(azure: Azure, pool: ResourceId, lease: Lease) -> Lease:
    _refuse_foreign(await _read(azure, pool), lease.holder, azure.clock.now(), pool)
    return await _write(azure, pool, lease.refresh, lease.holder)


async def still_ours(azure: Azure, pool: ResourceId, lease: Lease) -> bool:
    """Whether this holder may still change the pool's hosts; where its lease has run out and nobody took it, it is taken again.

    For the way out of a rollout, so it does not raise: where nobody can tell, the answer is no.
    """
    try:
        seen = await _read(azure, pool)
        if seen is None or seen.holder != lease.holder or seen.until <= azure.clock.now():
            await take(azure, pool, lease.refresh, lease.holder)
    except (LeaseHeldError, AzureFailure) as problem:
        log.error("%s: nothing is put back on the way out: %s", pool.name, problem)
        return False
    return True


def refuse_another(seen: str | None, lease: Lease, now: datetime, pool: ResourceId) -> None:
    """Raises LeaseHeldError where a look at the pool shows in its tag that somebody else has it by now."""
    _refuse_foreign(parse(seen), lease.holder, now, pool)


async def release(azure: Azure, pool: ResourceId, lease: Lease) -> None:
    """Gives the lease back, unless somebody else has it by now."""
    held = await _read(azure, pool)
    if held is not None and held.holder == lease.holder:
        await azure.desktops.update_host_pool_tags(pool.resource_group, pool.name, {}, remove=(tags.LEASE,))


async def _read(azure: Azure, pool: ResourceId) -> Lease | None:
    found = await azure.desktops.get_host_pool(pool.resource_group, pool.name)
    return parse((found.tags or {}).get(tags.LEASE)) if found else None


async def _write(azure: Azure, pool: ResourceId, refresh: str, holder: str) -> Lease:
    lease = Lease(refresh, holder, azure.clock.now() + timedelta(minutes=LEASE_MINUTES))
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
