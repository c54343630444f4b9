"""The report of a refresh: what was done to whom, read from Azure, where it all stands, and written as an artifact."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from evergold import tags
from evergold.azure import Azure
from evergold.config.models import ImageSet, Pool
from evergold.images.publish import Decision
from evergold.images.refresh import Refresh
from evergold.rollout.model import Host, Snapshot
from evergold.rollout.observe import PoolWatch

log = logging.getLogger("evergold.report")


@dataclass(frozen=True)
class PoolReport:
    """How one pool came through."""

    pool: str
    on_version: int
    hosts: int
    retained: tuple[tuple[str, str], ...]
    warned: int
    moved: int
    lowest_capacity: str


@task(name="report", cache_policy=NO_CACHE)
async def write_report(azure: Azure, image_set: ImageSet, refresh: Refresh, decision: Decision) -> str:
    """Writes the report of a finished refresh. Returns its text."""
    reports = [await _report_on(azure, refresh, pool, image_set) for ring in image_set.rings for pool in ring.pools]
    text = _markdown(image_set, refresh, decision, reports)
    await acreate_markdown_artifact(text, key=f"refresh-{image_set.name}", description=f"Refresh {refresh.id}")
    log.info("The report is written")
    return text


async def _report_on(azure: Azure, refresh: Refresh, pool: Pool, image_set: ImageSet) -> PoolReport:
    watch = PoolWatch(azure, pool.resource_group, pool.name, pool.hosts.resource_group)
    snapshot = await watch.look()
    ours = [host for host in snapshot.hosts if host.tags.get(tags.REPLACE, "").startswith(f"{refresh.id}/")]
    lowest = tags.of_refresh(snapshot.pool.tags.get(tags.LOWEST_CAPACITY), refresh.id)
    return PoolReport(
        pool=pool.name,
        on_version=sum(1 for host in _in_pool(snapshot) if _version(host) == refresh.version),
        hosts=len(_in_pool(snapshot)),
        retained=tuple((h.name, h.tags.get(tags.RETAIN_UNTIL, "")) for h in ours if tags.RETIRED_AT in h.tags),
        warned=sum(int(host.tags.get(tags.WARNED_USERS, "0")) for host in ours),
        moved=sum(int(host.tags.get(tags.MOVED_USERS, "0")) for host in ours),
        lowest_capacity=f"{lowest} % (floor {image_set.rollout.capacity_floor_percent} %)"
        if lowest
        else "not measured",
    )


def _in_pool(snapshot: Snapshot) -> list[Host]:
    return [host for host in snapshot.hosts if host.registered]


def _version(host: Host) -> str:
    return (host.image_version_id or "").rpartition("/")[2]


def _markdown(image_set: ImageSet, refresh: Refresh, decision: Decision, reports: Sequence[PoolReport]) -> str:
    done, hosts = sum(r.on_version for r in reports), sum(r.hosts for r in reports)
    warned, moved = sum(r.warned for r in reports), sum(r.moved for r in reports)
    rows = "\n".join(
        f"| {r.pool} | {r.on_version} of {r.hosts} | {len(r.retained)} | {r.warned} | {r.moved} | {r.lowest_capacity} |"
        for r in reports
    )
    kept = [f"| {host} | {r.pool} | {until} |" for r in reports for host, until in r.retained]
    return f"""# {image_set.name} {refresh.version}: {done} of {hosts} hosts on the new version

{_treated(warned, moved)} Version {refresh.version} is now the latest.

| host pool | on {refresh.version} | retained | users warned | users signed out | lowest capacity |
| --- | --- | --- | --- | --- | --- |
{rows}

Built from `{refresh.source}`. Approved by {decision.by} on {decision.at:%Y-%m-%d %H:%M} UTC, on evidence `{decision.digest[:12]}`\
{f": {decision.reason.rstrip('.')}" if decision.reason else ""}.

## The way back

These hosts are switched off and kept until the time given; `retire-hosts` then deletes them.

| host | host pool | kept until |
| --- | --- | --- |
{chr(10).join(kept) or "| none | | |"}
"""


def _treated(warned: int, moved: int) -> str:
    """What the users met, in a sentence."""
    if not warned:
        return "Nobody was warned or signed out: every host went when its last user had left."
    return f"{warned} users were warned; {moved} of them were then signed out, the others had left by themselves."
