"""Static addresses of hosts that are replaced in place: the successor has the network card of the host that went, and so its address.

Azure makes no card with a given address together with a VM, so the card itself is kept. It outlives its VM where the VM's reference to
it says `deleteOption: Detach`, and the next VM names it. Promises: a card with a static address is never deleted here, and no VM of
such a host is deleted before Azure shows that its card will stay; nobody takes a card that another VM has; a new host that is to have
a card is never made with another. A card with a dynamic address goes with its VM.

Which card waits for which host stands on the host pool, as a tag for each (`tags.CARD`), written together with the note of the host's
name, before its VM is deleted. It does not stand on the card: that is somebody's own, may have other tools' tags, and is read by its id
where a list of cards could be cut short. The tag goes when the successor is seen to stand.

The card of a host that failed goes to the next one that is tried, under whatever name: the address is the pool's, not the machine's.

Sources: what becomes of a VM's cards, and that it can be changed later: learn.microsoft.com/azure/virtual-machines/delete; that a PATCH
has to send the whole list: learn.microsoft.com/previous-versions/azure/virtual-machines/put-calls-create-or-update; what Azure says of
a card that another VM has or is to have: `evergold.azure.errors`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.mgmt.compute.models import NetworkInterfaceReference, VirtualMachine
from azure.mgmt.desktopvirtualization.models import HostPool

from evergold import tags
from evergold.azure import AzureFailure
from evergold.azure.arm import Json
from evergold.azure.ids import ResourceId, same, vm_id
from evergold.rollout.deferred import Deferred
from evergold.rollout.frozen import lacking
from evergold.rollout.model import Kind
from evergold.rollout.observe import PoolWatch
from evergold.rollout.plan import plan

if TYPE_CHECKING:
    from evergold.rollout.act import Place

log = logging.getLogger("evergold.rollout")

CARDS = "Microsoft.Network/networkInterfaces"
MOST_TAGS = 42  # of Azure's 50 on a pool: the rest is for what else a rollout notes there


@dataclass(frozen=True)
class Kept:
    """A card that waits for a host, or did: `host` and `refresh` say for which, and who noted it; `card` is its name."""

    host: str
    refresh: str
    card: str


def references_of(vm: VirtualMachine) -> list[NetworkInterfaceReference]:
    """A VM's network cards, as it refers to them."""
    profile = vm.properties.network_profile if vm.properties else None
    return list((profile.network_interfaces if profile else None) or [])


def outlives(reference: NetworkInterfaceReference) -> bool:
    """Whether a card stays when its VM is deleted."""
    return reference.properties is None or reference.properties.delete_option != "Delete"


def addresses_of(card: Json) -> list[Json]:
    """The properties of each of a card's addresses."""
    return [each.get("properties") or {} for each in (card.get("properties") or {}).get("ipConfigurations") or []]


def is_static(card: Json) -> bool:
    """Whether somebody has given a card its address, and so relies on it."""
    return any(each.get("privateIPAllocationMethod") == "Static" for each in addresses_of(card))


def kept_on(pool: HostPool | None) -> dict[str, Kept]:
    """The cards that are noted on a pool, by the name of the host that each waits for, in lower case."""
    found = {}
    for tag, value in ((pool.tags if pool is not None else None) or {}).items():
        refresh, _, card = value.partition("|")
        if tag.casefold().startswith(tags.CARD) and card:
            host = tag[len(tags.CARD) :]
            found[host.casefold()] = Kept(host, refresh, card)
    return found


def card_tag(refresh: str, host: str, card: str) -> dict[str, str]:
    """The tag that says which card waits for a host; none where it has none to wait for it."""
    return {tags.CARD + host: f"{refresh}|{card}"} if card else {}


