"""Moves one host pool to an approved image version. A refresh starts one run of this for each pool; a person can as well."""

import logging
from functools import partial
from typing import Literal

from prefect import Flow, State, flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run as this_run

from evergold import holds
from evergold.azure import Azure
from evergold.config.load import load_image_set
from evergold.config.models import ImageSet, ReleaseMethod
from evergold.rollout.act import Place
from evergold.rollout.engine import Tick, put_back_after, roll_out
from evergold.rollout.model import Target
from evergold.rollout.preview import describe_plan, place_of
from evergold.validation.preflight import check_rollout, connect_for, refuse_unless_passed
from flows.parameters import ImageSetName, ImageVersion, PoolName
from tasks.image import approved_version
from tasks.record import Record
from tasks.rollout import Board, chosen_method, pool_of

log = logging.getLogger("evergold.rollout")


async def put_back(flow: "Flow[..., None]", flow_run: FlowRun, state: State) -> None:  # noqa: ARG001  (Prefect's names)
    """After a cancellation: what the cancelled process could not put back itself before it was killed. Runs in another process."""
    given = flow_run.parameters
    loaded = load_image_set(given["image_set"])
    async with connect_for(loaded) as azure:
        await put_back_after(await place_for(azure, loaded, given["pool"], given["image_version"]), str(flow_run.id))


@flow(
    name="roll-out-image",
    flow_run_name="roll out {image_set} {image_version} to {pool}",
    persist_result=False,
    on_cancellation=[put_back],
)
async def roll_out_image(
    image_set: ImageSetName,
    pool: PoolName,
    image_version: ImageVersion,
    release_method: Literal["as planned", "opportunistic", "immediate", "scheduled"] = "as planned",
    dry_run: bool = False,
) -> None:
    """Replace every host of one pool that is not on the version, without anyone losing work.

    Args:
        image_set: Name of the image set.
        pool: Name of the host pool, as in the image set.
        image_version: The version, x.y.z. It must have been approved.
        release_method: as planned: what the image set says. opportunistic: nobody is signed out. immediate: users are warned, then signed
            out. scheduled: the same, in the maintenance window.
        dry_run: Only write down what would be done: which hosts, in which order, and how many users are on them.

    """
    loaded = load_image_set(image_set)
    _, chosen = pool_of(loaded, pool)
    method = chosen_method(loaded, release_method)
    async with connect_for(loaded) as azure:
        refuse_unless_passed(await check_rollout(azure, loaded, chosen, image_version), f"The rollout to {pool}")
        if dry_run:
            text = await describe_plan(azure, loaded, "dry-run", image_version, pool, method)
            await acreate_markdown_artifact(
                text, key=f"plan-{pool}", description=f"{image_version} to {pool}: a dry run"
            )
            return
        place = await place_for(azure, loaded, pool, image_version, method)
        board, record = Board(pool), Record(pool, place.target)

        async def report(tick: Tick) -> None:
            await board.show(tick)
            await record.note(tick)

        try:
            last = await roll_out(place, str(this_run.id), report, partial(holds.standing, pool))
        finally:
            await board.close()
            await record.close()
    log.info("%s: done, %d hosts replaced", pool, last.plan.total)


async def place_for(
    azure: Azure, image_set: ImageSet, pool: str, image_version: str, release_method: ReleaseMethod | None = None
) -> Place:
    """Where and how an approved version is rolled out."""
    ring_method, chosen = pool_of(image_set, pool)
    version = await approved_version(azure, image_set, image_version)
    refresh = version.refresh or f"{image_set.name}-{image_version}"
    target = Target(refresh, version.version_id, 0, chosen.hosts.name_prefix)
    return await place_of(azure, image_set, chosen, target, release_method or ring_method)
