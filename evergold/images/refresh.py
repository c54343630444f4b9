"""The anchor of a refresh: what it is, which version it makes and of what, noted on the image definition before anything is made.

Whatever dies in between, one refresh has one id, one version number and one exact source. They are written in a single update and
read back; whoever begins a refresh while one is unfinished gets that one. Two that begin at the same moment settle on the one that was
written last; image set and flow are started one at a time all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from azure.mgmt.compute.models import GalleryImageVersion

from evergold import tags
from evergold.azure import Azure
from evergold.azure.errors import AzureFailure, raise_failed
from evergold.azure.galleries import Definition, replication_of
from evergold.azure.ids import ResourceId, image_version_id
from evergold.config.models import GalleryVersionSource, ImageSet, MarketplaceSource, SessionHostSource
from evergold.images.manifest import tag_names
from evergold.images.source import NoSourceHostError, SourceHost, choose, policy_of
from evergold.images.versions import Listed, Version, calendar_version, given_version, latest, next_version
from evergold.rollout.observe import PoolWatch

# How long a write of ours may take to be seen by another that begins at the same moment.
READ_BACK_AFTER_S = 5


@dataclass(frozen=True)
class Refresh:
    """One refresh of an image set.

    Attributes:
        id: the image set and the minute (UTC) in which it began, "office-20261112-2000".
        version: x.y.z of the image version that it makes.
        source: exactly what it starts from: "publisher:offer:sku:version", the resource id of a gallery version, or that of a session
            host's VM with its GUID ("/subscriptions/...@guid").
        resumed: it had begun before.
        started_by: who asked for it; "" where nobody said so.
        template: name of the VM that lends its hardware to the build; "" where it gets a machine of its own.

    """

    id: str
    version: str
    source: str
    image_set: str
    resumed: bool = False
    started_by: str = ""
    template: str = ""

    @property
    def build_name(self) -> str:
        """What the names of all that is made for the build begin with: of no refresh but this one, and 14 characters long."""
        return f"evg-{hashlib.sha256(self.id.encode()).hexdigest()[:10]}"

    @property
    def boot_name(self) -> str:
        """The name of the machine on which the finished image is tried."""
        return f"{self.build_name}b"

    @property
    def vm_name(self) -> str:
        """The name of the machine that the image is built on."""
        return self.template or self.build_name

    @property
    def tags(self) -> dict[str, str]:
        """What stands on everything that this refresh makes."""
        return {tags.REFRESH: self.id, tags.IMAGE_SET: self.image_set}


def definition_of(image_set: ImageSet) -> Definition:
    """The image definition that the image set publishes to."""
    gallery = image_set.gallery
    return Definition(gallery.resource_group, gallery.name, gallery.image_definition)


async def begin_refresh(
    azure: Azure, image_set: ImageSet, now: datetime, started_by: str = "", version: str = "", notes: str = ""
) -> Refresh:
    """The refresh that is under way for this image set, or else a new one, its version and source chosen and noted.

    `version` is a number given by hand; "" leaves it to the image set. `notes` say why. AzureFailure where the number cannot be had.
    """
    present = await _tags(azure, image_set)
    unfinished = _from_tags(present, image_set)
    if unfinished is not None:
        _refuse_other_number(unfinished, version)
        return unfinished
    existing = await azure.galleries.list_versions(definition_of(image_set))
    new = Refresh(
        id=_unused_id(image_set.name, now, existing),
        version=str(_number([each.name or "" for each in existing], image_set, now, version)),
        source=await _exact_source(azure, image_set),
        image_set=image_set.name,
        started_by=started_by.strip()[: tags.LONGEST_VALUE],
        template=template_of(image_set),
    )
    more = {tags.STARTED_BY: new.started_by, tags.NOTES: notes.strip()[: tags.LONGEST_VALUE]}
    noted = {name: value for name, value in more.items() if value}
    await azure.galleries.update_definition_tags(
        definition_of(image_set),
        {tags.REFRESH_NOW: new.id, tags.REFRESH_VERSION: new.version, tags.REFRESH_SOURCE: new.source, **noted},
        remove=tuple(name for name in (*more, *tag_names(present)) if name not in noted),
    )
    await azure.clock.sleep(READ_BACK_AFTER_S)
    settled = await current_refresh(azure, image_set)
    if settled is None:
        raise_failed(
            "begin the refresh",
            str(definition_of(image_set)),
            "TagsLost",
            "The refresh was noted on the image definition, and is not there: another tool may write its tags.",
        )
    return replace(settled, resumed=settled.id != new.id)


async def current_refresh(azure: Azure, image_set: ImageSet) -> Refresh | None:
    """The refresh that is noted as under way, or None."""
    return _from_tags(await _tags(azure, image_set), image_set)


async def end_refresh(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """Take the note of this refresh away, so that the next one can begin. Leaves the note of any other alone."""
    present = await _tags(azure, image_set)
    if present.get(tags.REFRESH_NOW) == refresh.id:
        await azure.galleries.update_definition_tags(
            definition_of(image_set),
            {},
            remove=(
                *(tags.REFRESH_NOW, tags.REFRESH_VERSION, tags.REFRESH_SOURCE, tags.STARTED_BY, tags.NOTES),
                *tag_names(present),
            ),
        )


async def definition_tags(azure: Azure, image_set: ImageSet, refresh: Refresh) -> dict[str, str]:
    """The image definition's tags; raises unless it is this refresh that they speak of."""
    present = await _tags(azure, image_set)
    if present.get(tags.REFRESH_NOW) != refresh.id:
        raise AzureFailure(
            "go on with the refresh",
            refresh.id,
            "RefreshEnded",
            f"The image definition names {present.get(tags.REFRESH_NOW) or 'no refresh'} as under way.",
            retryable=False,
            remedy="Start a new run: it goes on with the refresh that is under way, or begins one.",
        )
    return present