async def card_to_keep(place: Place, name: str) -> str:
    """The name of the card that a host leaves which is about to be deleted; "" where it goes with its VM.

    Raises Deferred until Azure shows that it will stay, having asked for that; and where nobody can say whether it has to.
    """
    if place.policy.strategy != "in_place":
        return ""
    vm = await place.azure.compute.get_vm(place.hosts_group, name, instance_view=False)
    references = references_of(vm) if vm is not None else []
    cards = [await place.azure.arm.network_card(each.id or "") for each in references]
    if None in cards:
        raise Deferred(
            f"{name}: Azure does not show its network card, so that nobody can say whether it has to be kept"
        )
    if vm is None or not any(is_static(card) for card in cards if card is not None):
        return ""
    if len(references) > 1:
        raise Deferred(
            f"{name}: it has {len(references)} network cards by now, and its successor can have but one of them"
        )
    if not outlives(references[0]):
        await place.azure.compute.begin_keep_network_cards(place.hosts_group, name)
        raise Deferred(
            f"{name}: its address is static, so its network card is to outlive it; it goes when Azure shows that"
        )
    if vm.properties is not None and vm.properties.provisioning_state == "Updating":
        raise Deferred(f"{name}: its network card is to outlive it, and Azure is not through with that")
    return (references[0].id or "").rpartition("/")[2]


async def with_address(place: Place, name: str, make: Callable[[str], Awaitable[bool]]) -> bool:
    """Makes a host with the card that waits for it, given to `make` by its id; "" where it has a new one.

    A host that takes nobody's name and has nobody's card is made only if a second look asks for it too, and no host that it lacks is
    found by its name: a list that was cut short may lack hosts, and one that is made in the place of a host that stands would leave that
    one's address without a host.
    Raises Deferred while a VM that is going has the card, AzureFailure where the card is gone.
    """
    if place.policy.strategy != "in_place" or place.target.canary_only:
        return await make("")
    pool = await _pool(place)
    own, awaited = kept_on(pool).get(name.casefold()), _is_awaited(name, pool, place.target.refresh)
    if awaited:
        return await make(await _free_id(place, own, name) if own is not None else "")
    # One after the other: what is given to this host is not to be had by the next, which is made at the same time.
    async with place.counting:
        card = await _claimed_id(place, name)
        if not card and not await _is_asked_for_again(place, name):
            raise Deferred(f"{name}: a second look does not ask for it")
        return await make(card)


async def _is_asked_for_again(place: Place, name: str) -> bool:
    """Whether a fresh look at the pool makes the planner ask for a host of this name, and lacks none that stands under a frozen name."""
    pool = place.pool
    snapshot = await PoolWatch(place.azure, pool.resource_group, pool.name, place.hosts_group).look()
    again = plan(snapshot, place.target, place.policy, place.azure.clock.now())
    if not any(action.kind is Kind.CREATE and action.host == name for action in again.actions):
        return False
    return not any([await _stands(place, each) for each in lacking(snapshot, place.target)])


async def _stands(place: Place, name: str) -> bool:
    """Whether the pool has a host of this name, asked for by name: a list may lack it."""
    vm = await place.azure.compute.get_vm(place.hosts_group, name, instance_view=False)
    if vm is None or same((vm.tags or {}).get(tags.POOL), str(place.pool_id)):
        return vm is not None
    return await place.azure.desktops.get_session_host(place.pool.resource_group, place.pool.name, name) is not None


async def _claimed_id(place: Place, name: str) -> str:
    """The id of a card that no host waits for any more, noted for this one; "" where there is none.

    Raises Deferred where a host that failed has it yet.
    """
    pool, going = await _pool(place), ""
    cards, refresh = kept_on(pool), place.target.refresh
    if own := cards.get(name.casefold()):
        return await _free_id(place, own, name)
    for each in sorted(cards.values(), key=lambda kept: kept.host.casefold()):
        if each.refresh != refresh or _is_awaited(each.host, pool, refresh):
            continue
        failed = each.host.casefold() in _names(pool, tags.FAILURES, refresh)
        user = _user_of(await _card(place, each))
        if user:
            going = each.host if failed and same(user, _vm_id(place, each.host)) else going
        elif failed or await place.azure.compute.get_vm(place.hosts_group, each.host, instance_view=False) is None:
            group, pool_name, tag = place.pool.resource_group, place.pool.name, (tags.CARD + each.host,)
            await place.azure.desktops.update_host_pool_tags(group, pool_name, card_tag(refresh, name, each.card), tag)
            return _card_id(place, each)
    if going:
        raise Deferred(f"{name}: it is to have the address of {going}, which is not gone yet")
    return ""


async def _free_id(place: Place, kept: Kept, name: str) -> str:
    """The id of a card that waits for a host of this name. Raises Deferred while another VM has it."""
    user = _user_of(await _card(place, kept))
    if user and not same(user, _vm_id(place, name)):
        raise Deferred(f"{name}: its network card {kept.card} is on {user.rpartition('/')[2]} yet")
    return _card_id(place, kept)


