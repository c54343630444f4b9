"""Acting: one function for each kind of action that the planner may ask for.

The planner decided on what was seen a moment ago. Whatever cannot be undone (a sign-out, a removal, a power-off, a deletion) is
therefore looked at once more, here, just before it is done, and left alone when it is no longer as the planner saw it: `Deferred`
says why, and the next tick plans again. Every action can be done twice with the effect of once, and a process that dies between
two of its calls leaves something that the next observation shows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import PurchasePlan, SeenTags
from evergold.azure.desktops import short_name
from evergold.azure.ids import ResourceId, same
from evergold.config.models import ImageSet, Pool
from evergold.images.guest import StepFailure
from evergold.rollout.addresses import MOST_TAGS, card_tag, card_to_keep, used_tags, with_address
from evergold.rollout.arrive import bring_back_host, host_spec
from evergold.rollout.deferred import Deferred
from evergold.rollout.devices import forget_devices
from evergold.rollout.hosts import is_empty, was_reopened
from evergold.rollout.model import Action, Host, Kind, Policy, Target
from evergold.rollout.quiet import Schedule
from evergold.validation.agent import check_agent
from evergold.validation.checks import check_new_host
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check

log = logging.getLogger("evergold.rollout")

MESSAGE_TITLE = "Your desktop is about to be updated"
# Refusals of a creation after which another may succeed, later or under another name; that of a disk whose name is taken is quoted in
# github.com/hashicorp/terraform-provider-azurerm/issues/15513.
PASSING = {
    "AllocationFailed": "Azure has no room for it",
    "ZonalAllocationFailed": "Azure has no room for it",
    "ConflictingUserInput": "a disk of its name is there already",
    "NicInUse": "a network card of its name is there already",
}
# What a host that is brought back no longer is.
PAST = (
    *(
        tags.REPLACE,
        tags.WAS_DRAINED,
        tags.DRAINED_AT,
        tags.WARNED_AT,
        tags.WARNED_SESSIONS,
        tags.EMPTY_SINCE,
        tags.CHECKED_AT,
        tags.UNWELL_AT,
    ),
    *(tags.RETIRED_AT, tags.RETAIN_UNTIL, tags.WARNED_USERS, tags.MOVED_USERS),
)


@dataclass(frozen=True)
class Place:
    """Where a rollout acts: the pool, and what its image set says about it.

    `exclusion_tag` keeps the pool's scaling plan away from new hosts until they are opened; "" where the plan has none. `purchase_plan` is
    what the image is sold under, for new machines to name; None where it is not sold. With `counting`,
    failures are counted one after the other: hosts that fail at the same time are written into one tag. `has_lease` tells whether the pool
    is still this rollout's.
    """

    azure: Azure
    image_set: ImageSet
    pool: Pool
    policy: Policy
    target: Target
    exclusion_tag: str = ""
    purchase_plan: PurchasePlan | None = None
    counting: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)
    has_lease: Callable[[], bool] = field(default=lambda: True, compare=False)

    @property
    def pool_id(self) -> ResourceId:
        """The host pool's resource id."""
        return ResourceId(
            str(self.azure.environment.subscription_id),
            self.pool.resource_group,
            "Microsoft.DesktopVirtualization/hostPools",
            (self.pool.name,),
        )

    @property
    def hosts_group(self) -> str:
        """The resource group of the hosts' VMs."""
        return self.pool.hosts.resource_group

    def aiming_at(self, target: Target) -> "Place":
        """The same place, with what is known of the target by now."""
        return replace(self, target=target)

    def quiet_by(self, schedules: tuple[Schedule, ...]) -> "Place":
        """The same place, with the schedules of its suspended scaling plan as they are now."""
        return replace(self, policy=replace(self.policy, schedules=schedules))


Act = Callable[[Place, Host, Action], Awaitable[None]]


