"""Checks of an image and its build: where it comes from, where it is copied to, and what its build machine can reach.

They show in preflight; `check_source` is part of the evidence too. Verdicts: `fail` where the build would do harm or cannot end well,
`warn` where it is allowed and somebody should know.

**Which build subnet can reach the domain.** A copy of a session host has its name, its identity and its membership of the domain until the
guest scripts have taken them away: it must not meet the domain, nor the host. From what Azure Resource Manager shows, a subnet counts as
isolated when its virtual network

- holds no subnet of session hosts,
- uses Azure's own DNS (custom DNS servers are, as a rule, domain controllers),
- is connected to no other network by peering, and has no `GatewaySubnet` (VPN, ExpressRoute).

What a firewall or a route further away lets through cannot be seen from there. A network that is not isolated is refused, unless the image
set says why it is right: `build.isolation_waiver`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import ListedVm, MarketplaceImage, listed
from evergold.azure.galleries import Definition
from evergold.azure.ids import ResourceId, same
from evergold.config.models import GalleryVersionSource, ImageSet, MarketplaceSource, SessionHostSource
from evergold.images.refresh import choose_host, current_refresh, template_of
from evergold.images.source import NoSourceHostError, SourceHost, capacity_without, policy_of
from evergold.images.template import is_lent, why_in_use
from evergold.rollout.model import Host, Snapshot
from evergold.rollout.observe import PoolWatch
from evergold.validation.verdicts import Check, Verdict

Json = dict[str, Any]
Look = Callable[[], Awaitable[list[Check]]]

ADVICE = (
    "Microsoft advises against images made from hosts that were in a pool, and against images of images for ever: start again from the "
    "marketplace now and then (learn.microsoft.com, “Create an Azure Virtual Desktop golden image”)."
)
DEEPEST = 10  # how far a chain of images is followed
ANYBODY = ("*", "internet", "0.0.0.0/0")
AVD_TAG = "WindowsVirtualDesktop"


def looks_at_image(azure: Azure, image_set: ImageSet) -> list[tuple[str, Look]]:
    """What preflight looks at on account of the image and its build, each with its name."""
    looks: list[tuple[str, Look]] = [
        ("image regions", partial(check_regions, azure, image_set)),
        ("guard of the build subnet", partial(check_security_group, azure, image_set)),
    ]
    if image_set.publish.managed_image is not None:
        looks.append(("managed image", partial(check_managed_image, azure, image_set)))
    if template_of(image_set):
        looks.append(("template VM", partial(check_template, azure, image_set)))
    if isinstance(image_set.source, SessionHostSource):
        looks.append(("isolation of the build subnet", partial(check_isolation, azure, image_set)))
    else:
        looks.append(("purchase plan", partial(check_terms, azure, image_set)))
    return looks


# The source


async def check_source(azure: Azure, source: str) -> Check:
    """What is to be said of an exact source, as in `Refresh.source`: a host from a pool, and images of images, are worth a warning."""
    name, threshold = "source of the image", "a marketplace image"
    host = SourceHost.parse(source)
    if host is not None:
        measured = f"A copy of session host {host.name}."
        return _check(name, "warn", measured, threshold, ADVICE, (f"session host {host.name}",))
    if not source.startswith("/"):
        return _check(name, "pass", f"The marketplace: {source}.", threshold)
    deep, root = await _chain(azure, source)
    measured = f"An image of {deep} image{'s' if deep > 1 else ''}{f', the first from {root}' if root else ''}."
    return _check(name, "warn", measured, threshold, ADVICE, (f"{deep} images deep",))


async def _chain(azure: Azure, source: str) -> tuple[int, str]:
    """How many of our images stand one upon the other below this source, and what the first was made from, as far as they tell."""
    deep = 0
    while source.startswith("/") and SourceHost.parse(source) is None and deep < DEEPEST:
        deep += 1
        version = ResourceId.parse(source)
        definition = Definition(version.resource_group, version.names[0], version.names[1])
        found = await azure.galleries.get_version(definition, version.name, replication=False)
        source = (found.tags or {}).get(tags.SOURCE, "") if found is not None else ""
    return deep, source


async def check_source_host(azure: Azure, image_set: ImageSet) -> list[Check]:
    """Whether a session host can be copied: it is there, fits the build, the pool can do without it; and whether it is backed up."""
    source, name = image_set.source, "image source"
    assert isinstance(source, SessionHostSource)
    pool = await azure.desktops.get_host_pool(source.resource_group, source.pool)
    if pool is None:
        missing = f"There is no host pool {source.pool} in {source.resource_group}."
        return [_check(name, "fail", missing, "exists", "Correct `source` in the image set.")]
    try:
        chosen = await choose_host(azure, image_set, source)
    except NoSourceHostError as problem:
        measured, _, remedy = str(problem).partition(" What to do: ")
        return [_check(name, "fail", measured, "a host that can be copied", remedy)]
    look = await PoolWatch(azure, source.resource_group, source.pool, source.hosts_resource_group).look()
    host = next(each for each in look.hosts if same(each.vm_resource_id, chosen.resource_id))
    unfit = await _why_unfit(azure, image_set, chosen)
    if unfit:
        return [_check(name, "fail", unfit, "fits the build", "Name another source.host, or correct the image set.")]
    warning = _check(name, "warn", f"Now it would be {host.name} of {source.pool}.", "a marketplace image", ADVICE)
    return [warning, _spare(azure, image_set, source, look, host), await check_backup(azure, image_set, chosen)]


async def _why_unfit(azure: Azure, image_set: ImageSet, chosen: SourceHost) -> str:
    """Why the host's disk cannot become this image; "" where it can."""
    vm = await azure.compute.get_vm(ResourceId.parse(chosen.resource_id).resource_group, chosen.name)
    properties = vm.properties if vm is not None else None
    if vm is None or properties is None:
        return f"The machine of {chosen.name} is not there."
    if vm.location != image_set.location:
        return f"{chosen.name} is in {vm.location}, and the image is built in {image_set.location}."
    security = properties.security_profile.security_type if properties.security_profile else None
    has, wants = _text(security) or "Standard", image_set.build.security_type
    return f"{chosen.name} has security type {has}, and the build makes {wants}." if has != wants else ""


