"""One machine is made from a candidate before anything else is: it comes up, or the version goes nowhere."""

import os

import pytest

from evergold import tags
from evergold.images import publish
from evergold.images.boot_test import ensure_boots
from evergold.images.guest import StepFailure
from evergold.images.leftovers import remove_leftovers
from evergold.images.publish import Candidate
from simulator.scenario import load
from tests.support.builds import begun, left_of_builds, versions, whole_build
from tests.support.simulated import Killed, Simulated, simulated, small_image_set

PLAIN = small_image_set(customise=[])
EVERY_WRITE = 1 if os.environ.get("EVERGOLD_SOAK") else 3


async def candidate_of(world: Simulated) -> Candidate:
    found = await publish.find_version(world.azure, world.image_set, "1.1.0")
    assert found is not None
    return found


async def boots(world: Simulated) -> None:
    await ensure_boots(world.azure, world.image_set, await begun(world), await candidate_of(world))


def made_from_images(world: Simulated) -> int:
    """How often a machine was asked for on which an image is tried."""
    return sum(
        method == "PUT" and path.rpartition("/")[2].endswith("b") and "/virtualMachines/evg-" in path
        for method, path in world.wire.calls
    )


def test_a_machine_made_from_the_candidate_comes_up_once_and_nothing_of_it_stays() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        await boots(world)
        await boots(world)
        assert made_from_images(world) == 1
        assert tags.BOOTED in (await candidate_of(world)).tags
        assert left_of_builds(world) == []

    simulated(body, PLAIN)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"create": "2:OSProvisioningTimedOut"}, "OSProvisioningTimedOut"),
        ({"create": "2:AllocationFailed"}, "AllocationFailed"),
        ({"boot": "desktop"}, "Packages of the desktop are not registered"),
        ({"boot": "timeout"}, "It was not done in the time it was given"),
    ],
)
def test_one_that_does_not_come_up_is_told_left_for_a_look_and_tried_again_by_the_next_run(
    trouble: dict[str, str], says: str
) -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        with pytest.raises(StepFailure, match=f"(?s)did not come up.*{says}.*gives up office-"):
            await boots(world)
        candidate = await candidate_of(world)
        assert (candidate.state, candidate.excluded, tags.BOOTED in candidate.tags) == ("candidate", True, False)
        world.cloud.scenario.guest_failures.clear()
        await boots(world)
        assert tags.BOOTED in (await candidate_of(world)).tags
        assert left_of_builds(world) == []

    simulated(body, PLAIN, guest_failures=trouble)


def test_an_image_that_is_sold_is_tried_under_its_plan() -> None:
    definition = load("small").definitions[0].model_copy(update={"plan": "contoso:desk:silver"})

    async def body(world: Simulated) -> None:
        await whole_build(world)
        await boots(world)
        assert tags.BOOTED in (await candidate_of(world)).tags

    simulated(body, PLAIN, definitions=[definition])


def test_one_that_did_not_come_up_goes_when_its_time_is_up() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        with pytest.raises(StepFailure):
            await boots(world)
        assert left_of_builds(world) != []
        await world.azure.clock.sleep((world.image_set.build.keep_failed_hours + 1) * 3600)
        await remove_leftovers(world.azure, world.image_set)
        assert left_of_builds(world) == []

    simulated(body, PLAIN, guest_failures={"boot": "desktop"})


def test_another_windows_than_the_one_that_was_built_does_not_pass() -> None:
    async def body(world: Simulated) -> None:
        await whole_build(world)
        version = world.cloud.galleries.version_named("gal_evergold/office/1.1.0")
        version.contents = version.contents.changed(os_build="26200.1")
        with pytest.raises(StepFailure, match=r"Windows is at 26200\.1, and 26200\.9231 was built"):
            await boots(world)

    simulated(body, PLAIN)


@pytest.mark.parametrize("first", range(0, 3, 1 if EVERY_WRITE == 1 else 3))
def test_a_death_after_any_write_leaves_nothing_that_the_next_run_does_not_take_away(first: int) -> None:
    async def body(world: Simulated, last_write: int) -> bool:
        await whole_build(world)
        world.wire.dies_after_writes = last_write
        try:
            await boots(world)
        except Killed:
            await whole_build(world)  # as the run does from its top: nothing is built again
            await boots(world)
        died = world.wire.dies_after_writes is None
        assert tags.BOOTED in (await candidate_of(world)).tags
        assert left_of_builds(world) == []
        assert world.wire.sent("PUT", "/runCommands/sysprep") == 1, "it is not built again"
        assert await versions(world) == ["1.0.0", "1.1.0"]
        return died

    def dies_after(write: int) -> bool:
        async def story(world: Simulated) -> bool:
            return await body(world, write)

        return simulated(story, PLAIN)

    write = 1 + first
    while dies_after(write):
        write += EVERY_WRITE
    assert write > 3, "a boot test makes more writes than that"
