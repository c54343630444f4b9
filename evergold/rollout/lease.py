"""One rollout a pool at a time: a lease in the host pool's tags.

A lease names the refresh, its holder (a flow run) and the time at which it ends by itself. It lasts while its holder renews it; a
holder that died blocks the pool for no longer than `LEASE_MINUTES`, and not at all when it is started again under its own name.
Host pools have no ETag, so two writers could meet, and what is read of one may be a minute old. So whoever takes a lease has seen for
longer than that that nobody has it, reads it back after a moment (the last one written wins), and looks at every tick whether it is theirs.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from evergold import tags
from evergold.azure import AzureFailure
from evergold.azure.bundle import Azure
from evergold.azure.ids import ResourceId

log = logging.getLogger("evergold.rollout")

LEASE_MINUTES = 10
# Longer than Azure is seen to answer a read with what was before the last write.
OLDEST_READ_S = 65
# Long enough for a write that was sent at the same moment to be seen.
READ_BACK_AFTER_S = 5


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
    """Takes the pool's lease, or keeps the one this holder has. Raises LeaseHeldError; nothing else has been changed then."""
    held = await _read(azure, pool)
    _refuse_foreign(held, holder, azure.clock.now(), pool)
    if held is None or held.holder != holder or held.until <= azure.clock.now():
        await azure.clock.sleep(OLDEST_READ_S)
        _refuse_foreign(await _read(azure, pool), holder, azure.clock.now(), pool)
    lease = await _write(azure, pool, refresh, holder)
    await azure.clock.sleep(READ_BACK_AFTER_S)
    _refuse_foreign(await _read(azure, pool), holder, azure.clock.now(), pool)
    return lease


async def keep(azure: Azure, pool: ResourceId, lease: Lease) -> Lease:
    """Renews the lease when half its time is over. Raises LeaseHeldError where somebody else has it now."""
    left = lease.until - azure.clock.now()
    if left > timedelta(minutes=LEASE_MINUTES / 2):
        return lease
    if left <= timedelta(0):
        return await take(azure, pool, lease.refresh, lease.holder)
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