async def _card(place: Place, kept: Kept) -> Json:
    found = await place.azure.arm.network_card(_card_id(place, kept))
    if found is None:
        raise AzureFailure(
            "give a host its address back",
            kept.host,
            "NetworkCardGone",
            f"The network card {kept.card}, which has it, was deleted by somebody.",
            retryable=False,
            remedy=f"Make a network card of that name with the address that {kept.host} had; or remove the tag {tags.CARD}{kept.host} from "
            f"the host pool {place.pool.name}, and the host has a new address. Then start the rollout again.",
        )
    return found


async def free_cards(place: Place) -> str:
    """What is to be said of cards that wait while nobody makes their hosts, as a sentence for an operator; "" where none do."""
    if place.policy.strategy != "in_place" or place.target.canary_only:
        return ""
    try:
        return _told_of(await _free(place))
    except AzureFailure as failure:
        log.warning("%s: nobody can say whether network cards wait for hosts: %s", place.pool.name, failure)
        return ""


def _told_of(free: Sequence[tuple[Kept, str]]) -> str:
    """The same of these cards, each with its address."""
    if not free:
        return ""
    listed = ", ".join(sorted(f"{each.card} ({address}, of {each.host})" for each, address in free))
    return (
        f"Network cards with a static address wait for the hosts that are to have them: {listed}. They are kept, and no VM has them. "
        "What to do: leave them, and the rollout that goes on gives them to its hosts; delete one only if nobody needs its address."
    )


async def forget_used(place: Place) -> None:
    """For when a rollout is done: what says which card waits for which host is taken away again, and a card that is left is told."""
    if place.policy.strategy != "in_place" or place.target.canary_only or not (cards := kept_on(await _pool(place))):
        return
    free = await _free(place)
    waiting = {each.host for each, _ in free}
    used = tuple(tags.CARD + each.host for each in cards.values() if each.host not in waiting)
    await place.azure.desktops.update_host_pool_tags(place.pool.resource_group, place.pool.name, {}, used)
    if free:
        log.warning("%s: %s", place.pool.name, _told_of(free))


async def _free(place: Place) -> list[tuple[Kept, str]]:
    """The cards noted on the pool that no VM has, each with its address."""
    free = []
    for each in kept_on(await _pool(place)).values():
        card = await place.azure.arm.network_card(_card_id(place, each))
        if card is not None and not _user_of(card):
            free.append((each, ", ".join(str(one.get("privateIPAddress", "")) for one in addresses_of(card))))
    return free


def used_tags(pool: HostPool | None, hosts: Iterable[str]) -> tuple[str, ...]:
    """The tags on a pool that say which cards these hosts have."""
    named = {host.casefold() for host in hosts}
    return tuple(tags.CARD + each.host for host, each in kept_on(pool).items() if host in named)


def _is_awaited(host: str, pool: HostPool | None, refresh: str) -> bool:
    """Whether the successor of a host that went is yet to come, under its name."""
    vacated, failed = _names(pool, tags.VACATED, refresh), _names(pool, tags.FAILURES, refresh)
    return host.casefold() in vacated and host.casefold() not in failed


def _names(pool: HostPool | None, tag: str, refresh: str) -> Sequence[str]:
    """The names that a tag of the pool lists for this refresh, in lower case."""
    return [name.casefold() for name in tags.names_of(pool.tags if pool is not None else None, tag, refresh)]


def _user_of(card: Json) -> str:
    """The id of the VM that has a card; "" where none has."""
    return str(((card.get("properties") or {}).get("virtualMachine") or {}).get("id") or "")


def _card_id(place: Place, kept: Kept) -> str:
    """The card's resource id: it is where the hosts' VMs are (see `evergold.rollout.in_place`)."""
    return str(ResourceId(str(place.azure.environment.subscription_id), place.hosts_group, CARDS, (kept.card,)))


def _vm_id(place: Place, name: str) -> str:
    return vm_id(str(place.azure.environment.subscription_id), place.hosts_group, name)


async def _pool(place: Place) -> HostPool | None:
    return await place.azure.desktops.get_host_pool(place.pool.resource_group, place.pool.name)
