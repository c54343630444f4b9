"""Takes one host pool back to an earlier image version. A person starts it; nothing else does."""

import logging
from functools import partial
from typing import Annotated, Literal

from prefect import Flow, State, flow
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run as this_run
from pydantic import Field

from evergold import holds
from evergold.config.load import load_image_set
from evergold.rollout.engine import put_back_after, roll_out
from evergold.validation.preflight import check_rollout, connect_for, refuse_unless_passed
from flows.parameters import ImageSetName, PoolName
from tasks.roll_back import find_way_back, place_back, withdraw
from tasks.rollout import Board, chosen_method, pool_of

log = logging.getLogger("evergold.rollout")


async def put_back(flow: "Flow[..., None]", flow_run: FlowRun, state: State) -> None:  # noqa: ARG001  (Prefect's names)
    """After a cancellation: what the cancelled process could not put back itself before it was killed. Runs in another process."""
    given = flow_run.parameters
    loaded = load_image_set(given["image_set"])
    _, chosen = pool_of(loaded, given["pool"])
    async with connect_for(loaded) as azure:
        found, called = await find_way_back(azure, loaded, chosen, given.get("to_version", ""))
        place = await place_back(azure, loaded, chosen.name, found, called, None)
        await put_back_after(place, str(flow_run.id))


@flow(
    name="roll-back-pool",
    flow_run_name="roll back {image_set} in {pool}",
    persist_result=False,
    on_cancellation=[put_back],
)
async def roll_back_pool(
    image_set: ImageSetName,
    pool: PoolName,
    reason: Annotated[str, Field(min_length=3, max_length=150)],
    name: Annotated[str, Field(min_length=2, max_length=60)],
    to_version: Annotated[str, Field(pattern=r"^(\d+\.\d+\.\d+)?$")] = "",
    release_method: Literal["as planned", "opportunistic", "immediate", "scheduled"] = "as planned",
) -> None:
    """Bring the hosts of the version before back into service, and take the present ones out.

    Args:
        image_set: Name of the image set.
        pool: Name of the host pool, as in the image set.
        reason: What is wrong with the present version. It is kept on that version.
        name: Your name. It is kept there too.
        to_version: The version to go back to, x.y.z. Left empty: the one that the pool's hosts were last retired from.
        release_method: How users leave the present hosts. as planned: what the image set says. opportunistic: nobody is signed out.
            immediate: users are warned, then signed out. scheduled: the same, in the maintenance window.

    """
    loaded = load_image_set(image_set)
    _, chosen = pool_of(loaded, pool)
    method = chosen_method(loaded, release_method)
    async with connect_for(loaded) as azure:
        found, called = await find_way_back(azure, loaded, chosen, to_version)
        number = found.version_id.rpartition("/")[2]
        refuse_unless_passed(await check_rollout(azure, loaded, chosen, number), f"The roll back of {pool}")
        log.info("%s: back to %s, of which %d hosts are retained", pool, number, len(found.retained))
        await withdraw(azure, loaded, found.left, name, reason)
        place = await place_back(azure, loaded, pool, found, called, method)
        board = Board(pool)
        try:
            last = await roll_out(place, str(this_run.id), board.show, partial(holds.standing, pool))
        finally:
            await board.close()
    log.info("%s: back on %s, %d hosts were taken out of service", pool, number, last.plan.total)
