"""Preflight: everything that would fail in hour three, found in minute one, before anything in Azure has changed.

Each check looks at one thing and says what it found and what to do about it. All of them run, side by side; a check that
cannot look (Azure did not answer, the right to read is missing) is `unknown`, which counts as a failure: what nobody could see is
not fine.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from evergold.azure import Azure, AzureFailure
from evergold.azure.arm import Permission
from evergold.azure.compute import MarketplaceImage
from evergold.azure.galleries import Definition, replication_of
from evergold.azure.ids import ResourceId, image_version_id
from evergold.cloudpc.checks import check_cloud_pcs
from evergold.config.load import load_environment
from evergold.config.models import GalleryVersionSource, ImageSet, Pool, SessionHostSource
from evergold.config.permissions import ScopeKind, actions_needed
from evergold.images.customise import missing_secrets
from evergold.validation import looking
from evergold.validation.image_checks import check_source_host, looks_at_image
from evergold.validation.room import check_moving, check_sizes
from evergold.validation.surroundings import (
    CLOCK,
    PROVIDERS,
    check_clock,
    check_other_tools,
    check_providers,
    check_scaling_plan,
)
from evergold.validation.verdicts import Check

# Azure keeps five addresses of every subnet for itself (learn.microsoft.com, "Azure Virtual Network FAQ").
RESERVED_ADDRESSES = 5
# What a host pool says where nobody has set a limit: no capacity can be computed from it.
NO_SESSION_LIMIT = 999999
LONGEST_MINUTES = 30  # that one look may take; in the demo, where a second is a quarter of an hour, some two seconds

Look = Callable[[], Awaitable[Check | Sequence[Check]]]


class PreflightError(Exception):
    """A refresh or rollout that was refused before anything was changed; says everything that stands in its way."""


@dataclass(frozen=True)
class Machines:
    """Machines that will exist at the same time: `count` of `size` on `subnet_id`, above what is there now."""

    size: str
    subnet_id: str
    count: int


def connect_for(image_set: ImageSet) -> Azure:
    """The Azure that an image set's environment names."""
    return Azure.connect(load_environment(image_set.environment))


def refuse_unless_passed(checks: Iterable[Check], what: str) -> None:
    """Raises PreflightError naming every check that failed or could not be made."""
    bad = [check for check in checks if check.verdict in ("fail", "unknown")]
    if bad:
        listed = "\n".join(f"- {check.name}: {check.measured} What to do: {check.remedy}" for check in bad)
        raise PreflightError(f"{what} was not started; nothing in Azure was changed.\n{listed}")


async def check_image_set(azure: Azure, image_set: ImageSet) -> list[Check]:
    """Everything that a refresh of the image set needs."""
    pools = [pool for ring in image_set.rings for pool in ring.pools]
    build = Machines(image_set.build.vm_size, image_set.build.subnet_id, 1)
    looks: list[tuple[str, Look]] = [
        ("gallery", partial(_definition, azure, image_set)),
        ("image source", partial(_source, azure, image_set)),
        ("log workspace", partial(_workspace, azure)),
        (CLOCK, partial(check_clock, azure)),
        (PROVIDERS, partial(check_providers, azure)),
        ("secrets of customise steps", partial(_secrets, image_set)),
        *looks_at_image(azure, image_set),
        *_looks_at_pools(azure, image_set, pools),
        *_looks_at_room(azure, image_set, [build, *await _machines(azure, image_set, pools)]),
    ]
    looks += [
        (f"rights in {group}", partial(_rights, azure, group, kinds))
        for group, kinds in _groups(image_set, pools).items()
    ]
    subnets = {image_set.build.subnet_id, *(pool.hosts.subnet_id for pool in pools)}
    looks += [
        (f"rights on subnet {_name(subnet)}", partial(_subnet_rights, azure, subnet)) for subnet in sorted(subnets)
    ]
    if image_set.cloud_pcs is not None:
        looks.append(("Windows 365", partial(check_cloud_pcs, azure, image_set)))
    return await _run(azure, looks)


