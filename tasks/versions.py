"""The versions of an image set, as a table in the Prefect UI."""

import logging

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from evergold.azure import Azure
from evergold.config.models import ImageSet
from evergold.images.catalogue import list_entries

log = logging.getLogger("evergold.images")


@task(name="show versions", cache_policy=NO_CACHE)
async def show_versions(azure: Azure, image_set: ImageSet) -> None:
    """The table of the image set's versions is up to date."""
    entries = await list_entries(azure, image_set)
    await acreate_table_artifact(
        table=[entry.row() for entry in entries],
        key=f"versions-{image_set.name}",
        description=f"Image versions of {image_set.name}, newest first",
    )
    log.info("%s has %d versions; the table shows them", image_set.name, len(entries))
