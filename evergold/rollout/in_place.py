"""Replacing hosts in place: what has to be so of a host before it may be deleted to make room for its successor.

A host's disk and network card go with it only where they were made so. What stays behind would keep the address and the quota that the
successor needs, and a card with a static address would be missed by whoever relies on it: such hosts are refused before anything changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from azure.mgmt.compute.models import VirtualMachine

from evergold.rollout.act import Place


async def why_not_in_place(place: Place, names: Sequence[str]) -> str | None:
    """Why these hosts cannot be replaced in place, for whoever has to mend that; None where they can."""
    found = []
    for name in names:
        vm = await place.azure.compute.get_vm(place.hosts_group, name, instance_view=False)
        reasons = [*_left_behind(vm), *await _static(place, vm)] if vm is not None else []
        if reasons:
            found.append(f"{name} ({', '.join(reasons)})")
    if not found:
        return None
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return (
        f"Some hosts cannot be replaced in place: {'; '.join(found[:4])}{more}. Nothing was changed. What to do: set the deletion option "
        "of their disks and network cards to Delete and their addresses to dynamic, or use the strategy surge."
    )


def _left_behind(vm: VirtualMachine) -> Iterable[str]:
    """What would not go with it."""
    properties = vm.properties
    storage, network = (properties.storage_profile, properties.network_profile) if properties else (None, None)
    if storage is not None and storage.os_disk is not None and storage.os_disk.delete_option != "Delete":
        yield "its disk would stay behind"
    if storage is not None and storage.data_disks:
        yield "it has data disks"
    for card in (network.network_interfaces if network else None) or []:
        if card.properties is None or card.properties.delete_option != "Delete":
            yield "its network card would stay behind"


async def _static(place: Place, vm: VirtualMachine) -> list[str]:
    """Whether somebody relies on its address."""
    network = vm.properties.network_profile if vm.properties else None
    for card in (network.network_interfaces if network else None) or []:
        read = await place.azure.arm.network_card(card.id or "")
        addresses = ((read or {}).get("properties") or {}).get("ipConfigurations") or []
        if any((each.get("properties") or {}).get("privateIPAllocationMethod") == "Static" for each in addresses):
            return ["its address is static"]
    return []