async def check_rollout(azure: Azure, image_set: ImageSet, pool: Pool, version: str) -> list[Check]:
    """Everything that moving one pool to a version needs."""
    looks: list[tuple[str, Look]] = [
        ("image version", partial(_version, azure, image_set, version)),
        *_looks_at_pools(azure, image_set, [pool]),
        *_looks_at_room(azure, image_set, await _machines(azure, image_set, [pool])),
    ]
    return await _run(azure, looks)


async def _run(azure: Azure, looks: list[tuple[str, Look]]) -> list[Check]:
    found = [looking.Look(name, look) for name, look in looks]
    # Each look once: whoever waits for the answer can ask again.
    return list(await looking.look_at_all(azure.clock, found, LONGEST_MINUTES, repeat_unknown=False))


def _passed(name: str, measured: str, threshold: str) -> Check:
    return Check(name=name, verdict="pass", measured=measured, threshold=threshold, remedy="")


def _failed(name: str, measured: str, threshold: str, remedy: str) -> Check:
    return Check(name=name, verdict="fail", measured=measured, threshold=threshold, remedy=remedy)


def _name(resource_id: str) -> str:
    return ResourceId.parse(resource_id).name


def _text(value: str | None) -> str:
    """What the SDK read, as Azure wrote it: an enumeration's member prints as its Python name."""
    return str(getattr(value, "value", value))


async def _secrets(image_set: ImageSet) -> list[Check]:
    """Whether what customise scripts are to be given is set where this runs."""
    name, missing = "secrets of customise steps", missing_secrets(image_set)
    if not missing:
        return [_passed(name, "All are set.", "set where the worker runs")]
    measured = "; ".join(f"{variable} is not set, and step {step} needs it" for variable, step in missing.items())
    remedy = "Set it in the environment of the worker, or correct `secrets` of that step in the image set."
    return [_failed(name, f"{measured}.", "set where the worker runs", remedy)]


async def _definition(azure: Azure, image_set: ImageSet) -> list[Check]:
    gallery, build = image_set.gallery, image_set.build
    where = f"{gallery.name}/{gallery.image_definition} in {gallery.resource_group}"
    name = f"image definition {gallery.image_definition}"
    found = await azure.galleries.get_definition(
        Definition(gallery.resource_group, gallery.name, gallery.image_definition)
    )
    if found is None or found.properties is None:
        return [
            _failed(name, f"{where} does not exist.", "exists", "Create it, or correct `gallery` in the image set.")
        ]
    features = {feature.name: feature.value for feature in found.properties.features or []}
    security = features.get("SecurityType") or "Standard"
    # A definition that merely supports Trusted Launch cannot take a version from a Trusted Launch VM, nor the other way round.
    if security != build.security_type:
        return [
            _failed(
                name,
                f"{where} has security type {security}, and the build makes {build.security_type}.",
                f"security type {build.security_type}",
                "Set build.security_type in the image set to the definition's, or use another image definition.",
            )
        ]
    return [
        _passed(
            name, f"{where}, {security}, {_text(found.properties.hyper_v_generation)}.", "exists and fits the build"
        )
    ]


async def _source(azure: Azure, image_set: ImageSet) -> list[Check]:
    source = image_set.source
    if isinstance(source, SessionHostSource):
        return await check_source_host(azure, image_set)
    if isinstance(source, GalleryVersionSource):
        definition = Definition(source.resource_group, source.gallery, source.image_definition)
        return [
            await _usable(
                azure, definition, source.version, image_set.location, "image source", "`source` in the image set"
            )
        ]
    listed = await azure.compute.list_marketplace_versions(
        image_set.location, source.publisher, source.offer, source.sku
    )
    called = f"{source.publisher}:{source.offer}:{source.sku}:{source.version}"
    wanted = listed[-1] if listed and source.version == "latest" else source.version
    image = MarketplaceImage(source.publisher, source.offer, source.sku, wanted)
    if wanted not in listed or await azure.compute.get_marketplace_image(image_set.location, image) is None:
        return [
            _failed(
                "image source",
                f"{called} is not in the marketplace of {image_set.location}.",
                "exists",
                "Correct `source` in the image set; `az vm image list --all -p PUBLISHER -f OFFER -o table` shows what there is.",
            )
        ]
    return [_passed("image source", f"{called} is version {wanted}.", "exists")]


