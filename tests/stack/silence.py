"""Runs that say nothing: one whose process is gone, one that waits for an answer which does not come, and one whose time for it is over.

They are made by hand, with the states and events that a real one has: there is no waiting for three minutes, or for a day, in a test. The
automations are those that `evergold automations` has brought to the server; the two that wait, once more with little patience and for that
run alone.
"""

import re
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.events import Event, RelatedResource, Resource
from prefect.events.clients import PrefectEventsClient
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Running, Suspended

from tests.stack.asking import asking
from tests.stack.killed_refresh import KilledRefresh, until

TAG = "evergold"
SHORTEST_S = 10  # that Prefect lets a proactive trigger wait


async def fall_silent(killed_refresh: KilledRefresh) -> list[str]:
    """What a chat is told of the three runs, once all have been heard of."""
    stack, told = killed_refresh.stack, killed_refresh.told
    async with stack.prefect() as client:
        silent = await _impatient(client, "silent", "the silent one")
        patient = await _impatient(client, "approval reminder", "the patient one")
        await _be(client, silent, Running())
        async with PrefectEventsClient(f"{stack.prefect_url}/api") as events:
            await events.emit(_heartbeat(silent))
        await _be(client, patient, Suspended(timeout_seconds=3600))
        await _be(client, await _run(client, "the late one"), Suspended(timeout_seconds=1))

    async def heard() -> list[str]:
        titles = [str(message["title"]) for message in told.messages]
        ours = [title for title in titles if re.search("one (crashed|still waits|failed)", title)]
        return ours if len(ours) > 2 else []

    return list(await until(stack, heard))


async def _impatient(client: PrefectClient, automation: str, run_name: str) -> UUID:
    """A run of this name, for which the automation does not wait long."""
    run = await _run(client, run_name)
    (found,) = await client.read_automations_by_name(f"Evergold: {automation}")
    changes = {"within": SHORTEST_S, "match": {"prefect.resource.id": f"prefect.flow-run.{run}"}}
    plain = found.model_dump(mode="json", exclude={"id", "name"})
    core = {**plain, "name": f"{automation}, soon", "trigger": {**plain["trigger"], **changes}}
    await client.create_automation(AutomationCore.model_validate(core))
    return run


async def _run(client: PrefectClient, name: str) -> UUID:
    """A run that no worker has begun."""
    return (await client.create_flow_run(asking, name=name, tags=[TAG])).id


async def _be(client: PrefectClient, run: UUID, state: State) -> None:
    await client.set_flow_run_state(run, state, force=True)


def _heartbeat(run: UUID) -> Event:
    """As a process sends it every thirty seconds."""
    return Event(
        event="prefect.flow-run.heartbeat",
        resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run}"}),
        related=[RelatedResource({"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"})],
    )
