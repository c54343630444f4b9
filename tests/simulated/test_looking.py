"""Looking without touching: what the fleet is, and what a rollout would do."""

import asyncio

from evergold import tags
from evergold.rollout.engine import roll_out
from evergold.rollout.fleet import PoolStatus, fleet
from evergold.rollout.preview import describe_plan
from tests.support.rollouts import GROUP, ME, NEW, OLD, ignore, place, world
from tests.support.scaling import assign_plan, is_enabled
from tests.support.simulated import Simulated, simulated, small_image_set


async def status(world: Simulated, hold: str | None = None) -> PoolStatus:
    """The small world's pool, while it is held or not."""

    async def hold_of(_: str) -> str | None:
        return hold

    (found,) = await fleet(world.azure, world.image_set, hold_of)
    return found


def test_the_fleet_says_versions_outdated_hosts_and_their_age_and_holds() -> None:
    async def body(world: Simulated) -> None:
        found = await status(world, "exam week")
        assert (found.latest, found.versions) == (NEW, ((OLD, 2),))
        assert (found.outdated, found.oldest_days) == (("pil-001", "pil-002"), 30)
        row = found.row()
        assert row["outdated"] == "2 (pil-001, pil-002), the oldest 30 days old"
        assert (row["hold"], row["retained"], row["rollout"]) == ("exam week", "none", "none")

    simulated(body, **world())


def test_the_fleet_says_what_is_kept_as_the_way_back_and_until_when() -> None:
    async def body(world: Simulated) -> None:
        await roll_out(place(world), ME, ignore)
        found = await status(world)
        assert (found.versions, found.outdated, found.hold) == (((NEW, 2),), (), None)
        assert [(host, version) for host, version, _ in found.retained] == [("pil-001", OLD), ("pil-002", OLD)]
        assert all(tags.parse_time(until) for _, _, until in found.retained)

    simulated(body, **world())


def test_a_plan_names_hosts_in_their_order_and_what_users_will_notice_and_changes_nothing() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.update_vm_tags(GROUP, "pil-002", {tags.KEEP: "Ada"})
        writes = [call for call in world.wire.calls if call[0] != "GET"]
        text = await describe_plan(world.azure, world.image_set, "office-1", NEW)
        assert "| pilot | hp-pilot | 1 |" in text
        assert "| 1 | pil-001 | 1.0.0 |" in text
        assert "Left alone: pil-002: somebody keeps it." in text
        assert "Nobody is signed out" in text
        assert [call for call in world.wire.calls if call[0] != "GET"] == writes

    simulated(body, **world())


def test_a_plan_under_immediate_release_counts_the_users_who_will_be_moved() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(16 * 3600)  # until people are at work
        text = await describe_plan(world.azure, world.image_set, "office-1", NEW)
        assert f"About {world.cloud.people.signed_in()} users are warned 5 minutes ahead" in text

    simulated(body, small_image_set(rollout={"release_method": "immediate"}), **world())


def test_a_plan_in_place_says_that_old_hosts_are_not_kept() -> None:
    async def body(world: Simulated) -> None:
        text = await describe_plan(world.azure, world.image_set, "office-1", NEW)
        assert "deleted before its successor is made" in text
        assert "kept for" not in text

    simulated(body, small_image_set(rollout={"strategy": "in_place", "capacity_floor_percent": 50}), **world())


def test_a_plan_says_what_the_pools_scaling_plan_has_to_do_with_it_before_the_rollout_and_while_it_is_suspended() -> (
    None
):
    async def body(world: Simulated) -> None:
        told = "Its scaling plan is suspended meanwhile."
        assert told not in await describe_plan(world.azure, world.image_set, "office-1", NEW)
        await assign_plan(world, str(place(world).pool_id))
        assert told in await describe_plan(world.azure, world.image_set, "office-1", NEW)
        rollout = asyncio.create_task(roll_out(place(world), ME, ignore))
        while await is_enabled(world):
            await world.azure.clock.sleep(60)
        assert told in await describe_plan(world.azure, world.image_set, "office-1", NEW)
        await rollout

    simulated(body, **world())