async def _version(azure: Azure, image_set: ImageSet, version: str) -> list[Check]:
    gallery = image_set.gallery
    definition = Definition(gallery.resource_group, gallery.name, gallery.image_definition)
    return [await _usable(azure, definition, version, image_set.location, "image version", "the version")]


async def _usable(azure: Azure, definition: Definition, version: str, location: str, name: str, where: str) -> Check:
    """Whether a gallery version can be used in a region."""
    versions = {each.name or "": each for each in await azure.galleries.list_versions(definition)}
    if version == "latest":
        if not versions:
            return _failed(name, f"{definition} has no version.", "has one", f"Publish one, or correct {where}.")
        return _passed(name, f"latest of {len(versions)} versions of {definition}.", "has one")
    found = await azure.galleries.get_version(definition, version)
    if found is None or found.properties is None:
        known = ", ".join(sorted(versions)) or "none"
        return _failed(name, f"{definition} has no version {version} (it has: {known}).", "exists", f"Correct {where}.")
    state = replication_of(found).state(location)
    if found.properties.provisioning_state != "Succeeded" or state is None or state.state != "Completed":
        there = "is not replicated there" if state is None else f"replication there is {_text(state.state)}"
        return _failed(
            name,
            f"{definition} {version} cannot be used in {location}: it is {_text(found.properties.provisioning_state)}, and {there}.",
            f"replicated to {location}",
            f"Wait for the replication, or add {location} to the version's target regions.",
        )
    return _passed(name, f"{definition} {version} is replicated to {location}.", f"replicated to {location}")


async def _workspace(azure: Azure) -> list[Check]:
    workspace = azure.environment.log_analytics_workspace_id
    try:
        await azure.logs.query("print reachable = true", timedelta(hours=1), what="ask the workspace")
    except AzureFailure as failure:
        if failure.status != 404:
            raise
        return [
            _failed(
                "log workspace",
                f"There is no Log Analytics workspace {workspace}, or none that this identity may see.",
                "answers",
                "Correct log_analytics_workspace_id in the environment's file: it is the workspace id, not its resource id.",
            )
        ]
    return [_passed("log workspace", f"{workspace} answers.", "answers")]


def _looks_at_pools(azure: Azure, image_set: ImageSet, pools: list[Pool]) -> list[tuple[str, Look]]:
    methods = {pool.name: ring.release_method for ring in image_set.rings for pool in ring.pools}
    looks: list[tuple[str, Look]] = []
    for pool in pools:
        looks += [
            (f"host pool {pool.name}", partial(_pool, azure, image_set, pool)),
            (f"scaling plan of {pool.name}", partial(check_scaling_plan, azure, pool)),
            (f"other tools on {pool.name}", partial(check_other_tools, azure, pool)),
            (
                f"room to move users of {pool.name}",
                partial(check_moving, azure, image_set, pool, methods.get(pool.name)),
            ),
        ]
    return looks


