"""Deletes the retained hosts of an image set whose time is up, and what failed builds left. Runs daily; a person can only look, too."""

from prefect import flow
from prefect.artifacts import acreate_table_artifact

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName
from tasks.retire import remove_failed_builds, retire_hosts_of, return_left_hosts_of


@flow(name="retire-hosts", flow_run_name="retire hosts of {image_set}", persist_result=False)
async def retire_hosts(image_set: ImageSetName, dry_run: bool = False) -> None:
    """Delete old hosts that were kept as the way back, once their time is up.

    Args:
        image_set: Name of the image set.
        dry_run: Only say what would be deleted.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        if not dry_run:
            await return_left_hosts_of(azure, loaded)
        builds = await remove_failed_builds(azure, loaded, dry_run)
        pools = [pool for ring in loaded.rings for pool in ring.pools]
        rows = [row for pool in pools for row in await retire_hosts_of(azure, pool, dry_run)]
    await acreate_table_artifact(
        table=rows, key=f"retired-{image_set}", description="Retained hosts: deleted, or kept and why"
    )
    if builds:
        await acreate_table_artifact(
            table=builds,
            key=f"builds-{image_set}",
            description="What failed builds have left: deleted, or kept and why",
        )