async def _tags(azure: Azure, image_set: ImageSet) -> dict[str, str]:
    definition = definition_of(image_set)
    image = await azure.galleries.get_definition(definition)
    if image is None:
        raise_failed("read the image definition", str(definition), "ResourceNotFound", "There is no such definition.")
    return dict(image.tags or {})


def _from_tags(present: Mapping[str, str], image_set: ImageSet) -> Refresh | None:
    """The refresh that the tags speak of; all three are written at once, so fewer are nobody's refresh."""
    refresh, version, source = (
        present.get(name) for name in (tags.REFRESH_NOW, tags.REFRESH_VERSION, tags.REFRESH_SOURCE)
    )
    if not (refresh and version and source):
        return None
    started_by = present.get(tags.STARTED_BY, "")
    template = template_of(image_set)
    return Refresh(refresh, version, source, image_set.name, resumed=True, started_by=started_by, template=template)


def _number(existing: list[str], image_set: ImageSet, now: datetime, wanted: str) -> Version:
    try:
        if wanted:
            return given_version(existing, wanted)
        if image_set.version.scheme == "calendar":
            return calendar_version(existing, now)
        return next_version(existing, image_set.version.bump)
    except ValueError as problem:
        raise AzureFailure(
            "choose the version number",
            f"{image_set.name} {wanted}".strip(),
            "VersionRefused",
            str(problem),
            retryable=False,
            remedy="Nothing was changed. Start the run again with a higher number, or with none: it then takes the next.",
        ) from None


def _refuse_other_number(unfinished: Refresh, wanted: str) -> None:
    if wanted and wanted != unfinished.version:
        raise AzureFailure(
            "begin the refresh",
            f"{unfinished.image_set} {wanted}",
            "RefreshUnderWay",
            f"Refresh {unfinished.id} is unfinished, and makes version {unfinished.version}.",
            retryable=False,
            remedy=f"Nothing was changed. Leave the version empty, and the run goes on with it; or give up {unfinished.id} first.",
        )