async def _personal_pool(azure: Azure, image_set: ImageSet, pool: Pool) -> Check:
    """Only hosts that are nobody's yet can be replaced, and only one after the other: the pool is not to grow."""
    name, wanted = f"host pool {pool.name}", "hosts that are nobody's, and the strategy in_place"
    if image_set.rollout.strategy != "in_place":
        personal = "It is Personal: its hosts belong to people, and cannot be replaced by new ones beside them."
        remedy = "Set rollout.strategy to in_place, which replaces hosts that are nobody's yet; or take it out of the image set's rings."
        return _failed(name, personal, wanted, remedy)
    hosts = await azure.desktops.list_session_hosts(pool.resource_group, pool.name)
    free = sum(1 for host in hosts if not host.assigned_user)
    measured = f"It is Personal: {free} of its {len(hosts)} hosts are nobody's and are replaced; those that people own stay as they are."
    return _passed(name, measured, wanted)


async def _pool(azure: Azure, image_set: ImageSet, pool: Pool) -> list[Check]:
    name = f"host pool {pool.name}"
    found = await azure.desktops.get_host_pool(pool.resource_group, pool.name)
    if found is None:
        missing = f"There is no host pool {pool.name} in {pool.resource_group}."
        return [_failed(name, missing, "exists", f"Correct `rings` in deployments/image_sets/{image_set.name}.yaml.")]
    if found.host_pool_type == "Personal":
        return [await _personal_pool(azure, image_set, pool)]
    if found.host_pool_type != "Pooled":
        other = f"It is {_text(found.host_pool_type)}: its hosts are not made by Azure."
        return [_failed(name, other, "pooled", "Take it out of the image set's rings.")]
    if not found.max_session_limit or found.max_session_limit >= NO_SESSION_LIMIT:
        unlimited = "It has no session limit, so nobody can say how much capacity a rollout leaves."
        if found.load_balancer_type == "DepthFirst":
            unlimited += " It is depth-first: everybody who signs in is sent to one host, as long as that is not full."
        return [_failed(name, unlimited, "a session limit", "Set the max session limit of the host pool.")]
    hosts = await azure.desktops.list_session_hosts(pool.resource_group, pool.name)
    if not hosts:
        return [
            _failed(
                name,
                "It has no session hosts: there is nothing to replace.",
                "hosts",
                "Take it out of the image set's rings.",
            )
        ]
    measured = f"{len(hosts)} hosts, up to {found.max_session_limit} sessions each."
    return [_passed(name, measured, "pooled, with hosts and a session limit")]


async def _machines(azure: Azure, image_set: ImageSet, pools: list[Pool]) -> list[Machines]:
    """What a rollout of these pools adds at most at one time, were they all rolled out at once."""
    surges = await asyncio.gather(*(_surge(azure, image_set, pool) for pool in pools))
    return [
        Machines(pool.hosts.vm_size, pool.hosts.subnet_id, surge) for pool, surge in zip(pools, surges, strict=True)
    ]


async def _surge(azure: Azure, image_set: ImageSet, pool: Pool) -> int:
    try:
        hosts = await azure.desktops.list_session_hosts(pool.resource_group, pool.name)
    except AzureFailure:
        hosts = []  # the check of the pool itself tells what is wrong with it
    return image_set.rollout.surge_hosts(max(len(hosts), 1))


def _looks_at_room(azure: Azure, image_set: ImageSet, machines: list[Machines]) -> list[tuple[str, Look]]:
    per_size: Counter[str] = Counter()
    per_subnet: Counter[str] = Counter()
    for each in machines:
        per_size[each.size] += each.count
        per_subnet[each.subnet_id] += each.count
    subnets = [
        (f"subnet {_name(subnet)}", partial(_addresses, azure, subnet, count)) for subnet, count in per_subnet.items()
    ]
    return [("vCPU quota", partial(check_sizes, azure, image_set, per_size)), *subnets]


