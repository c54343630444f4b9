"""Deleting retained hosts whose time is up.

A retained host is the way back, so it goes only when everything speaks for it: marked as retired, its time over, out of every pool,
switched off, and not kept by anybody. `expired` decides that from a look; `delete` reads the VM again before it deletes it.
"""

import logging
from collections.abc import Mapping
from datetime import datetime

from evergold import tags
from evergold.azure import Azure
from evergold.azure.compute import status_of
from evergold.rollout.devices import forget_devices
from evergold.rollout.model import Host, Snapshot

log = logging.getLogger("evergold.rollout")


def expired(snapshot: Snapshot, now: datetime) -> tuple[Host, ...]:
    """The hosts that may be deleted; none where the look is not whole."""
    if not snapshot.complete:
        return ()
    return tuple(
        host for host in snapshot.hosts if not host.registered and why_kept(host.tags, host.power, now) is None
    )


def why_kept(named: Mapping[str, str], power: str, now: datetime) -> str | None:
    """Why a VM that is out of its pool is not to be deleted now; None where it may be."""
    if tags.RETIRED_AT not in named:
        return "it was not retired by a rollout"
    if tags.KEEP in named:
        return f"somebody has tagged it {tags.KEEP}"
    until = tags.parse_time(named.get(tags.RETAIN_UNTIL))
    if until is None or until > now:
        return f"it is kept until {named.get(tags.RETAIN_UNTIL, 'a time that cannot be read')}"
    if power != "deallocated":
        return f"it is {power}: somebody may be using it"
    return None


async def delete(azure: Azure, resource_group: str, host: Host) -> str | None:
    """Deletes an expired host with its disk, network card and devices, and sees that it is gone. Returns why not, where it was left."""
    vm = await azure.compute.get_vm(resource_group, host.name)
    if vm is None:
        return None
    if vm.properties is None or vm.properties.vm_id != host.vm_id:
        return "another VM has that name now"
    reason = why_kept(dict(vm.tags or {}), status_of(vm).power, azure.clock.now())
    if reason is None:
        await forget_devices(azure, host.vm_resource_id)
        await azure.compute.delete_vm(resource_group, host.name)
        if await azure.compute.get_vm(resource_group, host.name) is not None:
            return "Azure took the deletion, and shows it still"
        log.info("%s: deleted, its time was up", host.name)
    return reason
