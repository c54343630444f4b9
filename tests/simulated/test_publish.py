"""Publishing an image version against the simulated Azure: into every region, and what is done about a region that fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from evergold.azure import AzureFailure
from evergold.azure.galleries import RegionState, Replication
from evergold.images import build, publish
from evergold.images.publish import Candidate
from evergold.images.refresh import Refresh, definition_of
from evergold.images.replication import REGION_RETRIES, progress_table
from simulator.galleries import ImageVersion
from tests.support.builds import STEPS, begun, left_of_builds, versions, whole_build
from tests.support.simulated import Killed, Simulated, simulated, small_image_set

NORTH = {"guest_failures": {"replicate": "northeurope"}}
TWO_REGIONS = {"regions": [{"name": "westeurope"}, {"name": "northeurope"}]}
NORTH_ONCE = {"guest_failures": {"replicate": "once:northeurope"}}


def without_scripts(**changes: Any) -> Any:
    """The small image set, built without a customise step."""
    return small_image_set(customise=[], **changes)


async def built(world: Simulated) -> Refresh:
    refresh = await begun(world)
    for ensure in STEPS:
        await ensure(world.azure, world.image_set, refresh)
    return refresh


async def published(world: Simulated, refresh: Refresh) -> Candidate:
    return await publish.ensure_version_published(world.azure, world.image_set, refresh)


def version_in(world: Simulated) -> ImageVersion:
    return world.cloud.galleries.version_named("gal_evergold/office/1.1.0")


def states(world: Simulated) -> dict[str, str]:
    """The version's regions, and how its replication stands there."""
    now = world.azure.clock.now()
    return {copy.region: copy.state(now)[0] for copy in version_in(world).copies}


# A region that fails


def test_a_region_that_failed_is_taken_out_and_added_again_and_the_version_is_published_once() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        seen: list[str] = []

        async def progress(replication: Replication) -> None:
            north = replication.state("northeurope")
            seen.append(north.state if north else "gone")

        candidate = await publish.ensure_version_published(world.azure, world.image_set, refresh, progress=progress)
        assert (candidate.version, candidate.state, candidate.excluded) == ("1.1.0", "candidate", True)
        assert set(states(world).values()) == {"Completed"}
        assert list(dict.fromkeys(seen)) == ["Replicating", "Failed", "gone", "Completed"]
        assert world.wire.sent("PUT", "/versions/1.1.0") == 3
        assert world.wire.sent("DELETE", "/versions/1.1.0") == 0
        assert candidate.manifest is not None

    simulated(body, without_scripts(), **NORTH_ONCE)


def test_a_region_that_fails_again_and_again_is_named_and_the_others_keep_the_version() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        with pytest.raises(AzureFailure, match=r"North Europe: Failed with.*the other regions have it") as raised:
            await published(world, refresh)
        assert "Look at Azure's status and quota in northeurope" in raised.value.remedy
        assert world.wire.sent("PUT", "/versions/1.1.0") == 1 + 2 * REGION_RETRIES
        assert states(world) == {"westeurope": "Completed", "northeurope": "Failed"}
        assert await publish.is_captured(world.azure, world.image_set, refresh), "there is nothing to build again"
        world.cloud.scenario.guest_failures.clear()
        await build.ensure_build_cleaned(world.azure, world.image_set, refresh)
        assert (await published(world, refresh)).version == "1.1.0", "and no machine is needed for it"
        assert world.wire.sent("DELETE", "/versions/1.1.0") == 0

    simulated(body, without_scripts(), **NORTH)


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_death_between_taking_a_region_out_and_adding_it_changes_nothing_about_the_end(write: int) -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        world.wire.dies_after_writes = write
        with pytest.raises(Killed):
            await published(world, refresh)
        assert (await published(world, refresh)).version == "1.1.0"
        assert set(states(world).values()) == {"Completed"}
        assert world.wire.sent("PUT", "/versions/1.1.0") == 3

    simulated(body, without_scripts(), **NORTH_ONCE)


def test_a_region_that_the_image_set_names_later_is_added_to_the_version_that_is_there() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        await published(world, refresh)
        regions = [{"name": name} for name in ("westeurope", "northeurope", "germanywestcentral")]
        wider = without_scripts(publish={"regions": regions})
        assert await publish.find_candidate(world.azure, wider, refresh) is None
        await publish.ensure_version_published(world.azure, wider, refresh)
        assert len(states(world)) == 3
        assert await publish.find_candidate(world.azure, wider, refresh) is not None

    simulated(body, without_scripts())