async def create(place: Place, action: Action) -> None:
    """A new host begins to exist, under a name that nothing else has.

    That Azure has no room for it, or that a disk or network card of its name was left behind, counts as a host that failed.
    """
    excluded = {place.exclusion_tag: place.target.refresh} if place.exclusion_tag else {}
    target = place.target
    spec = host_spec(place.azure, place.image_set, place.pool, action.host, target.image_version_id, target.refresh)
    spec = replace(spec, tags={**spec.tags, **excluded}, plan=place.purchase_plan)
    try:
        made = await with_address(
            place, action.host, lambda card: place.azure.compute.begin_create_vm(replace(spec, network_card=card))
        )
    except AzureFailure as failure:
        if failure.code not in PASSING:
            raise
        # Nothing stands that a look could show: without a note of it, it would be asked for again at every tick.
        number = await _count_failure(place, action.host, f"{PASSING[failure.code]} ({failure.code})")
        raise Deferred(f"{action.host}: failure number {number} of this rollout: {failure}") from failure
    if not made:
        raise Deferred(f"{action.host}: a virtual machine of that name is there already")
    log.info("%s: being created: %s", action.host, action.reason)


async def check(place: Place, host: Host, action: Action) -> None:
    """Runs the image set's checks on a new host. Passed, it is marked so; otherwise it is tried again at the next tick."""
    subject = Subject(place.pool, host.name)
    checks: Sequence[Check]
    # What a roll back goes to has served already; that it lacks the latest updates is no reason to keep users waiting.
    if place.target.rollback:
        checks = (await check_agent(place.azure, place.image_set, subject),)
    else:
        updates_too = action.kind is Kind.CHECK_CANARY
        checks = await check_new_host(place.azure, place.image_set, subject, updates_too=updates_too)
    bad = [each for each in checks if each.verdict in ("fail", "unknown")]
    if bad:
        raise Deferred(
            f"{host.name}: not ready to serve: " + "; ".join(f"{each.name}: {each.measured}" for each in bad)
        )
    if not place.has_lease():  # checks go on beside the loop, which may be waiting for Azure meanwhile
        raise Deferred(f"{host.name}: checked, and the pool may be another rollout's by now")
    await tag_host(place, host, {tags.CHECKED_AT: tags.format_time(place.azure.clock.now())})
    log.info("%s: passed its %d checks", host.name, len(checks))


async def shut(place: Place, host: Host, action: Action) -> None:
    """Drain mode on, on a new host. That it should be so can be told from its tags; a next look shows whether it is."""
    await _set_open(place, host, False)
    log.info("%s: drain mode on: %s", host.name, action.reason)


async def drain(place: Place, host: Host, action: Action) -> None:
    """Drain mode on, on an outdated host, and read back. Noted before, with the time, for whom, and whether anybody was on it.

    So what was drained by us can always be told, and put back. One that somebody opened since it was frozen is to be open again
    afterwards, whatever it was before. One that was drained here before, and opened by other hands since, is drained a second time and
    never a third: that is noted last, so that a write that was lost is not taken for somebody's will.
    """
    reopened = was_reopened(host, place.azure.clock.now())
    opened = host.allow_new_session and tags.WAS_DRAINED in host.tags
    if tags.DRAINED_AT not in host.tags or opened:
        noted = (tags.DRAINED_AT, tags.EMPTY_SINCE) if is_empty(host) else (tags.DRAINED_AT,)
        marks = marks_of(place, host) | dict.fromkeys(noted, tags.format_time(place.azure.clock.now()))
        await tag_host(place, host, marks, remove=(tags.WAS_DRAINED,) if opened else ())
    await _set_open(place, host, False)
    await _read_back(place, host, False)
    log.info("%s: drain mode on: %s", host.name, action.reason)
    if reopened:
        log.warning(
            "%s: somebody had taken it out of drain mode; it was drained once more, and will not be again", host.name
        )
        await tag_host(place, host, {tags.REOPENED_AT: tags.format_time(place.azure.clock.now())})


