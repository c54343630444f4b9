"""Makes an approved image version the latest by hand; a refresh does it by itself when every ring is done."""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName, ImageVersion, SomeWords
from tasks.image import promote_by_hand
from tasks.versions import show_versions


@flow(name="promote-image", flow_run_name="promote {image_set} {image_version}", persist_result=False)
async def promote_image(
    image_set: ImageSetName, image_version: ImageVersion, promoted_by: SomeWords, reason: SomeWords
) -> None:
    """Make an approved version the one that everyone gets.

    Args:
        image_set: Name of the image set.
        image_version: The version, x.y.z. It must have been approved, on its evidence.
        promoted_by: Your name. Kept on the version.
        reason: Why by hand, and now. Kept on the version.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        await promote_by_hand(azure, loaded, image_version, promoted_by, reason)
        await show_versions(azure, loaded)