def test_a_version_that_failed_as_a_whole_is_deleted_and_published_again_by_the_next_run() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(AzureFailure, match=r"failed as a whole: its own region, westeurope.*under the same number"):
            await whole_build(world)
        assert not await publish.is_captured(world.azure, world.image_set, await begun(world))
        candidate = await whole_build(world)
        assert (candidate.version, candidate.state) == ("1.1.0", "candidate")
        assert world.wire.sent("DELETE", "/versions/1.1.0") == 1
        assert world.wire.sent("PUT", "/versions/1.1.0") == 2
        assert await versions(world) == ["1.0.0", "1.1.0"]
        assert left_of_builds(world) == []

    simulated(body, without_scripts(), guest_failures={"replicate": "once:westeurope"})


@pytest.mark.parametrize("write", [1, 2])
def test_a_death_while_a_failed_version_is_made_anew_ends_with_one_version_that_is_whole(write: int) -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        with pytest.raises(AzureFailure, match="failed as a whole"):
            await published(world, refresh)
        world.wire.dies_after_writes = write  # the deletion of the failed one, or the new one's creation
        with pytest.raises(Killed):
            await published(world, refresh)
        candidate = await published(world, refresh)
        assert (candidate.version, candidate.state, candidate.excluded) == ("1.1.0", "candidate", True)
        assert set(states(world).values()) == {"Completed"}
        assert await versions(world) == ["1.0.0", "1.1.0"]
        assert world.wire.sent("PUT", "/versions/1.1.0") == 2

    simulated(body, without_scripts(), guest_failures={"replicate": "once:westeurope"})


def test_a_version_is_published_once_where_the_process_dies_right_after_it_was_asked_for() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        world.wire.dies_after_writes = 1
        with pytest.raises(Killed):
            await published(world, refresh)
        assert (await published(world, refresh)).version == "1.1.0"
        assert world.wire.sent("PUT", "/versions/1.1.0") == 1

    simulated(body, without_scripts())


def test_the_time_for_a_publishing_is_for_all_of_it_the_retries_of_regions_included() -> None:
    async def body(world: Simulated) -> None:
        refresh = await built(world)
        began = world.azure.clock.now()
        with pytest.raises(AzureFailure, match="publish the image version"):
            await published(world, refresh)
        assert world.azure.clock.now() - began <= timedelta(minutes=51)

    simulated(body, without_scripts(publish={**TWO_REGIONS, "timeout_minutes": 50}), **NORTH)


def test_how_far_each_region_is_stands_in_a_table() -> None:
    north, west = RegionState("North Europe", "Replicating", 40), RegionState("West Europe", "Completed", 100)
    assert progress_table(Replication((west, north))).splitlines()[2:] == [
        "| North Europe | Replicating | 40 % |  |",
        "| West Europe | Completed | 100 % |  |",
    ]
    assert Replication((west, north)).percent == 70
    assert progress_table(Replication(())) == "Azure is making the version; no region has begun."


# What a version is published with


def test_a_version_has_the_storage_and_the_end_of_life_that_the_image_set_gives_it_in_every_region() -> None:
    async def body(world: Simulated) -> None:
        candidate = await whole_build(world)
        found = await world.azure.galleries.get_version(definition_of(world.image_set), candidate.version)
        assert found is not None
        assert found.properties is not None
        profile = found.properties.publishing_profile
        assert profile is not None
        assert profile.end_of_life_date is not None
        days = (profile.end_of_life_date - world.azure.clock.now()).total_seconds() / 86_400
        assert 89 < days <= 90
        told = {region.name: region.storage_account_type for region in profile.target_regions or []}
        assert told == {"West Europe": "Standard_ZRS", "North Europe": "Standard_ZRS"}

    publishing = {**TWO_REGIONS, "storage_account_type": "Standard_ZRS", "end_of_life_days": 90}
    simulated(body, without_scripts(publish=publishing))


@pytest.mark.parametrize(("at_once", "replicas"), [(0, 1), (1, 1), (20, 1), (21, 2), (400, 20), (5000, 100)])
def test_a_region_has_one_replica_for_every_20_hosts_that_are_made_at_once(at_once: int, replicas: int) -> None:
    assert publish.replicas_for(at_once) == replicas


def test_replicas_follow_the_surge_where_hosts_are_made_and_are_one_elsewhere_unless_given() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        assert [(copy.region, copy.replicas) for copy in version_in(world).copies] == [
            ("westeurope", 2),
            ("northeurope", 3),
        ]

    regions = [{"name": "westeurope"}, {"name": "northeurope", "replicas": 3}]
    simulated(body, without_scripts(publish={"regions": regions}, rollout={"max_surge": 25}))