def _spare(azure: Azure, image_set: ImageSet, source: SessionHostSource, look: Snapshot, host: Host) -> Check:
    name = f"capacity of {source.pool} without {host.name}"
    policy = policy_of(image_set, source)
    without, floor = capacity_without(look, host.name, policy, azure.clock.now())
    size = sum(each.registered and each.has_vm for each in look.hosts)
    whole, limit = size * look.pool.max_session_limit, look.pool.max_session_limit
    threshold = f"{floor} session slots"
    if without >= floor or not host.allow_new_session:
        return _check(name, "pass", f"{without} session slots open.", threshold)
    remedy = (
        "Put a host into drain mode when few people work and name it as source.host, or lower capacity_floor_percent."
    )
    # A pool that is too small for its floor will never do without a host; a larger one may, once all its hosts serve.
    if whole - limit < floor:
        return _check(
            name, "fail", f"{without} session slots open, and never more than {whole - limit}.", threshold, remedy
        )
    return _check(
        name, "warn", f"{without} session slots open: the copy waits until there are more.", threshold, remedy
    )


async def check_backup(azure: Azure, image_set: ImageSet, chosen: SourceHost) -> Check:
    """Whether the source host is backed up. Never a failure: not everybody may ask, and not everybody backs hosts up."""
    name, threshold = f"backup of {chosen.name}", "known"
    try:
        status = await azure.arm.backup_status(image_set.location, chosen.resource_id)
    except AzureFailure as failure:
        measured = f"Nobody can say whether it is backed up: {failure.code}: {failure.message}"
        return _check(name, "warn", measured, threshold, "Look at the machine's Backup page in the portal.")
    if status.get("protectionStatus") != "Protected":
        return _check(
            name,
            "pass",
            "It is not backed up: an image that is in two regions needs no backup of its hosts.",
            threshold,
        )
    vault = str(status.get("vaultId", "")).rpartition("/")[2] or "a vault"
    remedy = "Add new hosts to the backup policy, or stop the protection: it ends with a host, and its image is kept in the gallery."
    return _check(
        name, "warn", f"It is backed up in {vault}. Hosts that replace it are not, by themselves.", threshold, remedy
    )