async def undrain(place: Place, host: Host, action: Action) -> None:
    """Drain mode off again on an outdated host, and the notes of it removed: first the one that would make this look like others' doing."""
    if tags.REOPENED_AT in host.tags:
        await tag_host(place, host, {}, remove=(tags.REOPENED_AT,))
    await _set_open(place, host, True)
    await _read_back(place, host, True)
    noted = (tags.DRAINED_AT, tags.WARNED_AT, tags.WARNED_SESSIONS, tags.REMINDED_AT, tags.EMPTY_SINCE)
    await tag_host(place, host, {}, remove=noted)
    log.info("%s: drain mode off again: %s", host.name, action.reason)


async def note_empty(place: Place, host: Host, action: Action) -> None:
    """Notes when the host was first seen empty: it settles from then on. One that others took out of the pool bears no mark yet."""
    now = {tags.EMPTY_SINCE: tags.format_time(place.azure.clock.now())}
    await tag_host(place, host, {**marks_of(place, host), **now})
    log.info("%s: empty: %s", host.name, action.reason)


async def forget_empty(place: Place, host: Host, action: Action) -> None:
    """Takes that note away again."""
    await tag_host(place, host, {}, remove=(tags.EMPTY_SINCE,))
    log.info("%s: not empty after all: %s", host.name, action.reason)


async def note_unwell(place: Place, host: Host, action: Action) -> None:
    """Notes when a checked host was last seen unhealthy: it has to stay healthy anew before it is opened."""
    await tag_host(place, host, {tags.UNWELL_AT: tags.format_time(place.azure.clock.now())})
    log.info("%s: unwell: %s", host.name, action.reason)


async def allow_sessions(place: Place, host: Host, action: Action) -> None:
    """A new host begins to serve; from then on a scaling plan may look after it."""
    if place.exclusion_tag in host.tags:
        await tag_host(place, host, {}, remove=(place.exclusion_tag,))
    await _set_open(place, host, True)
    log.info("%s: serving: %s", host.name, action.reason)


async def warn(place: Place, host: Host, action: Action) -> None:
    """Tells the users that the action names, and any who came since, then notes when, and whom.

    In this order, and noted only when a fresh list shows nobody untold. A list may be old or cut short, so that it alone proves
    nothing: only those who are noted by name are ever signed out.
    """
    minutes, name = place.policy.warn_minutes, _registered(host)
    told = {session.id for session in host.sessions} - set(action.sessions)
    before = len(told)
    untold = set(action.sessions) | await _sessions_now(place, name) - told
    while untold:
        for session in sorted(untold):
            await _tell(place, host, session, minutes)
        told |= untold
        untold = await _sessions_now(place, name) - told
    warned = _count(host, tags.WARNED_USERS) + len(told) - before
    # By Azure's clock where ours is behind: a session that was told is not taken for a later one of the same number, again and again.
    begun = [session.created_at for session in host.sessions if session.id in told and session.created_at is not None]
    noted = {
        tags.WARNED_AT: tags.format_time(max([place.azure.clock.now(), *begun])),
        tags.WARNED_SESSIONS: tags.ids_value(told),
        tags.WARNED_USERS: str(warned),
    }
    await tag_host(place, host, noted)
    log.info("%s: told %d users that they have %d minutes: %s", host.name, len(told) - before, minutes, action.reason)


