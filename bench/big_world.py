"""The small world with more hosts in it, and a rollout for it."""

from typing import Any

from evergold.azure.ids import image_version_id
from evergold.rollout.act import Place
from evergold.rollout.engine import policy_for
from evergold.rollout.model import Target
from simulator.scenario import Quota, Subnet, Version, load
from tests.support.simulated import NETWORKS, Simulated

NEW = "1.1.0"


def with_hosts(hosts: int) -> dict[str, Any]:
    """Changes to the small world: so many hosts, nobody on them, and room for twice as many."""
    small = load("small")
    pool = small.host_pools[0].model_copy(update={"hosts": hosts, "people": 0, "subnet": "vnet-avd/snet-bench"})
    definition = small.definitions[0]
    versions = [*definition.versions, Version(version=NEW, os_build="26200.9231")]
    subnet = Subnet(resource_group="rg-network", network="vnet-avd", name="snet-bench", prefix="10.64.0.0/16")
    return {
        "host_pools": [pool],
        "definitions": [definition.model_copy(update={"versions": versions})],
        "subnets": [*small.subnets, subnet],
        "quotas": [Quota(limit=100_000)],
    }


def policy_place(world: Simulated, hosts: int) -> Place:
    """A rollout of the new version to that pool."""
    scenario = world.cloud.scenario
    version = image_version_id(scenario.subscription_id, "rg-images", "gal_evergold", "office", NEW)
    pool = world.image_set.rings[0].pools[0]
    made = pool.hosts.model_copy(update={"subnet_id": f"{NETWORKS}/vnet-avd/subnets/snet-bench"})
    policy = policy_for(world.image_set, hosts, None)
    return Place(
        world.azure, world.image_set, pool.model_copy(update={"hosts": made}), policy, Target("r1", version, 0, "pil")
    )