async def check_terms(azure: Azure, image_set: ImageSet) -> list[Check]:
    """Where the source is sold: the subscription has accepted the terms of its plan. Says nothing of images that are not sold."""
    plan = await _plan(azure, image_set)
    if plan is None:
        return []
    publisher, product, wanted = plan
    name, called = "purchase plan", f"{publisher}:{product}:{wanted}"
    remedy = f"Have whoever may buy accept them: az vm image terms accept --publisher {publisher} --offer {product} --plan {wanted}"
    try:
        terms = await azure.arm.marketplace_terms(publisher, product, wanted)
    except AzureFailure as failure:
        measured = f"Nobody can say whether the terms of {called} are accepted: {failure.code}: {failure.message}"
        return [_check(name, "warn", measured, "accepted", remedy)]
    if terms is not None and (terms.get("properties") or {}).get("accepted"):
        return [_check(name, "pass", f"The terms of {called} are accepted.", "accepted")]
    return [_check(name, "fail", f"The terms of {called} are not accepted in this subscription.", "accepted", remedy)]


async def _plan(azure: Azure, image_set: ImageSet) -> tuple[str, str, str] | None:
    source = image_set.source
    if isinstance(source, GalleryVersionSource):
        definition = Definition(source.resource_group, source.gallery, source.image_definition)
        found = await azure.galleries.get_definition(definition)
        bought = found.properties.purchase_plan if found is not None and found.properties else None
        return _whole(bought.publisher, bought.product, bought.name) if bought else None
    if not isinstance(source, MarketplaceSource):
        return None
    version = source.version
    if version == "latest":
        listed = await azure.compute.list_marketplace_versions(
            image_set.location, source.publisher, source.offer, source.sku
        )
        version = listed[-1] if listed else ""
    image = MarketplaceImage(source.publisher, source.offer, source.sku, version)
    offered = await azure.compute.get_marketplace_image(image_set.location, image) if version else None
    plan = offered.properties.plan if offered is not None and offered.properties else None
    return _whole(plan.publisher, plan.product, plan.name) if plan else None


def _whole(publisher: str | None, product: str | None, name: str | None) -> tuple[str, str, str] | None:
    return (publisher, product, name) if publisher and product and name else None


async def check_template(azure: Azure, image_set: ImageSet) -> list[Check]:
    """The template VM is there, free, of the build's security type, and on the build's subnet."""
    group, name = image_set.build.resource_group, template_of(image_set)
    check, threshold = "template VM", "free, and fits the build"
    vm = await azure.compute.get_vm(group, name)
    if vm is None or vm.properties is None:
        missing = f"There is no VM {name} in {group}."
        return [_check(check, "fail", missing, threshold, "Make it, or correct source.template_vm.")]
    refresh = await current_refresh(azure, image_set)
    used = "" if refresh is not None and is_lent(vm, refresh) else why_in_use(vm)
    if used:
        return [_check(check, "fail", f"{name}: {used}", threshold, "Deallocate it, or wait until it is free.")]
    security = vm.properties.security_profile.security_type if vm.properties.security_profile else None
    if (_text(security) or "Standard") != image_set.build.security_type:
        text = (
            f"{name} has security type {_text(security) or 'Standard'}, and the build {image_set.build.security_type}."
        )
        return [
            _check(check, "fail", text, threshold, "Use a template of the same type, or correct build.security_type.")
        ]
    subnets = await _subnets_of(azure, [listed(vm)])
    if any(not same(each, image_set.build.subnet_id) for each in subnets):
        text = f"{name} is not on the build's subnet, but on {', '.join(sorted(subnets))}."
        return [
            _check(
                check,
                "fail",
                text,
                threshold,
                "Move it there, or correct build.subnet_id: isolation is judged by that.",
            )
        ]
    return [_check(check, "pass", f"{name} is switched off, and on the build's subnet.", threshold)]


# Where it goes


