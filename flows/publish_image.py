"""The second part of a refresh alone: the machine that build-image has made becomes a candidate. refresh-image goes on from there."""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName, Words
from tasks import image


@flow(name="publish-image", flow_run_name="publish {image_set}", persist_result=False)
async def publish_image(image_set: ImageSetName, notes: Words = "") -> None:
    """Publish what build-image has built as a candidate that nobody gets yet, and remove the build machine.

    Args:
        image_set: Name of the image set.
        notes: Why this version; left empty, what was said when it was built.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        refresh = await image.under_way(azure, loaded)
        await image.publish_built(azure, loaded, refresh, notes)
