"""Brings an image version to Windows 365: prerequisites first, then an import of about an hour. No Cloud PC changes by it."""

from prefect import flow

from evergold.config.load import load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName
from tasks import cloud_pcs


@flow(name="import-cloud-pc-image", flow_run_name="import {image_set} {image_version}", persist_result=False)
async def import_cloud_pc_image(image_set: ImageSetName, image_version: str) -> None:
    """Import an image version into Windows 365 as a custom image.

    Args:
        image_set: Name of an image set that has cloud_pcs.
        image_version: The version in the gallery, x.y.z.

    """
    loaded = load_image_set(image_set)
    async with connect_for(loaded) as azure:
        await cloud_pcs.check_prerequisites(azure, loaded, image_version)
        await cloud_pcs.import_image(azure, loaded, image_version)
        await cloud_pcs.retire_old_images(azure, loaded)