async def check_managed_image(azure: Azure, image_set: ImageSet) -> list[Check]:
    """A managed image can be made of the build machine: Azure makes none of a Trusted Launch one."""
    name, threshold = "managed image", "a machine of security type Standard"
    wanted = image_set.publish.managed_image
    if image_set.build.security_type != "Standard":
        measured = f"publish.managed_image asks for one, and the build makes a {image_set.build.security_type} machine."
        remedy = (
            "Set build.security_type: Standard and publish to an image definition of that type; or leave managed_image out: Windows 365 "
            "and session hosts then need image sets of their own."
        )
        return [_check(name, "fail", measured, threshold, remedy)]
    if template_of(image_set):
        measured = (
            "publish.managed_image asks for one, and a template VM is never marked as generalised, which that needs."
        )
        return [_check(name, "fail", measured, threshold, "Set source.disk: new_vm, or leave managed_image out.")]
    if wanted is not None and await azure.arm.resource_group(wanted.resource_group) is None:
        missing = f"There is no resource group {wanted.resource_group}."
        return [_check(name, "fail", missing, "exists", "Create it, or correct publish.managed_image.resource_group.")]
    return [_check(name, "pass", "One is made of every version.", threshold)]


# Disaster recovery


async def check_regions(azure: Azure, image_set: ImageSet) -> list[Check]:
    """The image is where the pools are, and outlives the loss of a zone and of a region."""
    regions = [region.name for region in image_set.publish.regions]
    hosts = {pool.hosts.resource_group for ring in image_set.rings for pool in ring.pools}
    present = {vm.location for group in sorted(hosts) for vm in await azure.compute.list_vms(group)}
    missing = sorted(present - set(regions))
    zones = any(pool.hosts.zones for ring in image_set.rings for pool in ring.pools)
    kind, name = image_set.publish.storage_account_type, "image regions"
    threshold = "where the hosts are, in two regions"
    measured = f"{', '.join(regions)}, on {kind}."
    if missing:
        text = f"There are hosts in {', '.join(missing)}, and the image goes to {measured}"
        return [_check(name, "warn", text, threshold, "Add the regions to publish.regions.")]
    if len(regions) == 1:
        text = f"{measured} If {regions[0]} is lost, no host can be made anywhere."
        return [_check(name, "warn", text, threshold, "Add a second region to publish.regions.")]
    if zones and kind != "Standard_ZRS":
        text = f"{measured} Hosts are spread over zones, and the image is kept in one."
        return [_check(name, "warn", text, threshold, "Set publish.storage_account_type to Standard_ZRS.")]
    return [_check(name, "pass", measured, threshold)]


# Networking


async def check_security_group(azure: Azure, image_set: ImageSet) -> list[Check]:
    """The build's subnet has a network security group, which lets nobody in from the internet."""
    name, threshold = "guard of the build subnet", "a security group that lets nobody in from the internet"
    subnet = await azure.arm.subnet(image_set.build.subnet_id)
    if subnet is None:
        return []  # preflight says that it does not exist
    group_id = (subnet["properties"].get("networkSecurityGroup") or {}).get("id")
    if not group_id:
        remedy = "Give the subnet a network security group; its default rules are enough."
        return [_check(name, "warn", "It has no network security group.", threshold, remedy)]
    group = await azure.arm.security_group(group_id)
    rules = [
        rule["properties"] | {"name": rule["name"]}
        for rule in (group or {}).get("properties", {}).get("securityRules", [])
    ]
    called = ResourceId.parse(group_id).name
    wide = [rule["name"] for rule in rules if _lets_in(rule)]
    if wide:
        text = f"{called} lets the internet in: {', '.join(wide)}."
        return [_check(name, "warn", text, threshold, "Remove the rules: connect through Bastion where a person must.")]
    if isinstance(image_set.source, SessionHostSource) and not any(_keeps_from_avd(rule) for rule in rules):
        text = f"{called} lets the copy's AVD agent reach the service under the host's identity, until the agent is removed."
        remedy = f"Add a rule to {called} that denies outbound traffic to the service tag {AVD_TAG}."
        return [_check(name, "warn", text, threshold, remedy)]
    return [_check(name, "pass", f"{called} lets nobody in from the internet.", threshold)]


def _lets_in(rule: Json) -> bool:
    sources = [rule.get("sourceAddressPrefix"), *(rule.get("sourceAddressPrefixes") or [])]
    inbound = rule.get("direction") == "Inbound" and rule.get("access") == "Allow"
    return inbound and any(str(source).lower() in ANYBODY for source in sources)


