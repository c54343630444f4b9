"""The versions of an image set, and what is new in one, as tables in the Prefect UI."""

import logging

from prefect import task
from prefect.artifacts import acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from evergold.azure import Azure
from evergold.config.models import ImageSet
from evergold.images.catalogue import changes, list_entries
from evergold.images.publish import Candidate, find_previous
from evergold.images.refresh import Refresh

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


@task(name="show difference", cache_policy=NO_CACHE)
async def show_difference(azure: Azure, image_set: ImageSet, refresh: Refresh, candidate: Candidate) -> None:
    """The table of what is new in the candidate, against the version that it replaces."""
    previous = await find_previous(azure, image_set, refresh)
    rows = changes(previous, candidate)
    against = f"against {previous.version}" if previous is not None else "with nothing to compare it with"
    await acreate_table_artifact(
        table=rows,
        key=f"difference-{image_set.name}",
        description=f"What is new in {image_set.name} {candidate.version}, {against}",
    )
    removed = [row["what"] for row in rows if row["change"] == "REMOVED"]
    if removed:
        log.warning("Not in %s %s any more: %s", image_set.name, candidate.version, ", ".join(removed))
