"""Managed disks and snapshots of them. Times are seconds of the bundle's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from azure.mgmt.compute import models
from azure.mgmt.compute.aio import ComputeManagementClient

from evergold.azure.errors import explaining, found, gone, raise_failed
from evergold.azure.pipeline import Polling, wait_until
from evergold.clock import Clock


class Disks:
    """Disks and snapshots in one subscription."""

    def __init__(self, client: ComputeManagementClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def get_disk(self, resource_group: str, name: str) -> models.Disk | None:
        """The disk, or None."""
        return await found(
            lambda: self._client.disks.get(resource_group, name), "read the disk", f"{resource_group}/{name}"
        )

    async def list_disks(self, resource_group: str) -> list[models.Disk]:
        """Every disk in the group."""
        with explaining("list the disks", resource_group):
            return [disk async for disk in self._client.disks.list_by_resource_group(resource_group)]

    async def delete_disk(self, resource_group: str, name: str, timeout_seconds: float = 900) -> None:
        """Delete the disk and wait; that there is none counts as done."""
        what, label = "delete the disk", f"{resource_group}/{name}"

        async def delete() -> None:
            polling = Polling(what, label, self._clock, timeout_seconds)
            await (await self._client.disks.begin_delete(resource_group, name, polling=polling)).result()

        await gone(delete, what, label)

    async def create_disk_from_snapshot(
        self,
        resource_group: str,
        name: str,
        location: str,
        snapshot_id: str,
        tags: Mapping[str, str],
        disk_type: str = "Premium_LRS",
        security_type: Literal["Standard", "TrustedLaunch"] = "TrustedLaunch",
        generation: Literal["V1", "V2"] = "V2",
        timeout_seconds: float = 3600,
    ) -> models.Disk:
        """Make an OS disk with the content of a snapshot, and wait for it. Generation and security type are the source's."""
        what, label = "create the disk", f"{resource_group}/{name}"
        trusted = models.DiskSecurityProfile(security_type="TrustedLaunch")
        disk = models.Disk(
            location=location,
            tags=dict(tags),
            sku=models.DiskSku(name=disk_type),
            properties=models.DiskProperties(
                os_type="Windows",
                hyper_v_generation=generation,
                security_profile=trusted if security_type == "TrustedLaunch" else None,
                creation_data=models.CreationData(create_option="Copy", source_resource_id=snapshot_id),
            ),
        )
        with explaining(what, label):
            polling = Polling(what, label, self._clock, timeout_seconds)
            return await (
                await self._client.disks.begin_create_or_update(resource_group, name, disk, polling=polling)
            ).result()

    async def get_snapshot(self, resource_group: str, name: str) -> models.Snapshot | None:
        """The snapshot, or None."""
        return await found(
            lambda: self._client.snapshots.get(resource_group, name), "read the snapshot", f"{resource_group}/{name}"
        )

    async def list_snapshots(self, resource_group: str) -> list[models.Snapshot]:
        """Every snapshot in the group."""
        with explaining("list the snapshots", resource_group):
            return [snapshot async for snapshot in self._client.snapshots.list_by_resource_group(resource_group)]

    async def create_snapshot(
        self,
        resource_group: str,
        name: str,
        location: str,
        disk_id: str,
        tags: Mapping[str, str],
        timeout_seconds: float = 3600,
    ) -> models.Snapshot:
        """Take an incremental snapshot of a disk, and wait for it: it holds the whole disk, and only what changed is paid for.

        One of that name that is being taken is waited for; one that is there is returned as it is, and one that failed is replaced. The
        caller checks by its tags that a snapshot found there is its own.
        """
        what, label = "take the snapshot", f"{resource_group}/{name}"
        present = await self._settled_snapshot(resource_group, name, timeout_seconds)
        if present is not None and _state(present) == "Succeeded":
            return present
        if present is not None:
            await self.delete_snapshot(resource_group, name)
        snapshot = models.Snapshot(
            location=location,
            tags=dict(tags),
            sku=models.SnapshotSku(name="Standard_LRS"),
            properties=models.SnapshotProperties(
                creation_data=models.CreationData(create_option="Copy", source_resource_id=disk_id), incremental=True
            ),
        )
        with explaining(what, label):
            polling = Polling(what, label, self._clock, timeout_seconds)
            return await (
                await self._client.snapshots.begin_create_or_update(resource_group, name, snapshot, polling=polling)
            ).result()

    async def _settled_snapshot(self, resource_group: str, name: str, timeout_seconds: float) -> models.Snapshot | None:
        """The snapshot, once Azure is at work on it no more; None if there is none."""
        if await self.get_snapshot(resource_group, name) is None:
            return None

        async def settled() -> models.Snapshot | None:
            seen = await self.get_snapshot(resource_group, name)
            if seen is None:
                raise_failed("take the snapshot", name, "ResourceNotFound", "It was removed while it was waited for.")
            return seen if _state(seen) in ("Succeeded", "Failed") else None

        label = f"{resource_group}/{name}"
        whole: models.Snapshot = await wait_until(settled, "take the snapshot", label, self._clock, timeout_seconds, 5)
        return whole

    async def delete_snapshot(self, resource_group: str, name: str, timeout_seconds: float = 900) -> None:
        """Delete the snapshot and wait; that there is none counts as done."""
        what, label = "delete the snapshot", f"{resource_group}/{name}"

        async def delete() -> None:
            polling = Polling(what, label, self._clock, timeout_seconds)
            await (await self._client.snapshots.begin_delete(resource_group, name, polling=polling)).result()

        await gone(delete, what, label)


def _state(snapshot: models.Snapshot) -> str:
    return (snapshot.properties.provisioning_state if snapshot.properties else None) or ""