def _keeps_from_avd(rule: Json) -> bool:
    outbound = rule.get("direction") == "Outbound" and rule.get("access") == "Deny"
    return outbound and str(rule.get("destinationAddressPrefix")).lower() == AVD_TAG.lower()


async def check_isolation(azure: Azure, image_set: ImageSet) -> list[Check]:
    """The build's subnet cannot reach the domain or the hosts: by the rule at the top of this module."""
    name, threshold = "isolation of the build subnet", "apart from hosts, domain and other networks"
    subnet = ResourceId.parse(image_set.build.subnet_id)
    network_id = str(
        ResourceId(subnet.subscription, subnet.resource_group, "Microsoft.Network/virtualNetworks", subnet.names[:1])
    )
    network = await azure.arm.virtual_network(network_id)
    if network is None:
        return [_check(name, "fail", f"{network_id} does not exist.", threshold, "Correct build.subnet_id.")]
    ways = _ways_out(network, network_id, await _host_subnets(azure, image_set))
    if not ways:
        return [_check(name, "pass", f"{subnet.names[0]} has no way to hosts or domain that Azure shows.", threshold)]
    measured = f"{subnet.names[0]} is not isolated: {'; '.join(ways)}."
    if image_set.build.isolation_waiver:
        return [_check(name, "warn", f"{measured} Waived: {image_set.build.isolation_waiver}", threshold)]
    remedy = (
        "Build in a virtual network of its own, with a NAT gateway as its way to the internet; or say in build.isolation_waiver why a copy "
        "of a session host can do no harm there."
    )
    return [_check(name, "fail", measured, threshold, remedy)]


def _ways_out(network: Json, network_id: str, host_subnets: set[str]) -> list[str]:
    """The ways from a virtual network to hosts or domain, in words."""
    properties = network.get("properties") or {}
    ways = []
    shared = sorted(ResourceId.parse(each).name for each in host_subnets if _is_within(each, network_id))
    if shared:
        ways.append(f"session hosts are in it ({', '.join(shared)})")
    if servers := (properties.get("dhcpOptions") or {}).get("dnsServers"):
        ways.append(f"it uses DNS servers of its own ({', '.join(servers)})")
    peerings = [each for each in properties.get("virtualNetworkPeerings") or [] if _is_connected(each)]
    if peerings:
        remote = [str(each["properties"]["remoteVirtualNetwork"]["id"]).rpartition("/")[2] for each in peerings]
        ways.append(f"it is peered with {', '.join(remote)}")
    if any(str(each.get("name")).lower() == "gatewaysubnet" for each in properties.get("subnets") or []):
        ways.append("it has a gateway to other networks")
    return ways


def _is_within(subnet_id: str, network_id: str) -> bool:
    return same(subnet_id.lower().partition("/subnets/")[0], network_id.lower())


def _is_connected(peering: Json) -> bool:
    properties = peering.get("properties") or {}
    return properties.get("peeringState") == "Connected" and bool(properties.get("allowVirtualNetworkAccess", True))


async def _host_subnets(azure: Azure, image_set: ImageSet) -> set[str]:
    """The subnets of the image set's pools, and those in which the source pool's hosts are now."""
    subnets = {pool.hosts.subnet_id for ring in image_set.rings for pool in ring.pools}
    source = image_set.source
    if not isinstance(source, SessionHostSource):
        return subnets
    return subnets | await _subnets_of(azure, await azure.compute.list_vms(source.hosts_resource_group))


async def _subnets_of(azure: Azure, vms: list[ListedVm]) -> set[str]:
    """The subnets that these machines have network cards in."""
    subnets: set[str] = set()
    for vm in vms:
        for card in vm.network_cards:
            found = await azure.arm.network_card(card)
            addresses = ((found or {}).get("properties") or {}).get("ipConfigurations") or []
            subnets |= {each["properties"]["subnet"]["id"] for each in addresses if each["properties"].get("subnet")}
    return subnets


# Parts


def _check(
    name: str, verdict: Verdict, measured: str, threshold: str, remedy: str = "", facts: tuple[str, ...] = ()
) -> Check:
    return Check(name=name, verdict=verdict, measured=measured, threshold=threshold, remedy=remedy, facts=facts)


def _text(value: object) -> str:
    return str(getattr(value, "value", value) or "")
