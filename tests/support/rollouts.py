"""A rollout in the small world: the version that is rolled out, and where."""

from typing import Any

from evergold.azure.ids import image_version_id
from evergold.rollout.act import Place
from evergold.rollout.engine import Tick, policy_for
from evergold.rollout.model import Target
from simulator.scenario import Durations, Scenario, Version, load
from tests.support.simulated import Simulated

GROUP, POOL = "rg-avd-pilot", "hp-pilot"
OLD, NEW = "1.0.0", "1.1.0"
ME = "flow-run-1"
# Everything that takes an hour in Azure takes a minute here: what matters is the order of things, and each tick costs.
QUICK = Durations(
    vm_create=(15, 70),
    vm_deallocate=(5, 40),
    vm_delete=(5, 40),
    extension=(5, 40),
    agent_install=(5, 30),
    agent_first_update=(20, 90),
    script=(5, 30),
    assess_patches=(5, 20),
)


def world(**changes: Any) -> dict[str, Any]:
    """The small world with a patched version in the gallery, ready to be rolled out, in which nothing takes long."""
    scenario: Scenario = load("small")
    definition = scenario.definitions[0]
    patched = Version(version=NEW, os_build="26200.9231")
    definitions = [definition.model_copy(update={"versions": [*definition.versions, patched]})]
    return {"definitions": definitions, "durations": QUICK, **changes}


def place(world: Simulated, refresh: str = "office-1", version: str = NEW, **target: Any) -> Place:
    """A rollout of a version, the new one if nothing else is said, to the pool."""
    version_id = image_version_id(world.cloud.scenario.subscription_id, "rg-images", "gal_evergold", "office", version)
    policy = policy_for(world.image_set, 2, None)
    pool = world.image_set.rings[0].pools[0]
    return Place(world.azure, world.image_set, pool, policy, Target(refresh, version_id, 0, "pil", **target))


async def ignore(_: Tick) -> None:
    """Nobody looks."""
