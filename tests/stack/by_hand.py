"""A build with a step by hand: the run waits for a person, and what they did stands on the machine."""

import json
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelling
from ruamel.yaml import YAML

from tests.stack.killed_refresh import KilledRefresh, has_logged, until


def ask_for_hands_first(deployments: Path) -> None:
    """The stack's image set gets a step by hand, before its scripts."""
    path = deployments / "image_sets" / "office.yaml"
    yaml = YAML()
    image_set = yaml.load(path)
    step = {"name": "printers", "kind": "manual", "instructions": "Install the printer driver."}
    image_set["customise"].insert(0, step)
    yaml.dump(image_set, path)


async def question(client: PrefectClient, run: UUID) -> str:
    """What is shown above the form, once the run waits for somebody; "" before."""
    state = (await client.read_flow_run(run)).state
    assert state is None or not state.is_final(), state.message if state else ""
    keys = state.state_details.run_input_keyset if state and state.is_paused() else None
    try:
        return str(json.loads(await client.read_flow_run_input(run, keys["description"]))) if keys else ""
    except PrefectHTTPStatusError:
        return ""


async def build_by_hand(killed_refresh: KilledRefresh) -> str:
    """A build whose first step is somebody's; returns what they were asked."""
    stack = killed_refresh.stack
    ask_for_hands_first(stack.state / "deployments")
    async with stack.prefect() as client:
        deployment = await client.read_deployment_by_name("build-image/build-image")
        run = (await client.create_flow_run_from_deployment(deployment.id, parameters={"image_set": "office"})).id
        asked = str(await until(stack, lambda: question(client, run)))
        await client.resume_flow_run(run, run_input={"name": "Ada", "note": "driver 4.2 installed"})
        await until(stack, lambda: has_logged(client, run, "printers done by Ada: driver 4.2 installed"))
        await client.set_flow_run_state(run, Cancelling())
    return asked
