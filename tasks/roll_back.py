"""Going back, as the Prefect UI shows it: where to, and what becomes of the version that is left."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergold.azure import Azure
from evergold.azure.ids import image_version_id
from evergold.config.models import ImageSet, Pool, ReleaseMethod
from evergold.images.publish import ensure_withdrawn
from evergold.rollout.act import Place
from evergold.rollout.back import WayBack, roll_back_id, way_back
from evergold.rollout.model import Target
from evergold.rollout.observe import PoolWatch
from evergold.rollout.preview import place_of
from tasks.image import approved_version
from tasks.rollout import pool_of

log = logging.getLogger("evergold.rollout")


async def find_way_back(azure: Azure, image_set: ImageSet, pool: Pool, to_version: str) -> tuple[WayBack, str]:
    """Where the pool goes back to, and what this roll back is called. Raises NoWayBackError or PreflightError."""
    gallery = image_set.gallery
    definition = image_version_id(
        str(azure.environment.subscription_id), gallery.resource_group, gallery.name, gallery.image_definition, ""
    ).removesuffix("/versions/")
    snapshot = await PoolWatch(azure, pool.resource_group, pool.name, pool.hosts.resource_group).look()
    found = way_back(snapshot, definition, to_version)
    await approved_version(azure, image_set, found.version_id.rpartition("/")[2])
    return found, roll_back_id(image_set.name, found.version_id, snapshot.pool.tags, azure.clock.now())


async def place_back(
    azure: Azure, image_set: ImageSet, pool: str, found: WayBack, called: str, release_method: ReleaseMethod | None
) -> Place:
    """Where and how the pool is rolled back."""
    ring_method, chosen = pool_of(image_set, pool)
    target = Target(called, found.version_id, 0, chosen.hosts.name_prefix, rollback=True)
    return await place_of(azure, image_set, chosen, target, release_method or ring_method)


@task(name="withdraw versions", cache_policy=NO_CACHE)
async def withdraw(azure: Azure, image_set: ImageSet, versions: tuple[str, ...], name: str, reason: str) -> None:
    """The versions that are left are excluded from latest, cannot be rolled out again, and say who decided that, and why."""
    for version in versions:
        await ensure_withdrawn(azure, image_set, version, name, reason)
