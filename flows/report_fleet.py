"""Says how the whole fleet stands. Runs daily; a person can run it too. Changes nothing."""

from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact

from evergold import holds
from evergold.config.load import list_image_sets, load_image_set
from evergold.rollout.fleet import fleet
from evergold.validation.preflight import connect_for


@flow(name="report-fleet", flow_run_name="report on the fleet", persist_result=False)
async def report_fleet() -> None:
    """List every host pool of every image set: versions, outdated hosts and their age, holds, and hosts kept as the way back."""
    rows: list[dict[str, Any]] = []
    for name in list_image_sets():
        loaded = load_image_set(name)
        async with connect_for(loaded) as azure:
            rows += [{"image set": name, **each.row()} for each in await fleet(azure, loaded, holds.standing)]
    await acreate_table_artifact(
        table=rows, key="fleet", description="Every host pool: what it runs, and what is held or kept"
    )
