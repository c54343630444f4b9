"""What is kept of earlier refreshes, and what goes: image versions, snapshots from before sysprep, managed images.

`decide` is pure: from what there is and what needs it to a fate, with its reason, for each. Nothing goes that something needs: a machine
(anywhere in the subscription, switched off and retained ones too), a rollout that is under way, an image set that starts from it, an
unfinished refresh, a Windows 365 policy, and the way back, which is the version before the latest.

`retire_images` looks, decides, deletes one, and looks at everything again before the next: it goes by what is true at each deletion.
A look that failed, or is not whole, deletes nothing. It may be killed anywhere and run again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import ListedVm
from evergold.azure.galleries import Definition
from evergold.azure.ids import ResourceId, image_version_id, key, same
from evergold.config.models import GalleryVersionSource, ImageSet, Retention
from evergold.images.refresh import current_refresh, definition_of
from evergold.images.versions import Version
from evergold.rollout.lease import Lease, parse

log = logging.getLogger("evergold.images")

Kind = Literal["version", "snapshot", "managed image"]
Held = Callable[[str], Awaitable[str | None]]
WAY_BACK = 2  # the latest version, and the one before it: kept whatever `keep_versions` says
BEFORE_SYSPREP = "before-sysprep"


class RetentionError(Exception):
    """Nobody can say what is needed, so nothing was deleted; says what could not be seen, and what to do."""


@dataclass(frozen=True)
class Thing:
    """Something that a refresh has made and that may be kept or deleted.

    Attributes:
        id: its resource id.
        version: x.y.z that it is, or belongs to; "" where it does not say.
        settled: Azure is not at work on it.
        failed: of a version: it was never whole.
        excluded: of a version: excluded from latest.
        made: when; None where Azure does not say.

    """

    kind: Kind
    id: str
    version: str
    named: Mapping[str, str]
    made: datetime | None
    settled: bool = True
    failed: bool = False
    excluded: bool = False

    @property
    def name(self) -> str:
        """Its own name: x.y.z of a version."""
        return self.id.rpartition("/")[2]


@dataclass(frozen=True)
class Needs:
    """What needs what, in words.

    Attributes:
        of_id: by `ids.key` of a resource (or of an image definition, for all of its versions): who needs it.
        of_refresh: by the id of a refresh: what goes on with it.

    """

    of_id: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    of_refresh: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, thing: Thing) -> str:
        """Who needs this, in words; "" for nobody."""
        definition = key(thing.id).partition("/versions/")[0]
        found = (*self.of_id.get(key(thing.id), ()), *self.of_id.get(definition, ()))
        found += self.of_refresh.get(thing.named.get(tags.REFRESH, ""), ())
        listed = list(dict.fromkeys(found))
        return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


@dataclass(frozen=True)
class Fate:
    """What becomes of a thing, and why."""

    thing: Thing
    kept: bool
    reason: str


# Deciding


def decide(things: Iterable[Thing], needs: Needs, rules: Retention, image_set: str, now: datetime) -> tuple[Fate, ...]:
    """The fate of each of these things, newest version first within its kind."""
    found = list(things)
    versions = [thing for thing in found if thing.kind == "version"]
    ranks = _ranks(versions)
    highest = max((Version.parse(each.version) for each in versions), default=None)
    fates = []
    for each in _in_order(versions):
        kept = _always_kept(each, needs, image_set) or _version_kept(each, ranks.get(each.id), highest, rules, now)
        fates.append(Fate(each, bool(kept), kept or _version_goes(each, rules)))
    staying = {fate.thing.version for fate in fates if fate.kept}
    snapshots = sorted((each for each in found if each.kind == "snapshot" and each.made), key=_age, reverse=True)
    newest = {each.id for each in snapshots[: rules.keep_snapshots]}
    for each in _in_order(thing for thing in found if thing.kind != "version"):
        kept = _always_kept(each, needs, image_set)
        if each.kind == "snapshot":
            kept = kept or _snapshot_kept(each, newest, rules)
        elif not kept and each.version in staying:
            kept = f"version {each.version} is kept"
        gone = "newer snapshots are kept" if each.kind == "snapshot" else f"version {each.version} is not kept either"
        fates.append(Fate(each, bool(kept), kept or gone))
    return tuple(fates)


def _in_order(things: Iterable[Thing]) -> list[Thing]:
    def number(thing: Thing) -> tuple[str, Version, str]:
        return (thing.kind, Version.parse(thing.version) if thing.version else Version(0, 0, 0), thing.id)

    return sorted(things, key=number, reverse=True)


def _age(thing: Thing) -> tuple[datetime, str]:
    assert thing.made is not None
    return (thing.made, thing.id)


def _ranks(versions: Iterable[Thing]) -> dict[str, int]:
    """The versions that people get or got, by id: 0 is the latest, 1 the one before it."""
    served = [each for each in versions if not each.failed and (_is_approved(each) or not each.excluded)]
    return {each.id: rank for rank, each in enumerate(_in_order(served))}


def _is_approved(thing: Thing) -> bool:
    return thing.named.get(tags.STATE) == "approved"


def _always_kept(thing: Thing, needs: Needs, image_set: str) -> str:
    if thing.named.get(tags.IMAGE_SET) != image_set or not thing.named.get(tags.REFRESH):
        return f"no refresh of {image_set} made it"
    if tags.KEEP in thing.named:
        return f"somebody has tagged it {tags.KEEP}"
    if needed := needs.of(thing):
        return f"needed by {needed}"
    return "" if thing.settled else "Azure is at work on it"


def _version_kept(thing: Thing, rank: int | None, highest: Version | None, rules: Retention, now: datetime) -> str:
    if rank is not None:
        if rank < WAY_BACK:
            return ("it is the latest", "it is the way back from the latest")[rank]
        if rank < rules.keep_versions:
            return f"it is one of the newest {rules.keep_versions}"
        return ""
    if Version.parse(thing.version) == highest:
        return "it is the highest number, which is not used again"
    if thing.made is None:
        return "nobody can say how old it is"
    until = thing.made + timedelta(days=rules.keep_rejected_days)
    return f"nobody gets it; kept as evidence until {until:%Y-%m-%d}" if until > now else ""


def _version_goes(thing: Thing, rules: Retention) -> str:
    if thing.failed:
        return "it was never whole, and its refresh is over"
    if thing.excluded and not _is_approved(thing):
        return (
            f"nobody gets it ({thing.named.get(tags.STATE, 'excluded')}), for {rules.keep_rejected_days} days or more"
        )
    return f"nothing needs it, and there are {max(rules.keep_versions, WAY_BACK)} newer ones"


def _snapshot_kept(thing: Thing, newest: set[str], rules: Retention) -> str:
    if thing.made is None:
        return "nobody can say how old it is"
    return f"it is one of the newest {rules.keep_snapshots}" if thing.id in newest else ""


# Looking and deleting


async def retire_images(
    azure: Azure, image_set: ImageSet, neighbours: Sequence[ImageSet], held: Held, *, dry_run: bool = False
) -> list[Fate]:
    """Deletes what nothing needs any more. Returns the fate of everything; with `dry_run`, nothing is deleted.

    `neighbours` are all image sets of the same subscription: they may start from a version of this one. `held` says why a pool is held:
    while any pool of the image set is, nothing is deleted. What Azure refuses to delete is kept, with its reason.
    """
    refused: dict[str, str] = {}
    deleted: list[Fate] = []
    while True:
        fates = [_unless_refused(fate, refused) for fate in await look_and_decide(azure, image_set, neighbours, held)]
        going = next((fate for fate in reversed(fates) if not fate.kept), None)
        if dry_run or going is None:
            return [*fates, *deleted]
        try:
            await _delete(azure, image_set, going.thing)
        except AzureFailure as problem:
            refused[going.thing.id] = f"it could not be deleted: {problem}"
            log.warning("%s %s was not deleted: %s", going.thing.kind, going.thing.name, problem)
        else:
            deleted.append(going)
            log.info("%s %s is deleted: %s", going.thing.kind, going.thing.name, going.reason)


async def look_and_decide(azure: Azure, image_set: ImageSet, neighbours: Sequence[ImageSet], held: Held) -> list[Fate]:
    """The fate of everything as it is now. Raises where anything cannot be seen."""
    things = await _things(azure, image_set)  # before the needs: what is made in between is not among them
    needs = await _needs(azure, image_set, neighbours, {thing.named.get(tags.REFRESH, "") for thing in things})
    fates = decide(things, needs, image_set.retention, image_set.name, azure.clock.now())
    for pool in (pool.name for ring in image_set.rings for pool in ring.pools):
        if reason := await held(pool):
            return [fate if fate.kept else replace(fate, kept=True, reason=f"held: {reason}") for fate in fates]
    return list(fates)


def _unless_refused(fate: Fate, refused: Mapping[str, str]) -> Fate:
    reason = refused.get(fate.thing.id)
    return replace(fate, kept=True, reason=reason) if reason and not fate.kept else fate


async def _delete(azure: Azure, image_set: ImageSet, thing: Thing) -> None:
    group = ResourceId.parse(thing.id).resource_group
    if thing.kind == "version":
        await azure.galleries.delete_version(definition_of(image_set), thing.version)
    elif thing.kind == "snapshot":
        await azure.disks.delete_snapshot(group, thing.name)
    else:
        await azure.images.delete_image(group, thing.name)


async def _things(azure: Azure, image_set: ImageSet) -> list[Thing]:
    things = [_version(version) for version in await azure.galleries.list_versions(definition_of(image_set))]
    things += [
        _plain("snapshot", each, each.properties.time_created if each.properties else None)
        for each in await azure.disks.list_snapshots(image_set.build.resource_group)
        if (each.tags or {}).get(tags.PURPOSE) == BEFORE_SYSPREP
        and (each.tags or {}).get(tags.IMAGE_SET) == image_set.name
    ]
    if image_set.publish.managed_image is not None:
        things += [
            _plain("managed image", each, None)
            for each in await azure.images.list_images(image_set.publish.managed_image.resource_group)
            if (each.tags or {}).get(tags.IMAGE_SET) == image_set.name
        ]
    return things


def _version(version: Any) -> Thing:
    state = str(getattr(version.properties.provisioning_state, "value", version.properties.provisioning_state) or "")
    profile = version.properties.publishing_profile
    return Thing(
        kind="version",
        id=version.id or "",
        version=version.name or "",
        named=dict(version.tags or {}),
        made=profile.published_date if profile else None,
        settled=state in ("Succeeded", "Failed"),
        failed=state == "Failed",
        excluded=bool(profile and profile.exclude_from_latest),
    )


def _plain(kind: Kind, found: Any, made: datetime | None) -> Thing:
    named = dict(found.tags or {})
    state = str((found.properties.provisioning_state if found.properties else None) or "")
    settled = state in ("Succeeded", "Failed")
    return Thing(kind, found.id or "", named.get(tags.IMAGE_VERSION, ""), named, made, settled)


async def _needs(azure: Azure, image_set: ImageSet, neighbours: Sequence[ImageSet], refreshes: set[str]) -> Needs:
    sets = {each.name: each for each in (*neighbours, image_set)}
    of_id: dict[str, list[str]] = {}
    of_refresh: dict[str, list[str]] = {}
    for vm in await _all_machines(azure, sets.values()):
        of_id.setdefault(key(vm.image or ""), []).append(f"machine {vm.name}")
    for each in sets.values():
        of_id.setdefault(key(_fixed_source(azure, each)), []).append(f"image set {each.name}, which starts from it")
        refresh = await current_refresh(azure, each)
        if refresh is not None:
            of_refresh.setdefault(refresh.id, []).append(f"refresh {refresh.id}, which is unfinished")
            of_id.setdefault(key(refresh.source), []).append(f"refresh {refresh.id}, which starts from it")
        for lease, pool in await _leases(azure, each):
            of_refresh.setdefault(lease.refresh, []).append(f"the rollout to {pool}")
            if lease.refresh not in refreshes and lease.until > azure.clock.now():  # any version may be its target
                of_id.setdefault(key(_definition_id(azure, each)), []).append(f"the rollout to {pool}")
    if image_set.publish.managed_image is not None:
        for source, who in await _windows_365(azure):
            of_id.setdefault(key(source), []).append(who)
    return Needs(_frozen(of_id), _frozen(of_refresh))


def _frozen(found: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(who) for name, who in found.items()}


async def _all_machines(azure: Azure, sets: Iterable[ImageSet]) -> list[ListedVm]:
    """Every machine of the subscription. Raises where it does not show those that are known to be there: then it is not every one."""
    groups = {pool.hosts.resource_group for each in sets for ring in each.rings for pool in ring.pools}
    known = {group: {key(vm.id) for vm in await azure.compute.list_vms(group)} for group in sorted(groups)}
    machines = await azure.compute.list_all_vms()
    seen = {key(vm.id) for vm in machines}
    hidden = [group for group, ids in known.items() if ids and not ids & seen]
    if hidden:
        raise RetentionError(
            f"The list of the subscription's machines lacks those of {', '.join(hidden)}, so nobody can say which image versions are in "
            "use. Nothing was deleted. What to do: assign the role in deployments/azure/evergold-role.json on the subscription, "
            "or at least Reader."
        )
    return machines


def _fixed_source(azure: Azure, image_set: ImageSet) -> str:
    """The very version that an image set starts from; "" where that is another kind of source, or the latest, which is kept anyway."""
    source = image_set.source
    if not isinstance(source, GalleryVersionSource) or source.version == "latest":
        return ""
    of = Definition(source.resource_group, source.gallery, source.image_definition)
    subscription = str(azure.environment.subscription_id)
    return image_version_id(subscription, of.resource_group, of.gallery, of.name, source.version)


async def _leases(azure: Azure, image_set: ImageSet) -> list[tuple[Lease, str]]:
    """The leases of the image set's pools, expired or not (their rollouts may go on), each with the name of its pool."""
    leases = []
    for pool in (pool for ring in image_set.rings for pool in ring.pools):
        found = await azure.desktops.get_host_pool(pool.resource_group, pool.name)
        lease = parse((found.tags or {}).get(tags.LEASE)) if found is not None else None
        leases += [(lease, pool.name)] if lease is not None else []
    return leases


def _definition_id(azure: Azure, image_set: ImageSet) -> str:
    of = definition_of(image_set)
    kind = "Microsoft.Compute/galleries/images"
    return str(ResourceId(str(azure.environment.subscription_id), of.resource_group, kind, (of.gallery, of.name)))


async def _windows_365(azure: Azure) -> list[tuple[str, str]]:
    """What Windows 365 has imported and a policy uses, or is still importing: the image's resource id, and who needs it."""
    policies = await azure.cloud_pcs.policies()
    needs = []
    for image in await azure.cloud_pcs.images():
        users = [policy.name for policy in policies if same(policy.image_id, image.id)]
        needs += [(image.source, f"the Windows 365 policy {name}") for name in users]
        if image.status == "pending":
            needs.append((image.source, f"Windows 365, which imports it as {image.name}"))
    return needs
