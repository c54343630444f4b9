"""Starts crashed runs of Evergold again, where they were. Runs every five minutes."""

from typing import Annotated

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import Field

from tasks.restart import restart_crashed_runs


@flow(name="restart-crashed", flow_run_name="restart crashed runs", persist_result=False)
async def restart_crashed(
    tries: Annotated[int, Field(ge=1, le=10)] = 3, quiet_s: Annotated[float, Field(ge=0)] = 60
) -> None:
    """Start again every run of Evergold whose process died.

    Args:
        tries: A run that crashed so often is left for a person to look at.
        quiet_s: Seconds since the crash before a run is started again, so that the worker's own report of it is over.

    """
    rows = await restart_crashed_runs(tries, quiet_s)
    if rows:
        await acreate_table_artifact(rows, key="crashed-runs", description="Crashed runs, and what was done with them")