async def remind(place: Place, host: Host, action: Action) -> None:
    """Tells those who were warned once more, with the minutes that are left to them. Noted first: nobody is told twice in one interval."""
    now = place.azure.clock.now()
    warned = tags.parse_time(host.tags.get(tags.WARNED_AT))
    if warned is None:
        raise Deferred(f"{host.name}: nobody on it was warned")
    minutes = max(1, -(-(warned + timedelta(minutes=place.policy.warn_minutes) - now) // timedelta(minutes=1)))
    await tag_host(place, host, {tags.REMINDED_AT: tags.format_time(now)})
    for session in action.sessions:
        await _tell(place, host, session, minutes)
    log.info("%s: told %d users again that they have %d minutes left", host.name, len(action.sessions), minutes)


async def _tell(place: Place, host: Host, session: str, minutes: int) -> None:
    """The image set's warning in one session."""
    body = place.image_set.rollout.warning_message.format(
        minutes=minutes, reason=f"An update of {place.image_set.description or place.image_set.name}"
    )
    await place.azure.desktops.send_message(
        place.pool.resource_group, place.pool.name, _registered(host), session, MESSAGE_TITLE, body
    )


async def sign_out(place: Place, host: Host, action: Action) -> None:
    """Signs out the users that the action names, if they are noted as warned, and as long ago as the notice that they were given."""
    now = await _frozen_vm_tags(place, host)
    warned = tags.parse_time(now.get(tags.WARNED_AT))
    if warned is None or place.azure.clock.now() - warned < timedelta(minutes=place.policy.warn_minutes):
        raise Deferred(f"{host.name}: its users have not had their {place.policy.warn_minutes} minutes yet")
    told = now.get(tags.WARNED_SESSIONS)
    leaving = [each for each in host.sessions if each.id in action.sessions and tags.is_among(each.id, told)]
    moved = _count(host, tags.MOVED_USERS) + len(leaving)
    await tag_host(place, host, {tags.MOVED_USERS: str(moved)})
    for session in leaving:
        await place.azure.desktops.sign_out(place.pool.resource_group, place.pool.name, _registered(host), session.id)
        log.info("%s: signed out %s: %s", host.name, session.user, action.reason)


async def remove_from_pool(place: Place, host: Host, action: Action) -> None:
    """The broker forgets the host, if nobody is on it and nobody can get on to it."""
    await _frozen_vm_tags(place, host)
    await _refuse_users(place, host)
    await place.azure.desktops.delete_session_host(place.pool.resource_group, place.pool.name, _registered(host))
    log.info("%s: removed from the pool: %s", host.name, action.reason)


async def deallocate(place: Place, host: Host, action: Action) -> None:
    """Switches an outdated host off. Only once the broker does not know it any more: nobody can be on it then."""
    await _frozen_vm_tags(place, host)
    name = host.session_host_name or host.name
    if await place.azure.desktops.get_session_host(place.pool.resource_group, place.pool.name, name) is not None:
        raise Deferred(f"{host.name}: the broker still knows it")
    await place.azure.compute.begin_deallocate(place.hosts_group, host.name)
    log.info("%s: switched off: %s", host.name, action.reason)


async def mark_retired(place: Place, host: Host, action: Action) -> None:
    """Notes until when the host is kept: the way back."""
    now = place.azure.clock.now()
    until = now + timedelta(days=place.image_set.rollout.retain_days)
    await tag_host(place, host, {tags.RETIRED_AT: tags.format_time(now), tags.RETAIN_UNTIL: tags.format_time(until)})
    log.info("%s: retired, kept until %s UTC: %s", host.name, f"{until:%Y-%m-%d %H:%M}", action.reason)


async def delete_outdated(place: Place, host: Host, action: Action) -> None:
    """Deletes an outdated host with its disk and devices, and its network card unless its address is static.

    Its name, and the card that stays, are noted on the pool first: that outlives it.
    """
    now = await _frozen_vm_tags(place, host)
    if tags.EMPTY_SINCE not in now:
        raise Deferred(f"{host.name}: it is not noted as empty any more")
    name = host.session_host_name or host.name
    if await place.azure.desktops.get_session_host(place.pool.resource_group, place.pool.name, name) is not None:
        raise Deferred(f"{host.name}: the broker still knows it")
    await _note_vacant(place, host.name, await card_to_keep(place, host.name))
    await forget_devices(place.azure, host.vm_resource_id)
    await place.azure.compute.begin_delete_vm(place.hosts_group, host.name)
    log.info("%s: deleted: %s", host.name, action.reason)


async def _note_vacant(place: Place, name: str, card: str) -> None:
    """Notes that the name is to be borne by a successor, and with which network card, if it leaves one.

    Names that one bears already are left out: a tag holds but some fifteen, and a pool but fifty tags.
    """
    refresh, pool = place.target.refresh, place.pool
    async with place.counting:
        seen = await place.azure.desktops.get_host_pool(pool.resource_group, pool.name)
        noted = (seen.tags if seen is not None else None) or {}
        before = tags.names_of(noted, tags.VACATED, refresh)
        waiting = card_tag(refresh, name, card)
        if name in before and waiting.items() <= noted.items():
            return
        vms = {each: await place.azure.compute.get_vm(place.hosts_group, each) for each in before if each != name}
        borne = [each for each, vm in vms.items() if vm is not None and (vm.tags or {}).get(tags.REFRESH) == refresh]
        open_yet = [each for each in before if each not in borne and each != name]
        value = f"{refresh}|{','.join([*open_yet, name])}"
        used = used_tags(seen, borne)
        if len(value) > tags.LONGEST_VALUE or (card and len(noted) - len(used) > MOST_TAGS):
            raise Deferred(
                f"{name}: {len(open_yet)} names wait for their successors, and there is no room to note more"
            )
        values = {tags.VACATED: value, **waiting}
        await place.azure.desktops.update_host_pool_tags(pool.resource_group, pool.name, values, used)


async def delete_failed(place: Place, host: Host, action: Action) -> None:
    """Removes a new host that did not come up, counting it first: the count, the name and a card with a static address outlive the host.

    The VM stays as long as its session host object cannot be removed.
    """
    await _refuse_users(place, host)
    card = await card_to_keep(place, host.name)
    number = await _count_failure(place, host.name, action.reason, card)
    pool = place.pool
    if host.registered:
        await place.azure.desktops.delete_session_host(pool.resource_group, pool.name, _registered(host))
    await forget_devices(place.azure, host.vm_resource_id)
    await place.azure.compute.begin_delete_vm(place.hosts_group, host.name)
    log.warning("%s: deleted, failure number %d of this rollout: %s", host.name, number, action.reason)


async def take_back(place: Place, host: Host, why: str = "its version was rejected") -> None:
    """Deletes a new host that is not wanted, with its devices. Raises Deferred where somebody may be on it, or keeps it."""
    vm = await place.azure.compute.get_vm(place.hosts_group, host.name)
    if vm is not None and (vm.properties is None or vm.properties.vm_id != host.vm_id):
        raise Deferred(f"{host.name}: another VM has that name now")
    if vm is not None and tags.KEEP in (vm.tags or {}):
        raise Deferred(f"{host.name}: somebody has tagged it {tags.KEEP}")
    await _refuse_users(place, host)
    if host.registered:
        await place.azure.desktops.delete_session_host(place.pool.resource_group, place.pool.name, _registered(host))
    await forget_devices(place.azure, host.vm_resource_id)
    await place.azure.compute.delete_vm(place.hosts_group, host.name)
    log.info("%s: deleted: %s", host.name, why)


async def start(place: Place, host: Host, action: Action) -> None:
    """A retained host is marked as brought back, loses the marks of its retirement, and is switched on.

    One that Azure cannot start now (no quota, no room) is tried again, until its time to come up is over.
    """
    mark = tags.frozen_value(place.target.refresh, host.vm_id)
    if host.tags.get(tags.BACK) != mark or tags.RETIRED_AT in host.tags:
        back = {tags.BACK: mark, tags.BACK_AT: tags.format_time(place.azure.clock.now())}
        await tag_host(place, host, back, remove=PAST)
    try:
        await place.azure.compute.begin_start(place.hosts_group, host.name)
    except AzureFailure as failure:
        raise Deferred(f"{host.name}: could not be started: {failure}") from failure
    log.info("%s: switched on: %s", host.name, action.reason)


async def rejoin(place: Place, host: Host, _: Action) -> None:
    """A host that was brought back goes one step further into its pool. One that will not come is marked so, for the planner to see."""
    try:
        await bring_back_host(place.azure, place.image_set, place.pool, host, place.target.refresh)
    except StepFailure as failure:
        log.warning("%s: did not come back: %s", host.name, failure)
        await tag_host(place, host, {tags.FAILED: f"{failure.step}: {failure.problem}"[: tags.LONGEST_VALUE]})


async def give_up(place: Place, host: Host, action: Action) -> None:
    """A host that did not come back is counted, and kept as it was before: out of the pool, switched off, retained."""
    await _refuse_users(place, host)
    await _count_failure(place, host.name, action.reason)
    if host.registered:
        await place.azure.desktops.delete_session_host(place.pool.resource_group, place.pool.name, _registered(host))
    await place.azure.compute.begin_deallocate(place.hosts_group, host.name)
    now = place.azure.clock.now()
    until = now + timedelta(days=place.image_set.rollout.retain_days)
    retired = {tags.RETIRED_AT: tags.format_time(now), tags.RETAIN_UNTIL: tags.format_time(until)}
    why = {tags.FAILED: action.reason[: tags.LONGEST_VALUE]}
    # Last: as long as it is marked as brought back, giving it up is not over, and is done again from the start.
    await tag_host(place, host, retired | why, remove=(tags.BACK, tags.BACK_AT, tags.CHECKED_AT))
    log.warning("%s: did not come back, and is kept switched off: %s", host.name, action.reason)


async def count_taken(place: Place, host: Host) -> None:
    """A new host that others deleted counts as one that failed, unless it is there after all, or was counted before."""
    vm = await place.azure.compute.get_vm(place.hosts_group, host.name, instance_view=False)
    if vm is not None and vm.properties is not None and vm.properties.vm_id == host.vm_id:
        return
    pool = await place.azure.desktops.get_host_pool(place.pool.resource_group, place.pool.name)
    if pool is not None and host.name in tags.names_of(pool.tags, tags.FAILURES, place.target.refresh):
        return
    number = await _count_failure(place, host.name, "it was deleted, and not by this rollout")
    log.warning("%s: deleted by other hands, which counts as failure number %d of this rollout", host.name, number)


async def _count_failure(place: Place, name: str, reason: str, card: str = "") -> int:
    """Notes a failed host on the pool, which outlives it, and the network card that it leaves to another, if it leaves one.

    Returns how many there were in this rollout, each name counted once.
    """
    refresh, now, pool = place.target.refresh, tags.format_time(place.azure.clock.now()), place.pool
    async with place.counting:
        seen = await place.azure.desktops.get_host_pool(pool.resource_group, pool.name)
        before = tags.names_of(seen.tags if seen is not None else None, tags.FAILURES, refresh)
        spent = before if name in before else (*before, name)
        values = {
            tags.FAILURES: f"{refresh}|{','.join(spent)}"[: tags.LONGEST_VALUE],
            tags.LAST_FAILURE: f"{refresh}|{now}|{name}: {reason}"[: tags.LONGEST_VALUE],
            **card_tag(refresh, name, card),
        }
        await place.azure.desktops.update_host_pool_tags(pool.resource_group, pool.name, values)
    return len(spent)


async def _sessions_now(place: Place, name: str) -> set[str]:
    """The ids of the sessions on a host, asked for now."""
    listed = await place.azure.desktops.list_user_sessions_on(place.pool.resource_group, place.pool.name, name)
    return {short_name(session.name) for session in listed}


def _count(host: Host, tag: str) -> int:
    """The number in a tag; 0 where there is none, or none that can be read."""
    value = host.tags.get(tag, "")
    return int(value) if value.isdigit() else 0


def marks_of(place: Place, host: Host) -> dict[str, str]:
    """What an outdated host bears from the first write on: that it is this refresh's to replace, and whose pool it is of.

    Once it is out of the pool, that is how it is still known to belong to it.
    """
    refresh = place.target.refresh
    return {tags.REPLACE: tags.frozen_value(refresh, host.vm_id), tags.POOL: str(place.pool_id)}


async def tag_host(place: Place, host: Host, values: dict[str, str], remove: tuple[str, ...] = ()) -> None:
    """Sets and removes tags of a host's VM, as the look showed it: only where it has changed since is it read again."""
    seen = SeenTags(host.tags, host.etag)
    await place.azure.compute.update_vm_tags(place.hosts_group, host.name, values, remove, seen=seen)


async def _set_open(place: Place, host: Host, allow: bool) -> None:
    """Lets new users on to the host, or not."""
    await place.azure.desktops.set_allow_new_session(
        place.pool.resource_group, place.pool.name, _registered(host), allow
    )


async def _read_back(place: Place, host: Host, allow: bool) -> None:
    """Raises Deferred where drain mode is not as it was set: another tool may hold it the other way."""
    seen = await place.azure.desktops.get_session_host(place.pool.resource_group, place.pool.name, _registered(host))
    if seen is None or seen.allow_new_session is not allow:
        raise Deferred(
            f"{host.name}: drain mode was set and is not so: another tool, such as a scaling plan, may set it too"
        )


async def _frozen_vm_tags(place: Place, host: Host) -> dict[str, str]:
    """The VM's tags as they are now, having made sure that it is the very VM that was frozen into this rollout."""
    vm = await place.azure.compute.get_vm(place.hosts_group, host.name)
    if vm is None or vm.properties is None or not same(vm.id, host.vm_resource_id) or vm.properties.vm_id != host.vm_id:
        raise Deferred(f"{host.name}: it is not the VM that was to be replaced any more")
    now = dict(vm.tags or {})
    if tags.KEEP in now:
        raise Deferred(f"{host.name}: somebody has tagged it {tags.KEEP}")
    if now.get(tags.REPLACE) != tags.frozen_value(place.target.refresh, host.vm_id):
        raise Deferred(f"{host.name}: it is not marked for this rollout any more")
    return now


async def _refuse_users(place: Place, host: Host) -> None:
    """Raises Deferred unless the broker, asked now, shows the host closed and empty, or does not know it: a list may have lacked it."""
    group, pool, name = place.pool.resource_group, place.pool.name, _registered(host)
    seen = await place.azure.desktops.get_session_host(group, pool, name)
    if seen is None:
        return
    sessions = await place.azure.desktops.list_user_sessions_on(group, pool, name)
    if seen.assigned_user:
        raise Deferred(f"{host.name}: it has become {seen.assigned_user}'s own")
    if seen.allow_new_session or seen.sessions or sessions:
        raise Deferred(f"{host.name}: the broker shows {len(sessions)} sessions on it, or lets new ones on")


def _registered(host: Host) -> str:
    return short_name(host.session_host_name or host.name)


ACTS: dict[Kind, Act] = {
    Kind.CHECK: check,
    Kind.CHECK_CANARY: check,
    Kind.ALLOW_SESSIONS: allow_sessions,
    Kind.SHUT: shut,
    Kind.DRAIN: drain,
    Kind.UNDRAIN: undrain,
    Kind.NOTE_EMPTY: note_empty,
    Kind.FORGET_EMPTY: forget_empty,
    Kind.NOTE_UNWELL: note_unwell,
    Kind.WARN: warn,
    Kind.REMIND: remind,
    Kind.SIGN_OUT: sign_out,
    Kind.REMOVE_FROM_POOL: remove_from_pool,
    Kind.DEALLOCATE: deallocate,
    Kind.MARK_RETIRED: mark_retired,
    Kind.DELETE_OUTDATED: delete_outdated,
    Kind.DELETE_FAILED: delete_failed,
    Kind.START: start,
    Kind.REJOIN: rejoin,
    Kind.GIVE_UP: give_up,
}


async def act(place: Place, host: Host | None, action: Action) -> None:
    """Does one action. Raises Deferred where it was not to be done after all, AzureFailure where Azure refused."""
    if action.kind is Kind.CREATE:
        await create(place, action)
    elif host is not None:
        await ACTS[action.kind](place, host, action)
