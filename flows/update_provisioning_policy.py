"""Lets provisioning policies make new Cloud PCs from an imported image. Cloud PCs that are there do not change."""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName
from tasks import cloud_pcs


@flow(name="update-provisioning-policy", flow_run_name="policies to {image_set} {image_version}", persist_result=False)
async def update_provisioning_policy(image_set: ImageSetName, image_version: str) -> None:
    """Set an imported image in the image set's provisioning policies. Existing Cloud PCs keep theirs until they are reprovisioned.

    Args:
        image_set: Name of an image set that has cloud_pcs.
        image_version: The version, x.y.z. It must have been imported.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        await cloud_pcs.update_policies(azure, loaded, image_version)