def _unused_id(image_set: str, now: datetime, existing: list[GalleryImageVersion]) -> str:
    taken = {(version.tags or {}).get(tags.REFRESH) for version in existing}
    base = f"{image_set}-{now.astimezone(UTC):%Y%m%d-%H%M}"
    names = [base, *(f"{base}-{number}" for number in range(2, len(existing) + 3))]
    return next(name for name in names if name not in taken)


async def _exact_source(azure: Azure, image_set: ImageSet) -> str:
    source = image_set.source
    if isinstance(source, SessionHostSource):
        exact = str(await choose_host(azure, image_set, source))
    elif isinstance(source, MarketplaceSource):
        exact = await _marketplace(azure, image_set.location, source)
    else:
        exact = await _gallery(azure, image_set.location, source)
    if len(exact) > tags.LONGEST_VALUE:
        raise AzureFailure(
            "note the source of the refresh",
            exact,
            "NameTooLong",
            f"Its id has {len(exact)} characters, and a tag holds {tags.LONGEST_VALUE}.",
            retryable=False,
            remedy="Use a resource group, gallery or image definition with a shorter name as the source.",
        )
    return exact


def template_of(image_set: ImageSet) -> str:
    """The template VM that the image set names; "" where it names none."""
    source = image_set.source
    return (source.template_vm or "") if isinstance(source, SessionHostSource) else ""


async def choose_host(azure: Azure, image_set: ImageSet, source: SessionHostSource) -> SourceHost:
    """The session host that would be copied now. Raises NoSourceHostError where none can be."""
    watch = PoolWatch(azure, source.resource_group, source.pool, source.hosts_resource_group)
    look = await watch.look()
    if not look.complete:
        raise NoSourceHostError(f"Nobody can say which host to copy: {look.problem}. What to do: start the run again.")
    definition = definition_of(image_set)
    kind = "Microsoft.Compute/galleries/images"
    names = (definition.gallery, definition.name)
    made_from = str(ResourceId(str(azure.environment.subscription_id), definition.resource_group, kind, names))
    host = choose(look, source, made_from, policy_of(image_set, source), azure.clock.now())
    return SourceHost(host.vm_resource_id, host.vm_id)


async def _marketplace(azure: Azure, location: str, source: MarketplaceSource) -> str:
    called = f"{source.publisher}:{source.offer}:{source.sku}"
    version = source.version
    if version == "latest":
        listed = await azure.compute.list_marketplace_versions(location, source.publisher, source.offer, source.sku)
        if not listed:
            raise_failed("find the newest marketplace image", called, "ImageNotFound", f"There is none in {location}.")
        version = listed[-1]
    return f"{called}:{version}"


async def _gallery(azure: Azure, location: str, source: GalleryVersionSource) -> str:
    definition = Definition(source.resource_group, source.gallery, source.image_definition)
    version = source.version
    if version == "latest":
        found = await latest_in(azure, definition, location)
        if found is None:
            raise_failed(
                "find the newest image version", str(definition), "ImageNotFound", f"None is usable in {location}."
            )
        version = found
    subscription = str(azure.environment.subscription_id)
    return image_version_id(subscription, definition.resource_group, definition.gallery, definition.name, version)


async def latest_in(azure: Azure, definition: Definition, location: str, other_than: str = "") -> str | None:
    """What "latest" means in a region: the highest version that is not excluded and is replicated there; or None."""
    listed = [
        await _listed(azure, definition, version, location)
        for version in await azure.galleries.list_versions(definition)
        if version.name and version.name != other_than
    ]
    return latest(listed)


async def _listed(azure: Azure, definition: Definition, version: GalleryImageVersion, location: str) -> Listed:
    name = version.name or ""
    profile = version.properties.publishing_profile if version.properties else None
    if profile is None or profile.exclude_from_latest:
        return Listed(name, usable=False, excluded=True)
    whole = await azure.galleries.get_version(definition, name)  # a list has no replication
    return Listed(name, usable=whole is not None and replication_of(whole).completed([location]))
