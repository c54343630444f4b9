"""Replacing hosts in place: what has to be so of a host before it may be deleted to make room for its successor.

A host's disk goes with it, and its network card too where its address is dynamic: what stays behind would keep the quota and the address
that the successor needs. A card with a static address stays, and its successor has it (`evergold.rollout.addresses`). Hosts of which
that cannot be had are refused before anything changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from azure.mgmt.compute.models import VirtualMachine

from evergold.azure.arm import Json
from evergold.azure.ids import ResourceId, same
from evergold.rollout.act import Place, take_back
from evergold.rollout.addresses import addresses_of, is_static, outlives, references_of
from evergold.rollout.deferred import Deferred
from evergold.rollout.hosts import is_new
from evergold.rollout.model import Snapshot

log = logging.getLogger("evergold.rollout")


async def why_not_in_place(place: Place, names: Sequence[str]) -> tuple[str | None, bool]:
    """Why these hosts cannot be replaced in place, for whoever has to mend that, or None; and whether one of them has a static address."""
    found, any_static = [], False
    for name in names:
        vm = await place.azure.compute.get_vm(place.hosts_group, name, instance_view=False)
        if vm is None:
            continue
        cards = [(each, await place.azure.arm.network_card(each.id or "") or {}) for each in references_of(vm)]
        reasons = [*_left_behind(vm)]
        for reference, card in cards:
            if is_static(card):
                any_static = True
                reasons += _not_to_be_had(place, card, len(cards))
            elif outlives(reference):
                reasons.append("its network card would stay behind")
        if reasons:
            found.append(f"{name} ({', '.join(reasons)})")
    if not found:
        return None, any_static
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return (
        f"Some hosts cannot be replaced in place: {'; '.join(found[:4])}{more}. Nothing was changed. What to do: mend that (the deletion "
        "option of disks, and of network cards with a dynamic address, has to be Delete), or use the strategy surge."
    ), any_static


def _left_behind(vm: VirtualMachine) -> Iterable[str]:
    """What of it, beside network cards, would not go with it, or would be missing afterwards."""
    storage = vm.properties.storage_profile if vm.properties else None
    if storage is not None and storage.os_disk is not None and storage.os_disk.delete_option != "Delete":
        yield "its disk would stay behind"
    if storage is not None and storage.data_disks:
        yield "it has data disks"


def _not_to_be_had(place: Place, card: Json, cards: int) -> Iterable[str]:
    """Why a new host cannot have a card with a static address."""
    if cards > 1:
        yield f"its address is static, and it has {cards} network cards, of which its successor could have one"
    subnets = [(each.get("subnet") or {}).get("id") for each in addresses_of(card)]
    if any(not same(subnet, place.pool.hosts.subnet_id) for subnet in subnets):
        yield f"its address is static, and not in the subnet that hosts.subnet_id names for the pool {place.pool.name}"
    if not same(ResourceId.parse(str(card["id"])).resource_group, place.hosts_group):
        yield f"its address is static, and its network card not in hosts.resource_group of the pool {place.pool.name}"
    if not same(card.get("location"), place.image_set.location):
        yield f"its address is static, and its network card in {card.get('location')}, not in the image set's location"


async def clear_canary(place: Place, snapshot: Snapshot) -> None:
    """Where addresses are static, the canary that a refresh has put beside the pool goes before the first host does.

    It has an address of its own, which nobody has let through anywhere: in the place of one of the hosts it would leave a kept address
    without a host. One that somebody may be on, or keeps, stays all the same.
    """
    for host in snapshot.hosts:
        if not is_new(host, place.target):
            continue
        try:
            await take_back(place, host, "it was proven, and has none of the pool's static addresses")
        except Deferred as reason:
            log.warning(
                "%s: the canary stays, with an address of its own, in the place of a host whose address is kept: %s",
                place.pool.name,
                reason,
            )
