"""Checks of hosts that serve, as the Prefect UI shows them: a table for each pool."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from evergold import tags
from evergold.azure import Azure
from evergold.azure.galleries import Definition
from evergold.azure.ids import image_version_id
from evergold.config.models import ImageSet, Pool
from evergold.images.publish import Candidate, find_version
from evergold.images.refresh import latest_in
from evergold.rollout.model import Host
from evergold.rollout.observe import PoolWatch
from evergold.validation.checks import check_serving_host
from evergold.validation.looking import Look, look_at_all
from evergold.validation.sign_in import SIGN_IN, check_sign_in
from evergold.validation.subject import Subject
from evergold.validation.verdicts import ORDER, Check, worst
from tasks.record import row_of_check, slug

log = logging.getLogger("evergold.validation")

AT_ONCE = 10  # hosts looked at side by side: Azure runs few queries of one principal at a time


class DriftError(Exception):
    """Hosts are not as they should be; says which, and what to do."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("Not as it should be:\n" + "\n".join(f"- {line}" for line in lines))


@task(name="validate pool", task_run_name="validate {pool.name}", cache_policy=NO_CACHE)
async def validate_pool(azure: Azure, image_set: ImageSet, pool: Pool) -> list[str]:
    """Looks at every host of a pool, and shows a table. Returns a line for each check that failed or could not be made."""
    watch = PoolWatch(azure, pool.resource_group, pool.name, pool.hosts.resource_group)
    snapshot = await watch.look()
    if not snapshot.complete:
        return [f"{pool.name} could not be looked at: {snapshot.problem}"]
    wanted = await current_version(azure, image_set)
    hosts = [host for host in snapshot.hosts if host.registered]
    turns = asyncio.Semaphore(AT_ONCE)

    async def look(host: Host) -> tuple[Check, ...]:
        async with turns:
            return await check_serving_host(azure, image_set, subject_of(azure, image_set, pool, host, wanted))

    checks = dict(zip((host.name for host in hosts), await asyncio.gather(*map(look, hosts)), strict=True))
    checks[""] = await _whole_pool(azure, image_set, pool, hosts, wanted)
    await acreate_table_artifact(
        key=f"checks-{slug(pool.name)}", table=rows_of(checks), description=described(pool, azure, checks)
    )
    log.info("%s: %s", pool.name, counted(checks))
    return [
        f"{host or pool.name}: {check.name}: {check.measured} What to do: {check.remedy}"
        for host, found in checks.items()
        for check in found
        if check.verdict in ("fail", "unknown")
    ]


def subject_of(azure: Azure, image_set: ImageSet, pool: Pool, host: Host, wanted: Candidate | None) -> Subject:
    """The host, and what it should be: on the version that everyone gets, and open unless a rollout has drained it."""
    version_id = _version_id(azure, image_set, wanted.version) if wanted else ""
    on_it = wanted is not None and (host.image_version_id or "").casefold() == version_id.casefold()
    closed = None if tags.DRAINED_AT in host.tags or (tags.REFRESH in host.tags and not _served(host)) else False
    return Subject(pool, host.name, version_id, closed, wanted.manifest if wanted and on_it else None)


def _served(host: Host) -> bool:
    return tags.CHECKED_AT in host.tags


def _version_id(azure: Azure, image_set: ImageSet, version: str) -> str:
    gallery = image_set.gallery
    return image_version_id(
        str(azure.environment.subscription_id), gallery.resource_group, gallery.name, gallery.image_definition, version
    )


async def current_version(azure: Azure, image_set: ImageSet) -> Candidate | None:
    """The version that everyone gets; None where there is none yet."""
    gallery = image_set.gallery
    definition = Definition(gallery.resource_group, gallery.name, gallery.image_definition)
    version = await latest_in(azure, definition, image_set.location)
    return await find_version(azure, image_set, version) if version else None


async def _whole_pool(
    azure: Azure, image_set: ImageSet, pool: Pool, hosts: Sequence[Host], wanted: Candidate | None
) -> tuple[Check, ...]:
    """What is seen of all hosts together: whether people get in, on the current version as on others."""
    new = [h.name for h in hosts if wanted and (h.image_version_id or "").rpartition("/")[2] == wanted.version]
    looks = [Look(SIGN_IN, lambda: check_sign_in(azure, image_set, pool, new))]
    return await look_at_all(azure.clock, looks, image_set.checks.timeout_minutes)


def rows_of(checks: dict[str, tuple[Check, ...]]) -> list[dict[str, Any]]:
    """A row for each check, the worst first."""
    rows = [(check, host) for host, found in checks.items() for check in found]
    rows.sort(key=lambda each: (-ORDER.index(each[0].verdict), each[1], each[0].name))
    return [{"host": host or "(the pool)", **row_of_check(check)} for check, host in rows]


def counted(checks: dict[str, tuple[Check, ...]]) -> str:
    """How many hosts there are and how many of them are as they should be."""
    verdicts = [worst(found) for host, found in checks.items() if host]
    parts = [f"{verdicts.count(verdict)} {verdict}" for verdict in reversed(ORDER) if verdict in verdicts]
    return f"{len(verdicts)} hosts: {', '.join(parts) or 'none'}"


def described(pool: Pool, azure: Azure, checks: dict[str, tuple[Check, ...]]) -> str:
    """The line above the table."""
    return f"{pool.name} at {azure.clock.now():%Y-%m-%d %H:%M} UTC. {counted(checks)}"
