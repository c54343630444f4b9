"""Deletes what earlier refreshes have left in the gallery and nothing needs any more. Runs weekly; a person can only look, too."""

from prefect import flow
from prefect.artifacts import acreate_table_artifact

from evergold.config.load import list_image_sets, load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName
from tasks.retire import retire_images_of
from tasks.versions import show_versions


@flow(name="retire-images", flow_run_name="retire images of {image_set}", persist_result=False)
async def retire_images(image_set: ImageSetName, dry_run: bool = False) -> None:
    """Delete old image versions, snapshots and managed images that nothing needs any more.

    Args:
        image_set: Name of the image set.
        dry_run: Only say what would be deleted, and why the rest is kept.

    """
    loaded = load_image_set(image_set)
    everyone = [load_image_set(name) for name in list_image_sets()]
    neighbours = [each for each in everyone if each.environment == loaded.environment]
    async with connect_for(loaded) as azure:
        rows = await retire_images_of(azure, loaded, neighbours, dry_run)
        await show_versions(azure, loaded)
    await acreate_table_artifact(
        table=rows, key=f"retired-images-{image_set}", description="Versions and snapshots: deleted, or kept and why"
    )
