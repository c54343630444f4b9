"""A template VM that lends its hardware to a build: the copied disk is swapped in as its OS disk, and its own is swapped back at the end.

The template is yours. It is switched off between builds, is marked with the refresh while one uses it, and is never generalised and never
deleted: Azure cannot start a VM again that was marked as generalised, so the version is published from the disk. What is noted on it
before anything is done to it (its own disk) is enough to put it back after any death.
"""

from __future__ import annotations

import logging
from datetime import datetime

from azure.mgmt.compute.models import VirtualMachine

from evergold import tags
from evergold.azure import Azure
from evergold.azure.compute import status_of
from evergold.azure.ids import same
from evergold.config.models import ImageSet
from evergold.images.guest import StepFailure
from evergold.images.refresh import Refresh
from evergold.images.source_host import ensure_copy_disk

log = logging.getLogger("evergold.images")

OURS = "evergold-"  # tags that begin so are taken away again


async def ensure_copy_swapped_in(azure: Azure, image_set: ImageSet, refresh: Refresh, keep_until: datetime) -> None:
    """The template's OS disk is the copy of the source host's. Raises StepFailure where somebody else uses the template."""
    group, name = image_set.build.resource_group, refresh.template
    vm = await azure.compute.get_vm(group, name)
    if vm is None:
        raise StepFailure("template", name, f"There is no VM of that name in {group}.", "Correct source.template_vm.")
    if not is_lent(vm, refresh):
        _refuse_in_use(vm)
        noted = {**refresh.tags, tags.TEMPLATE_DISK: os_disk_id(vm), tags.KEEP_UNTIL: tags.format_time(keep_until)}
        await azure.compute.update_vm_tags(group, name, noted)
        await azure.compute.wait_until_provisioned(group, name, 600, interval=5)
    copy, _ = await ensure_copy_disk(azure, image_set, refresh)
    if not same(os_disk_id(vm), copy.disk_id):
        await azure.compute.swap_os_disk(group, name, copy.disk_id)
        log.info("%s: boots from the copy now", name)


async def ensure_scripts_forgotten(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The running template knows no script of an earlier build: one would count as this build's, and not be run."""
    group, name = image_set.build.resource_group, refresh.template
    for script, owner in await azure.compute.list_scripts(group, name):
        if owner.get(tags.REFRESH) != refresh.id:
            await azure.compute.delete_script(group, name, script)


async def ensure_template_returned(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The template has its own disk again, is switched off, and bears no note of this refresh. One that is not lent is left alone."""
    group, name = image_set.build.resource_group, refresh.template
    vm = await azure.compute.get_vm(group, name)
    if vm is None or not is_lent(vm, refresh):
        return
    own = (vm.tags or {}).get(tags.TEMPLATE_DISK, "")
    if not same(os_disk_id(vm), own):
        if status_of(vm).power != "deallocated":
            await azure.compute.deallocate(group, name)
        await azure.compute.swap_os_disk(group, name, own)
    ours = tuple(tag for tag in vm.tags or {} if tag.startswith(OURS))
    await azure.compute.update_vm_tags(group, name, {}, remove=ours)
    await azure.compute.wait_until_provisioned(group, name, 600, interval=5)
    log.info("%s: has its own disk again", name)


def is_lent(vm: VirtualMachine, refresh: Refresh) -> bool:
    """Whether this refresh uses the template."""
    return (vm.tags or {}).get(tags.REFRESH) == refresh.id


def os_disk_id(vm: VirtualMachine) -> str:
    """The id of a VM's managed OS disk; "" where it has none."""
    storage = vm.properties.storage_profile if vm.properties else None
    disk = storage.os_disk.managed_disk if storage and storage.os_disk else None
    return (disk.id if disk else None) or ""


def why_in_use(vm: VirtualMachine) -> str:
    """Why a template cannot be lent now; "" where it can."""
    named = vm.tags or {}
    if tags.KEEP in named:
        return f"Somebody has tagged it {tags.KEEP}."
    if tags.REFRESH in named:
        return f"Refresh {named[tags.REFRESH]} uses it."
    if status_of(vm).power != "deallocated":
        return f"It is {status_of(vm).power}: somebody may be using it."
    return "" if os_disk_id(vm) else "It has no managed OS disk."


def _refuse_in_use(vm: VirtualMachine) -> None:
    reason = why_in_use(vm)
    if reason:
        remedy = "Wait, or deallocate it; or give the other refresh up. Then start the run again."
        raise StepFailure("template", vm.name or "", reason, remedy)
