"""Preflight: whether there is room for what a rollout adds: sizes, their hardware and zones, vCPU quota, the release method and surge."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from azure.mgmt.compute.models import GalleryImage, ResourceSku

from evergold.azure import Azure
from evergold.config.models import ImageSet, Pool, ReleaseMethod
from evergold.images.refresh import definition_of
from evergold.validation.looking import failed, passed, text, warned
from evergold.validation.verdicts import Check

MOST_ALTERNATIVES = 3
# What Azure takes for a definition, and for a size, that does not say: learn.microsoft.com, "Create an Azure image definition" and
# "Enable NVMe interface".
PLAIN_ARCHITECTURE, PLAIN_CONTROLLER = "x64", "SCSI"


@dataclass(frozen=True)
class Hardware:
    """What an image definition's images run on: the processor's architecture, and the disk controllers they have drivers for."""

    architecture: str = PLAIN_ARCHITECTURE
    controllers: frozenset[str] = frozenset({PLAIN_CONTROLLER.casefold()})


def hardware_of(definition: GalleryImage | None) -> Hardware:
    """What the definition says; what Azure takes for granted where it does not."""
    if definition is None or definition.properties is None:
        return Hardware()
    features = {feature.name: feature.value or "" for feature in definition.properties.features or []}
    architecture = text(definition.properties.architecture) or PLAIN_ARCHITECTURE
    return Hardware(architecture, _controllers(features.get("DiskControllerTypes")))


def _controllers(value: str | None) -> frozenset[str]:
    return frozenset(each.strip().casefold() for each in (value or PLAIN_CONTROLLER).split(","))


async def check_sizes(azure: Azure, image_set: ImageSet, machines: Counter[str]) -> list[Check]:
    """Every size is on offer in the region and fits the image, and its family has quota for so many machines at once."""
    location = image_set.location
    usages, skus, definition = await asyncio.gather(
        azure.compute.list_usages(location),
        azure.compute.list_skus(location),
        azure.galleries.get_definition(definition_of(image_set)),
    )
    hardware = hardware_of(definition)
    on_offer = {sku.name or "": sku for sku in skus if sku.resource_type == "virtualMachines" and not _is_closed(sku)}
    room = {u.name.value: (u.current_value, u.limit) for u in usages if u.name and u.name.value}
    checks: list[Check] = []
    cores: Counter[str] = Counter()
    for size, count in sorted(machines.items()):
        sku = on_offer.get(size)
        if sku is None:
            missing = f"{size} is not on offer in {location} for this subscription."
            remedy = "Choose another VM size, or ask for access to this one."
            checks.append(failed(f"VM size {size}", missing, "on offer", remedy))
            continue
        checks.append(judge_size(sku, image_set, hardware))
        cores[sku.family or ""] += _cores(sku) * count
    return [*checks, *_quotas(location, cores, room, on_offer)]


def _quotas(
    location: str,
    cores: Mapping[str, int],
    room: Mapping[str, tuple[int, int]],
    on_offer: Mapping[str, ResourceSku],
) -> list[Check]:
    checks = []
    for family, needed in sorted(cores.items()):
        current, limit = room.get(family, (0, 0))
        name, threshold = f"vCPU quota {family}", f"{needed} free"
        measured = f"{limit - current} of {limit} vCPUs free in {location}, {needed} needed."
        if limit - current >= needed:
            checks.append(passed(name, measured, threshold))
            continue
        others = _alternatives(family, needed, room, on_offer)
        instead = f" These families have room: {', '.join(others)}." if others else ""
        remedy = (
            f"Ask for more quota for this VM family and region, choose another VM size, or lower max_surge.{instead}"
        )
        checks.append(failed(name, measured, threshold, remedy))
    return checks


def _alternatives(
    family: str, needed: int, room: Mapping[str, tuple[int, int]], on_offer: Mapping[str, ResourceSku]
) -> list[str]:
    """Other families that have quota for it, each with a size on offer."""
    found = []
    for other, (current, limit) in sorted(room.items()):
        sizes = sorted(name for name, sku in on_offer.items() if sku.family == other)
        if other != family and limit - current >= needed and sizes:
            found.append(f"{other} ({limit - current} free, such as {sizes[0]})")
    return found[:MOST_ALTERNATIVES]


def judge_size(sku: ResourceSku, image_set: ImageSet, hardware: Hardware) -> Check:
    """Whether a size can run this image, in the zones that are asked for."""
    size, name = sku.name or "", f"VM size {sku.name}"
    capabilities = {each.name: each.value for each in sku.capabilities or []}
    threshold = (
        f"on offer, generation 2, {image_set.build.security_type}, {hardware.architecture}, "
        f"{' or '.join(sorted(each.upper() for each in hardware.controllers))}"
    )
    if "V2" not in (capabilities.get("HyperVGenerations") or "V1,V2"):
        return failed(name, f"{size} runs generation 1 machines only.", threshold, "Choose a size of a newer series.")
    if image_set.build.security_type == "TrustedLaunch" and capabilities.get("TrustedLaunchDisabled") == "True":
        return failed(name, f"{size} does not support Trusted Launch.", threshold, "Choose another VM size.")
    if wrong := _why_no_hardware(size, capabilities, hardware):
        return failed(name, wrong[0], threshold, wrong[1])
    asked = sorted(
        {z for ring in image_set.rings for p in ring.pools if p.hosts.vm_size == size for z in p.hosts.zones}
    )
    missing = sorted(set(asked) - _zones(sku))
    if missing:
        remedy = "Take these zones out of the pool's hosts.zones, or choose another VM size."
        return failed(name, f"{size} cannot be had in zone {', '.join(missing)}.", threshold, remedy)
    where = f", in zones {', '.join(asked)}" if asked else ""
    return passed(name, f"{size} is on offer{where}.", threshold)


def _why_no_hardware(
    size: str, capabilities: Mapping[str | None, str | None], hardware: Hardware
) -> tuple[str, str] | None:
    """What of a size does not fit the image, and what to do about it."""
    architecture = capabilities.get("CpuArchitectureType") or PLAIN_ARCHITECTURE
    if architecture.casefold() != hardware.architecture.casefold():
        measured = f"{size} has {architecture} processors, and the image definition is for {hardware.architecture}."
        return measured, "Choose a size of that architecture, or an image definition (and a source) of the size's."
    controllers = _controllers(capabilities.get("DiskControllerTypes"))
    if not controllers & hardware.controllers:
        has, can = (", ".join(sorted(each)).upper() for each in (controllers, hardware.controllers))
        measured = f"{size} has {has} disks only, and the image definition says that its images run on {can}."
        return measured, (
            "Choose another size; or publish to another image definition, one with the feature DiskControllerTypes=SCSI,NVMe: it cannot be "
            "added to one that is there."
        )
    return None


def _zones(sku: ResourceSku) -> set[str]:
    there = {zone for place in sku.location_info or [] for zone in place.zones or []}
    closed = {
        zone
        for restriction in sku.restrictions or []
        if text(restriction.type) == "Zone" and restriction.restriction_info
        for zone in restriction.restriction_info.zones or []
    }
    return there - closed


def _is_closed(sku: ResourceSku) -> bool:
    return any(text(restriction.type) == "Location" for restriction in sku.restrictions or [])


def _cores(sku: ResourceSku) -> int:
    return int({each.name: each.value for each in sku.capabilities or []}.get("vCPUs") or "0")


async def check_moving(azure: Azure, image_set: ImageSet, pool: Pool, method: ReleaseMethod | None) -> Sequence[Check]:
    """A release method that moves users has somewhere to move them to."""
    chosen = method or image_set.rollout.release_method
    found = await azure.desktops.get_host_pool(pool.resource_group, pool.name)
    hosts = await azure.desktops.list_session_hosts(pool.resource_group, pool.name)
    limit = found.max_session_limit or 0 if found else 0
    if chosen == "opportunistic" or not hosts or not limit:
        return []  # nobody is moved; or the check of the pool itself says what is wrong
    surge = image_set.rollout.surge_hosts(len(hosts))
    busiest = max(hosts, key=lambda host: host.sessions or 0)
    return [
        judge_moving(
            pool.name, len(hosts), limit, surge, busiest.sessions or 0, image_set.rollout.capacity_floor_percent
        )
    ]


def judge_moving(pool: str, hosts: int, limit: int, surge: int, busiest: int, floor_percent: int) -> Check:
    """Whether the hosts of one surge can take the users of the others in.

    Nobody is signed out before every outdated host drains, and they drain only as far as the new hosts keep the capacity above its floor.
    """
    name = f"room to move users of {pool}"
    needed = -(-hosts * floor_percent // 100)
    threshold = f"max_surge of {needed} hosts, or users who leave by themselves"
    remedy = f"Raise max_surge to {needed} hosts if users are to be moved at once; otherwise do nothing, it only takes longer."
    free = surge * limit
    if free < busiest:
        measured = f"{surge} new hosts have {free} slots, and {busiest} users are on one host: they cannot be moved."
        return warned(name, measured, threshold, remedy)
    if surge < needed:
        measured = f"{surge} new hosts beside {hosts}: not every old host can drain at once, so nobody is signed out until some have left."
        return warned(name, measured, threshold, remedy)
    return passed(name, f"{surge} new hosts beside {hosts}, {free} slots.", threshold)
