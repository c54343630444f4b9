"""Two campaigns on the same Cloud PCs: the second is refused while the first is at it, and a dead one is in nobody's way for long."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from evergold.cloudpc import lease
from evergold.cloudpc.engine import reprovision
from evergold.rollout.lease import LeaseHeldError
from tests.support.cloud_pcs import Heard, image_set_of, place_of, prepared, with_cloud_pcs
from tests.support.simulated import Killed, Simulated, simulated


async def run(world: Simulated, holder: str) -> None:
    heard = Heard()
    await reprovision(place_of(world), await prepared(world), heard.tell, heard.show, holder)


def test_a_second_run_is_refused_while_the_first_is_at_it_and_nobody_is_reprovisioned_twice() -> None:
    async def body(world: Simulated) -> None:
        first = asyncio.create_task(run(world, "first"))
        for _ in range(5):
            await world.azure.clock.sleep(2 * 3600)
            with pytest.raises(LeaseHeldError, match="flow run first"):
                await run(world, "second")
        await first
        await run(world, "second")
        report = world.cloud.truth.report()
        assert (report["violations"], report["cloud_pcs_reprovisioned"]) == ([], 3)

    simulated(body, image_set_of(), **with_cloud_pcs(count=3))


def test_two_that_begin_at_the_same_moment_do_not_both_go_on() -> None:
    async def body(world: Simulated) -> None:
        await prepared(world)
        ended = await asyncio.gather(run(world, "first"), run(world, "second"), return_exceptions=True)
        assert sum(isinstance(each, LeaseHeldError) for each in ended) >= 1
        report = world.cloud.truth.report()
        assert (report["violations"], report["cloud_pcs_reprovisioned"] <= 2) == ([], True)

    simulated(body, image_set_of(), **with_cloud_pcs(count=2))


def test_another_image_set_of_the_gallery_is_refused_the_same_policy_and_not_another_one() -> None:
    async def body(world: Simulated) -> None:
        campaign = await prepared(world)
        await lease.take(world.azure, world.image_set, campaign, "first")
        gallery = world.image_set.gallery.model_copy(update={"image_definition": "second"})
        second = world.image_set.model_copy(update={"name": "second", "gallery": gallery})
        with pytest.raises(LeaseHeldError, match="noted on the image definition office"):
            await lease.take(world.azure, second, campaign, "second")
        elsewhere = replace(campaign, targets={"another": "an image"})
        assert (await lease.take(world.azure, second, elsewhere, "second")).holder == "second"

    given = with_cloud_pcs(count=1)
    other = given["definitions"][0].model_copy(update={"name": "second", "versions": []})
    simulated(body, image_set_of(), **{**given, "definitions": [*given["definitions"], other]})


def test_a_run_that_died_goes_on_at_once_and_another_takes_over_when_its_lease_has_run_out() -> None:
    async def body(world: Simulated) -> None:
        await prepared(world)
        world.wire.dies_after_writes, world.wire.dies_for_good = 2, True
        with pytest.raises(Killed):
            await run(world, "first")
        world.wire.dead = False
        with pytest.raises(LeaseHeldError):
            await run(world, "second")
        await lease.take(world.azure, world.image_set, await prepared(world), "first")
        await world.azure.clock.sleep(timedelta(minutes=lease.LEASE_MINUTES).total_seconds())
        await run(world, "second")
        report = world.cloud.truth.report()
        assert (report["violations"], report["cloud_pcs_reprovisioned"]) == ([], 2)

    simulated(body, image_set_of(), **with_cloud_pcs(count=2))
