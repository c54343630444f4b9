"""A single Cloud PC put back to before its reprovision: from its restore point, once, and by printed steps where there is none."""

import pytest

from evergold.azure import AzureFailure
from evergold.cloudpc.restore import ensure_restored, foreseen
from tests.support.cloud_pcs import image_set_of, reprovisioned, with_cloud_pcs
from tests.support.simulated import Simulated, simulated

ADA = "cpc-user001@contoso.com"
ACCOUNT = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/copies"


async def in_the_evening(world: Simulated) -> None:
    """Nobody is at work."""
    now = world.azure.clock.now()
    await world.azure.clock.sleep(((22 - now.hour) % 24) * 3600)


def images(world: Simulated) -> dict[str, str]:
    return {each.worker.name: each.image for each in world.cloud.cloud_pcs.all.values()}


def test_it_has_the_disk_of_before_again_and_nobody_else_changes() -> None:
    async def body(world: Simulated) -> None:
        before = images(world)
        await reprovisioned(world)
        await in_the_evening(world)
        words = await foreseen(world.azure, world.image_set, ADA)
        assert "is put back to its restore point of" in words
        assert world.wire.sent("POST", "/restore") == 0
        assert (await ensure_restored(world.azure, world.image_set, ADA)).outcome == "restored"
        assert (await foreseen(world.azure, world.image_set, ADA)).startswith("It was restored on")
        assert images(world) == {ADA: before[ADA], "cpc-user002@contoso.com": "office 1.1.0"}
        again = await ensure_restored(world.azure, world.image_set, ADA)
        assert again.words.startswith("It was restored on")
        assert world.wire.sent("POST", "/restore") == 1

    simulated(body, image_set_of(), **with_cloud_pcs(count=2))


def test_where_no_restore_point_is_left_the_steps_are_told_with_the_account_and_nothing_is_done() -> None:
    async def body(world: Simulated) -> None:
        await reprovisioned(world)
        await in_the_evening(world)
        told = await ensure_restored(world.azure, world.image_set, ADA)
        assert told.outcome == "by hand"
        assert ACCOUNT in told.words
        assert "importSnapshot" in told.words
        assert (await foreseen(world.azure, world.image_set, ADA)).startswith("No restore point from before")
        assert world.wire.sent("POST", "/restore") == 0

    world = with_cloud_pcs(count=1, restore_points_survive=False)
    simulated(body, image_set_of(safety={"share_snapshots_to": ACCOUNT}), **world)


def test_nobody_who_is_at_work_or_was_not_reprovisioned_is_touched_and_a_stranger_is_refused() -> None:
    async def body(world: Simulated) -> None:
        assert "Nothing tells" in (await ensure_restored(world.azure, world.image_set, ADA)).words
        await reprovisioned(world)
        (desk,) = await world.azure.cloud_pcs.list_all()
        while not (await world.azure.cloud_pcs.connection(desk.id)).signed_in:
            await world.azure.clock.sleep(3600)
        assert "signed in" in (await ensure_restored(world.azure, world.image_set, ADA)).words
        with pytest.raises(AzureFailure, match="0 Cloud PCs"):
            await ensure_restored(world.azure, world.image_set, "mallory@contoso.com")
        assert world.wire.sent("POST", "/restore") == 0

    simulated(body, image_set_of(), **with_cloud_pcs(count=1))