async def _addresses(azure: Azure, subnet_id: str, needed: int) -> list[Check]:
    name = f"subnet {_name(subnet_id)}"
    found = await azure.arm.subnet(subnet_id)
    if found is None:
        return [_failed(name, f"{subnet_id} does not exist.", "exists", "Correct subnet_id in the image set.")]
    properties = found["properties"]
    prefixes = properties.get("addressPrefixes") or [properties["addressPrefix"]]
    size = sum(ipaddress.ip_network(prefix).num_addresses for prefix in prefixes)
    free = size - RESERVED_ADDRESSES - len(properties.get("ipConfigurations") or [])
    measured = f"{free} addresses free, {needed} needed."
    if free < needed:
        return [
            _failed(name, measured, f"{needed} free", "Make the subnet larger, use another one, or lower max_surge.")
        ]
    return [_passed(name, measured, f"{needed} free")]


def _groups(image_set: ImageSet, pools: list[Pool]) -> dict[str, set[ScopeKind]]:
    """Which resource groups are concerned, and what as."""
    groups: dict[str, set[ScopeKind]] = {}
    for group, kind in [
        (image_set.gallery.resource_group, ScopeKind.GALLERY),
        (image_set.build.resource_group, ScopeKind.BUILD),
        *((pool.resource_group, ScopeKind.POOL) for pool in pools),
        *((pool.hosts.resource_group, ScopeKind.HOSTS) for pool in pools),
        *_more_groups(image_set),
    ]:
        groups.setdefault(group, set()).add(kind)
    return groups


def _more_groups(image_set: ImageSet) -> list[tuple[str, ScopeKind]]:
    """What a session host as the source, and a managed image, concern."""
    source, managed = image_set.source, image_set.publish.managed_image
    image = [(managed.resource_group, ScopeKind.IMAGE)] if managed else []
    if not isinstance(source, SessionHostSource):
        return image
    return [*image, (source.resource_group, ScopeKind.POOL), (source.hosts_resource_group, ScopeKind.HOSTS)]


async def _rights(azure: Azure, group: str, kinds: set[ScopeKind]) -> list[Check]:
    name = f"rights in {group}"
    if await azure.arm.resource_group(group) is None:
        return [_failed(name, f"There is no resource group {group}.", "exists", "Create it, or correct the image set.")]
    scope = f"/subscriptions/{azure.environment.subscription_id}/resourceGroups/{group}"
    grants, locks = await asyncio.gather(azure.arm.permissions(scope), azure.arm.locks(scope))
    checks = [_judge_rights(name, grants, kinds, group)]
    if locks:
        level = ", ".join(f"{lock.get('name')} ({lock.get('properties', {}).get('level')})" for lock in locks)
        remedy = "Remove the lock: it also stops signing users out, which is a deletion to Azure."
        checks.append(_failed(f"locks on {group}", f"Locked: {level}.", "no lock", remedy))
    return checks


async def _subnet_rights(azure: Azure, subnet_id: str) -> list[Check]:
    if await azure.arm.subnet(subnet_id) is None:
        return []  # the check of its addresses says that it is not there
    grants = await azure.arm.permissions(subnet_id)
    name = _name(subnet_id)
    return [_judge_rights(f"rights on subnet {name}", grants, {ScopeKind.NETWORK}, f"subnet {name} or its network")]


def _judge_rights(name: str, grants: Sequence[Permission], kinds: set[ScopeKind], where: str) -> Check:
    needed = sorted({action for kind in kinds for action in actions_needed(kind)})
    missing = [action for action in needed if not any(grant.allows(action) for grant in grants)]
    threshold = f"{len(needed)} actions allowed"
    if not missing:
        return _passed(name, f"All {len(needed)} actions are allowed.", threshold)
    remedy = (
        f"Assign the role in deployments/azure/evergold-role.json to this identity on {where}, and allow it 30 minutes."
    )
    return _failed(name, f"Not allowed: {', '.join(missing)}.", threshold, remedy)


def version_id(image_set: ImageSet, subscription_id: str, version: str) -> str:
    """The resource id of a version of the image set's image definition."""
    gallery = image_set.gallery
    return image_version_id(subscription_id, gallery.resource_group, gallery.name, gallery.image_definition, version)
