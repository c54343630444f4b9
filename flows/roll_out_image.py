"""Moves one host pool to an approved image version. A refresh starts one run of this for each pool; a person can as well."""

import logging
from typing import Literal

from prefect import flow
from prefect.runtime import flow_run

from evergold.config.load import load_image_set
from evergold.rollout.engine import roll_out
from evergold.rollout.model import Target
from evergold.validation.preflight import check_rollout, connect_for, refuse_unless_passed
from flows.parameters import ImageSetName, PoolName
from tasks.image import approved_version
from tasks.rollout import Board, place_of, pool_of

log = logging.getLogger("evergold.rollout")


@flow(name="roll-out-image", flow_run_name="roll out {image_set} {image_version} to {pool}", persist_result=False)
async def roll_out_image(
    image_set: ImageSetName,
    pool: PoolName,
    image_version: str,
    release_method: Literal["as planned", "opportunistic", "immediate", "scheduled"] = "as planned",
) -> None:
    """Replace every host of one pool that is not on the version, without anyone losing work.

    Args:
        image_set: Name of the image set.
        pool: Name of the host pool, as in the image set.
        image_version: The version, x.y.z. It must have been approved.
        release_method: as planned: what the image set says. opportunistic: nobody is signed out. immediate: after a warning, now.

    """
    loaded = load_image_set(image_set)
    ring_method, chosen = pool_of(loaded, pool)
    async with connect_for(loaded) as azure:
        refuse_unless_passed(await check_rollout(azure, loaded, chosen, image_version), f"The rollout to {pool}")
        version = await approved_version(azure, loaded, image_version)
        target = Target(
            version.refresh or f"{image_set}-{image_version}", version.version_id, 0, chosen.hosts.name_prefix
        )
        chosen_method = ring_method if release_method == "as planned" else release_method
        place = await place_of(azure, loaded, chosen, target, chosen_method)
        board = Board(pool)
        try:
            last = await roll_out(place, str(flow_run.id), board.show)
        finally:
            await board.close()
    log.info("%s: done, %d hosts replaced", pool, last.plan.total)
