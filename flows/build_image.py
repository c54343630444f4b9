"""The first part of a refresh alone: a machine is made from the source, customised and generalised. publish-image takes it from there."""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName, NewVersion, Words
from tasks import image
from tasks.approval import requester


@flow(name="build-image", flow_run_name="build {image_set}", persist_result=False)
async def build_image(
    image_set: ImageSetName, notes: Words = "", started_by: Words = "", image_version: NewVersion = ""
) -> None:
    """Build the machine of the next image version, or go on with one that is unfinished. Publishes nothing.

    Args:
        image_set: Name of the image set.
        notes: Why this version, for whoever looks at it later. Kept on it.
        started_by: Your name. Kept on the image version.
        image_version: Number of the new version, x.y.z, above every one there is. Left empty, the image set says how it is made.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        await image.preflight(azure, loaded)
        refresh = await image.begin(azure, loaded, await requester(started_by), image_version, notes)
        await image.build_unless_published(azure, loaded, refresh)
