"""The whole fleet as it stands: each pool with its versions, outdated hosts, holds, and what is kept as the way back. It only looks."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.config.models import ImageSet, Pool
from evergold.images.refresh import definition_of, latest_in
from evergold.images.versions import Version
from evergold.rollout import lease
from evergold.rollout.model import Host, Snapshot
from evergold.rollout.observe import PoolWatch

# Why rollouts of the pool of this name are held; None where no hold stands.
HoldOf = Callable[[str], Awaitable[str | None]]
OTHER_IMAGE = "another image"


@dataclass(frozen=True)
class PoolStatus:
    """One pool.

    Attributes:
        versions: how many hosts in the pool are on each version, the newest first; `OTHER_IMAGE` for hosts that were made otherwise.
        outdated: names of hosts in the pool that are not on the latest version.
        oldest_days: the age of the oldest of them; None where there is none, or Azure does not tell.
        retained: hosts that are kept as the way back, with their version and until when.
        hold: why rollouts of it are held; None where they are not.
        rollout: the refresh whose rollout holds the pool now; "" where none does.
        problem: why nothing can be said of it; "" otherwise.

    """

    ring: str
    pool: str
    latest: str
    versions: tuple[tuple[str, int], ...] = ()
    outdated: tuple[str, ...] = ()
    oldest_days: int | None = None
    retained: tuple[tuple[str, str, str], ...] = ()
    hold: str | None = None
    rollout: str = ""
    problem: str = ""

    def row(self) -> dict[str, str]:
        """The pool as a line of a table."""
        age = f", the oldest {self.oldest_days} days old" if self.oldest_days is not None else ""
        return {
            "ring": self.ring,
            "host pool": self.pool,
            "versions": self.problem
            or ", ".join(f"{count} on {version}" for version, count in self.versions)
            or "no hosts",
            "outdated": f"{len(self.outdated)} ({_few(self.outdated)}){age}" if self.outdated else "none",
            "latest": self.latest or "none",
            "rollout": self.rollout or "none",
            "hold": self.hold or "none",
            "retained": _few(tuple(f"{host} on {version} until {until}" for host, version, until in self.retained))
            or "none",
        }


async def fleet(azure: Azure, image_set: ImageSet, hold_of: HoldOf) -> tuple[PoolStatus, ...]:
    """Every pool of an image set. One that cannot be read says so, and hides no other."""
    latest = await latest_in(azure, definition_of(image_set), image_set.location) or ""
    found = []
    for ring in image_set.rings:
        for pool in ring.pools:
            hold = await hold_of(pool.name)
            try:
                snapshot = await PoolWatch(azure, pool.resource_group, pool.name, pool.hosts.resource_group).look()
            except AzureFailure as failure:
                found.append(PoolStatus(ring.name, pool.name, latest, hold=hold, problem=f"cannot be read: {failure}"))
                continue
            found.append(status_of_pool(ring.name, pool, latest, snapshot, hold, azure.clock.now()))
    return tuple(found)


def status_of_pool(
    ring: str, pool: Pool, latest: str, snapshot: Snapshot, hold: str | None, now: datetime
) -> PoolStatus:
    """What one look at a pool shows."""
    inside = [host for host in snapshot.hosts if host.registered and host.has_vm]
    old = [host for host in inside if _version(host) != latest]
    made = [host.created_at for host in old if host.created_at is not None]
    held = lease.parse(snapshot.pool.tags.get(tags.LEASE))
    return PoolStatus(
        ring=ring,
        pool=pool.name,
        latest=latest,
        versions=tuple(sorted(Counter(map(_version, inside)).items(), key=lambda each: _newest_first(each[0]))),
        outdated=tuple(host.name for host in old),
        oldest_days=(now - min(made)).days if made else None,
        retained=tuple(
            (host.name, _version(host), host.tags.get(tags.RETAIN_UNTIL, "an unknown time"))
            for host in snapshot.hosts
            if tags.RETIRED_AT in host.tags and not host.registered
        ),
        hold=hold,
        rollout=held.refresh if held is not None and held.until > now else "",
        problem="" if snapshot.complete else f"cannot be read: {snapshot.problem}",
    )


def _version(host: Host) -> str:
    return (host.image_version_id or "").rpartition("/versions/")[2] or OTHER_IMAGE


def _newest_first(version: str) -> tuple[int, ...]:
    try:
        number = Version.parse(version)
    except ValueError:
        return (1,)
    return (0, -number.major, -number.minor, -number.patch)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
