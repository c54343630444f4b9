"""What builds leave behind, and until when: a failed build is kept for a person to look at, and nothing is kept for ever.

Every build machine says in a tag until when it may stay (`evergold-keep-until`): from its creation on, so that one whose run was killed
goes too. What has no such tag stays as long after its creation as a build may take and a failed one is kept. `evergold-keep` always wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from evergold import tags
from evergold.azure import Azure
from evergold.config.models import ImageSet
from evergold.images.build import ensure_build_cleaned, ensure_machine_removed, lifetime
from evergold.images.refresh import Refresh, template_of
from evergold.images.source_host import PURPOSE as COPY

log = logging.getLogger("evergold.images")


@dataclass(frozen=True)
class Leftover:
    """What one refresh has left in the build's resource group.

    Attributes:
        names: of machines, disks and snapshots.
        until: when it may go; None where somebody keeps it.

    """

    refresh: Refresh
    names: tuple[str, ...]
    until: datetime | None


@dataclass(frozen=True)
class _Found:
    kind: Literal["machine", "disk", "snapshot"]
    name: str
    named: Mapping[str, str]
    made: datetime | None


async def find_leftovers(azure: Azure, image_set: ImageSet) -> list[Leftover]:
    """What builds of the image set have left, with the time until which each stays. Reads all, or raises."""
    group = image_set.build.resource_group
    found = [_Found("machine", vm.name, vm.tags, vm.created_at) for vm in await azure.compute.list_vms(group)]
    found += [
        _Found("disk", disk.name or "", disk.tags or {}, disk.properties.time_created if disk.properties else None)
        for disk in await azure.disks.list_disks(group)
    ]
    found += [
        _Found("snapshot", each.name or "", each.tags or {}, each.properties.time_created if each.properties else None)
        for each in await azure.disks.list_snapshots(group)
        if (each.tags or {}).get(tags.PURPOSE) == COPY
    ]
    ours = [each for each in found if each.named.get(tags.IMAGE_SET) == image_set.name]
    refreshes = sorted({each.named.get(tags.REFRESH, "") for each in ours} - {""})
    return [_of_refresh(refresh, ours, image_set, azure.clock.now()) for refresh in refreshes]


async def remove_leftovers(azure: Azure, image_set: ImageSet, *, dry_run: bool = False) -> list[tuple[Leftover, str]]:
    """Removes what has stayed its time. Returns each leftover with what became of it, in words."""
    outcomes = []
    for leftover in await find_leftovers(azure, image_set):
        if leftover.until is None:
            outcome = f"kept: somebody has tagged it {tags.KEEP}"
        elif leftover.until > azure.clock.now():
            outcome = f"kept until {tags.format_time(leftover.until)}"
        elif dry_run:
            outcome = "would be deleted: its time is up"
        else:
            await ensure_build_cleaned(azure, image_set, leftover.refresh)
            await ensure_machine_removed(azure, image_set, leftover.refresh, leftover.refresh.boot_name)
            outcome = "deleted: its time was up"
            log.info("%s: what the build left is deleted", leftover.refresh.id)
        outcomes.append((leftover, outcome))
    return outcomes


def _of_refresh(refresh: str, ours: Iterable[_Found], image_set: ImageSet, now: datetime) -> Leftover:
    """All that one refresh has left. Where its machine stands, that decides; what stands alone goes by its own age."""
    whose = Refresh(refresh, "", "", image_set.name, resumed=True, template=template_of(image_set))
    disks = (f"{whose.build_name}-os", f"{whose.build_name}-source", f"{whose.boot_name}-os")
    names = (whose.vm_name, whose.boot_name, *disks)
    found = [each for each in ours if each.named.get(tags.REFRESH) == refresh and each.name in names]
    machine = [each for each in found if each.kind == "machine"]
    if any(tags.KEEP in each.named for each in found):
        until = None
    else:
        until = max((_until(each, image_set, now) for each in machine or found), default=now + timedelta(days=1))
    return Leftover(whose, tuple(each.name for each in found), until)


def _until(found: _Found, image_set: ImageSet, now: datetime) -> datetime:
    noted = tags.parse_time(found.named.get(tags.KEEP_UNTIL))
    return noted or (found.made or now) + lifetime(image_set)
