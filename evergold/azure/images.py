"""Managed images: the older way to keep a generalised disk, for Windows 365. Times are seconds of the bundle's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from azure.mgmt.compute import models
from azure.mgmt.compute.aio import ComputeManagementClient

from evergold.azure.errors import explaining, found, gone
from evergold.azure.pipeline import Polling
from evergold.clock import Clock


class Images:
    """Managed images in one subscription."""

    def __init__(self, client: ComputeManagementClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def get_image(self, resource_group: str, name: str) -> models.Image | None:
        """The image, or None."""
        return await found(
            lambda: self._client.images.get(resource_group, name),
            "read the managed image",
            f"{resource_group}/{name}",
        )

    async def list_images(self, resource_group: str) -> list[models.Image]:
        """Every managed image in the group."""
        with explaining("list the managed images", resource_group):
            return [image async for image in self._client.images.list_by_resource_group(resource_group)]

    async def create_image_from_vm(
        self,
        resource_group: str,
        name: str,
        location: str,
        vm_id: str,
        tags: Mapping[str, str],
        generation: Literal["V1", "V2"] = "V2",
        timeout_seconds: float = 3600,
    ) -> models.Image:
        """Make an image of a generalised VM, and wait for it. Azure refuses one of a Trusted Launch VM."""
        what, label = "make the managed image", f"{resource_group}/{name}"
        image = models.Image(
            location=location,
            tags=dict(tags),
            properties=models.ImageProperties(
                source_virtual_machine=models.SubResource(id=vm_id), hyper_v_generation=generation
            ),
        )
        with explaining(what, label):
            polling = Polling(what, label, self._clock, timeout_seconds)
            return await (
                await self._client.images.begin_create_or_update(resource_group, name, image, polling=polling)
            ).result()

    async def delete_image(self, resource_group: str, name: str, timeout_seconds: float = 900) -> None:
        """Delete the image and wait; that there is none counts as done."""
        what, label = "delete the managed image", f"{resource_group}/{name}"

        async def delete() -> None:
            polling = Polling(what, label, self._clock, timeout_seconds)
            await (await self._client.images.begin_delete(resource_group, name, polling=polling)).result()

        await gone(delete, what, label)
