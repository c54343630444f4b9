"""Deleting old versions against the simulated Azure: what is needed stays, whatever dies; and what cannot be seen deletes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from evergold import tags
from evergold.azure import AzureFailure
from evergold.config.models import ImageSet
from evergold.images.catalogue import list_entries
from evergold.images.refresh import begin_refresh, definition_of
from evergold.images.retention import Fate, RetentionError, retire_images
from evergold.rollout.lease import Lease
from simulator.kernel.faults import Fault
from simulator.scenario import Version, load
from tests.support.simulated import Killed, Simulated, simulated, small_image_set

NUMBERS = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0"]


async def nobody(_: str) -> str | None:
    return None


def six_versions() -> Any:
    """The small world's definition with six versions that refreshes have made; its hosts are on the oldest."""
    definition = load("small").definitions[0]
    made = [
        Version(
            version=number,
            os_build="26200.9060",
            tags={tags.REFRESH: f"office-{number}", tags.IMAGE_SET: "office", tags.STATE: "promoted"},
        )
        for number in NUMBERS
    ]
    return [definition.model_copy(update={"versions": made})]


async def retired(world: Simulated, neighbours: Sequence[ImageSet] = (), **options: Any) -> list[Fate]:
    return await retire_images(world.azure, world.image_set, neighbours, options.pop("held", nobody), **options)


async def versions(world: Simulated) -> list[str]:
    return sorted(v.name or "" for v in await world.azure.galleries.list_versions(definition_of(world.image_set)))


def test_what_nothing_needs_goes_and_a_host_keeps_its_version() -> None:
    async def body(world: Simulated) -> None:
        fates = {fate.thing.version: fate for fate in await retired(world)}
        assert await versions(world) == ["1.0.0", "1.3.0", "1.4.0", "1.5.0"]
        assert fates["1.0.0"].reason == "needed by machine pil-001, machine pil-002"
        assert {number for number, fate in fates.items() if not fate.kept} == {"1.1.0", "1.2.0"}
        before = len(world.wire.calls)
        assert all(fate.kept for fate in await retired(world))
        assert not [call for call in world.wire.calls[before:] if call[0] != "GET"]

    simulated(body, definitions=six_versions())


def test_a_look_alone_deletes_nothing_and_says_the_same() -> None:
    async def body(world: Simulated) -> None:
        looked = {(fate.thing.id, fate.kept, fate.reason) for fate in await retired(world, dry_run=True)}
        assert await versions(world) == NUMBERS
        assert {(fate.thing.id, fate.kept, fate.reason) for fate in await retired(world)} == looked

    simulated(body, definitions=six_versions())


def test_a_version_that_another_image_set_starts_from_is_kept() -> None:
    starts = {"kind": "gallery_version", "resource_group": "rg-images", "gallery": "gal_evergold"}
    kiosk = small_image_set(name="kiosk", source={**starts, "image_definition": "office", "version": "1.1.0"})

    async def body(world: Simulated) -> None:
        await retired(world, [kiosk])
        assert await versions(world) == ["1.0.0", "1.1.0", "1.3.0", "1.4.0", "1.5.0"]

    simulated(body, definitions=six_versions())


def test_the_source_of_an_unfinished_refresh_is_kept() -> None:
    starts = {"kind": "gallery_version", "resource_group": "rg-images", "gallery": "gal_evergold"}
    own = small_image_set(source={**starts, "image_definition": "office", "version": "1.2.0"})

    async def body(world: Simulated) -> None:
        await begin_refresh(world.azure, own, world.azure.clock.now())
        fates = {fate.thing.version: fate.reason for fate in await retired(world)}
        assert fates["1.2.0"] == "needed by refresh office-20261112-1630, which starts from it"

    simulated(body, definitions=six_versions())


@pytest.mark.parametrize(("refresh", "stays"), [("office-1.1.0", ["1.1.0"]), ("rollback-x", ["1.1.0", "1.2.0"])])
def test_the_target_of_a_rollout_that_is_under_way_is_kept(refresh: str, stays: list[str]) -> None:
    async def body(world: Simulated) -> None:
        lease = Lease(refresh, "run-1", world.azure.clock.now() + timedelta(minutes=10))
        await world.azure.desktops.update_host_pool_tags("rg-avd-pilot", "hp-pilot", {tags.LEASE: str(lease)})
        await retired(world)
        assert set(stays) <= set(await versions(world))

    simulated(body, definitions=six_versions())


