"""A rollout that is cancelled in the Prefect UI: it ends within a minute, and leaves the pool as its users need it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.states import Cancelling

from evergold.clock import RealClock
from tests.stack.killed_refresh import KilledRefresh, has_logged, until


async def hosts_of(refresh: KilledRefresh, pool: str) -> list[dict[str, Any]]:
    """The pool's registered hosts, as the world shows them."""
    async with refresh.stack.simulator_client() as world:
        state = (await world.get("/state")).json()
    return [h for each in state["pools"] if each["name"] == pool for h in each["hosts"] if h["registered"]]


async def ended(client: PrefectClient, run: UUID) -> str | None:
    """The name of the state in which a run ended."""
    state = (await client.read_flow_run(run)).state
    return state.name if state is not None and state.is_final() else None


async def cancel_a_roll_back(killed_refresh: KilledRefresh) -> tuple[str, timedelta]:
    """Cancels a roll back once it has drained hosts; returns how it ended and how long that took, when nobody is shut out any more."""
    stack = killed_refresh.stack
    async with stack.prefect() as client:
        deployment = await client.read_deployment_by_name("roll-back-pool/roll-back-pool")
        asked = {"image_set": "office", "pool": "hp-pilot", "name": "Ada", "reason": "Teams does not start"}
        run = (await client.create_flow_run_from_deployment(deployment.id, parameters=asked)).id
        await until(stack, lambda: has_logged(client, run, "drain mode on: it is outdated"))
        cancelled = RealClock().now()
        await client.set_flow_run_state(run, Cancelling())
        how = str(await until(stack, lambda: ended(client, run)))
        took = RealClock().now() - cancelled

        async def nobody_is_shut_out() -> bool:
            return all(host["allow_new_session"] for host in await hosts_of(killed_refresh, "hp-pilot"))

        await until(stack, nobody_is_shut_out)
    return how, took
