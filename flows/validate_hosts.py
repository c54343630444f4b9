"""Looks at every host of a pool, or of all pools of an image set, at any time: what has drifted from what it should be."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from evergold.config.load import list_host_pools, load_image_set
from evergold.validation.preflight import connect_for
from flows.parameters import ImageSetName
from tasks.rollout import pool_of
from tasks.validate import DriftError, validate_pool

PoolOrAll = Annotated[str, Field(json_schema_extra={"enum": ["all", *list_host_pools()]})]


@flow(name="validate-hosts", flow_run_name="validate hosts of {image_set}", persist_result=False)
async def validate_hosts(image_set: ImageSetName, pool: PoolOrAll = "all", fail_on_drift: bool = False) -> None:
    """Run the checks on hosts that serve, and change nothing. Users notice nothing.

    Args:
        image_set: Name of the image set.
        pool: Name of one host pool, as in the image set; all: every one of them.
        fail_on_drift: The run fails where a check fails or could not be made, so that people are told.

    """
    loaded = load_image_set(image_set)
    pools = [each for ring in loaded.rings for each in ring.pools] if pool == "all" else [pool_of(loaded, pool)[1]]
    async with connect_for(loaded) as azure:
        found = [await validate_pool(azure, loaded, each) for each in pools]
    bad = [line for lines in found for line in lines]
    if bad and fail_on_drift:
        raise DriftError(bad)