def test_nothing_is_deleted_while_a_pool_is_held() -> None:
    async def held(_: str) -> str | None:
        return "Ada: quarter end"

    async def body(world: Simulated) -> None:
        reasons = {fate.thing.version: fate.reason for fate in await retired(world, held=held)}
        assert reasons["1.1.0"] == "held: Ada: quarter end"
        assert await versions(world) == NUMBERS

    simulated(body, definitions=six_versions())


def test_what_somebody_marks_after_the_first_deletion_is_kept() -> None:
    async def body(world: Simulated) -> None:
        async def marks(_: str) -> str | None:
            await world.azure.galleries.update_version(
                definition_of(world.image_set), "1.2.0", set_tags={tags.KEEP: "audit"}
            )
            return None

        fates = {fate.thing.version: fate for fate in await retired(world, held=marks)}
        assert await versions(world) == ["1.0.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0"]
        assert fates["1.2.0"].reason == "somebody has tagged it evergold-keep"

    simulated(body, definitions=six_versions())


def test_a_look_that_fails_deletes_nothing() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(AzureFailure):
            await retired(world)
        assert world.wire.sent("DELETE") == 0

    refuse = Fault(
        method="GET", path=r"/subscriptions/[^/]+/providers/Microsoft.Compute/virtualMachines$", status=403, times=99
    )
    simulated(body, definitions=six_versions(), faults=[refuse])


def test_a_list_of_machines_that_lacks_known_ones_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: Simulated) -> None:
        listed = world.azure.compute.list_all_vms
        assert await listed()

        async def only_readable() -> list[Any]:  # as Azure answers whoever may read some resource groups only
            return [vm for vm in await listed() if "rg-avd-pilot" not in (vm.id or "")]

        monkeypatch.setattr(world.azure.compute, "list_all_vms", only_readable)
        with pytest.raises(RetentionError, match=r"lacks those of rg-avd-pilot.*Nothing was deleted"):
            await retired(world)
        assert world.wire.sent("DELETE") == 0

    simulated(body, definitions=six_versions())


def test_what_azure_refuses_to_delete_is_kept_and_the_rest_goes() -> None:
    async def body(world: Simulated) -> None:
        reasons = {fate.thing.version: fate.reason for fate in await retired(world)}
        assert reasons["1.1.0"].startswith("it could not be deleted")
        assert await versions(world) == ["1.0.0", "1.1.0", "1.3.0", "1.4.0", "1.5.0"]

    refuse = Fault(method="DELETE", path=r"/versions/1\.1\.0$", status=403, code="AuthorizationFailed", times=99)
    simulated(body, definitions=six_versions(), faults=[refuse])


@pytest.mark.parametrize("last_write", [1, 2])
def test_a_retirement_that_dies_after_any_of_its_writes_comes_to_the_same_end(last_write: int) -> None:
    async def body(world: Simulated) -> None:
        world.wire.dies_after_writes = last_write
        with pytest.raises(Killed):
            await retired(world)
        await retired(world)
        await world.azure.clock.sleep(3600)  # Azure finishes the deletion that it was asked for before
        assert await versions(world) == ["1.0.0", "1.3.0", "1.4.0", "1.5.0"]

    simulated(body, definitions=six_versions())


def test_the_table_of_versions_shows_what_each_is_and_who_uses_it() -> None:
    async def body(world: Simulated) -> None:
        rows = [entry.row() for entry in await list_entries(world.azure, world.image_set)]
        assert [row["version"] for row in rows] == NUMBERS[::-1]
        assert (rows[0]["state"], rows[0]["hosts using it"]) == ("promoted, latest", "0")
        assert (rows[-1]["state"], rows[-1]["hosts using it"]) == ("promoted", "2")
        assert rows[0]["regions"] == "West Europe (1), North Europe (1)"

    simulated(body, definitions=six_versions())
