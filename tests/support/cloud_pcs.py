"""A small world with Cloud PCs and a single-session image for them, and short ways to everything that is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from evergold.cloudpc import campaign as notes
from evergold.cloudpc.engine import Place, reprovision
from evergold.cloudpc.images import ensure_imported, settings_of
from evergold.cloudpc.model import Campaign, Plan, Verdict
from evergold.cloudpc.observe import first_part
from evergold.cloudpc.policies import Image, ensure_policy_image, policies_of
from evergold.config.models import ImageSet
from simulator.scenario import CloudPcs, Version, load
from tests.support.simulated import Simulated, small_image_set

POLICY = "Office Cloud PCs"
NEW = "1.1.0"


def with_cloud_pcs(
    count: int = 5, unsynced: float = 0.5, restore_points: bool = True, **changes: Any
) -> dict[str, Any]:
    """The small world without host pools, with Cloud PCs, and with two single-session versions in its gallery."""
    definition = load("small").definitions[0]
    versions = [
        Version(version=number, os_build="26200.9231", edition="Windows 11 Enterprise", software={"Teams": "1"})
        for number in ("1.0.0", NEW)
    ]
    world = {
        "host_pools": [],
        "cloud_pcs": [CloudPcs(policy=POLICY, count=count, unsynced=unsynced, restore_points=restore_points)],
        "definitions": [definition.model_copy(update={"versions": versions})],
    }
    return {**world, **changes}


def image_set_of(safety: dict[str, Any] | None = None, **changes: Any) -> ImageSet:
    """An image set for it: one ring of the first user, one of everyone else."""
    settings: dict[str, Any] = {
        "provisioning_policies": [POLICY],
        "rings": [{"name": "pilot", "users": ["cpc-user001@contoso.com"], "bake_minutes": 60}, {"name": "broad"}],
        "safety": {"notice_days": 1, **(safety or {})},
    }
    return small_image_set(cloud_pcs={**settings, **changes}, rings=[])


def place_of(world: Simulated) -> Place:
    """Where Cloud PCs are reprovisioned."""
    return Place(world.azure, world.image_set, settings_of(world.image_set))


async def prepared(world: Simulated, version: str = NEW) -> Campaign:
    """A campaign that is approved: the image imported, the policy changed."""
    image = await ensure_imported(world.azure, world.image_set, version)
    settings = settings_of(world.image_set)
    targets = {}
    for policy in await policies_of(world.azure, settings.provisioning_policies):
        await ensure_policy_image(world.azure, world.image_set, policy, Image("custom", image.id, image.name))
        targets[first_part(policy)] = image.name
    campaign = await notes.begin(world.azure, world.image_set, targets, version, "forward")
    if campaign.approved_by:
        return campaign
    return await notes.note(
        world.azure, world.image_set, replace(campaign, approved_by="Ada", approved_at=world.azure.clock.now())
    )


class Heard:
    """What users were told, and the last plan that was shown."""

    def __init__(self) -> None:
        self.told: list[tuple[str, datetime | None, tuple[str, ...]]] = []
        self.plans: list[Plan] = []

    async def tell(self, what: Literal["ahead", "today", "now"], campaign: Campaign, about: Sequence[Verdict]) -> None:
        """Hears what users are told."""
        self.told.append((what, campaign.told_at, tuple(v.desk.user for v in about)))

    async def show(self, _: Campaign, decided: Plan) -> None:
        """Sees a plan."""
        self.plans.append(decided)


async def reprovisioned(world: Simulated, heard: Heard | None = None, **changes: Any) -> Plan:
    """Everything, from the import to the last Cloud PC; `changes` of the campaign, such as waivers."""
    campaign = await prepared(world)
    if changes:
        campaign = await notes.note(world.azure, world.image_set, replace(campaign, **changes))
    heard = heard or Heard()
    last = await reprovision(place_of(world), campaign, heard.tell, heard.show, "a run")
    await notes.end(world.azure, world.image_set, campaign)
    return last
