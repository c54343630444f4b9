"""What is in an image: Windows build, hotfixes, optional features and software; and what has changed from one image to the next.

Pure. The machine hands its manifest out in pages (guest/manifest.ps1); on Azure it stands in tags of the image version, packed, so that
it can be read when the machine is long gone and no other store is needed.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

TAG = "evergold-manifest"
TAG_LENGTH = 256  # Azure's limit for a tag's value
MOST_TAGS = 32  # of the fifty that a resource may have
VERSION_IN_NAME = re.compile(r"\bv?\d+(\.\d+)+\b")
LARGEST = 4_000_000  # bytes; what unpacks to more than this is no manifest


class ManifestError(Exception):
    """What a machine or a tag gave as a manifest cannot be read; says why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OperatingSystem(_Part):
    """Windows: its name, and its build with the update revision ("26200.7171")."""

    name: str
    build: str


class Manifest(_Part):
    """What is in an image.

    Attributes:
        hotfixes: KB numbers.
        features: Windows' optional features that are enabled; None where nobody looked.
        software: name to version, as Windows lists what is installed for all users.
        software_left_out: the list of software was too long to be kept, and is empty for that reason.

    """

    os: OperatingSystem
    hotfixes: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    software: Mapping[str, str] = {}
    software_left_out: bool = False


class Page(_Part):
    """One page of a manifest, as the machine answers it. `page` counts from 1."""

    page: int
    pages: int
    digest: str
    chunk: str


def unpaged(pages: Sequence[Page]) -> Manifest:
    """The manifest that these pages make up; raises ManifestError unless they are all of one and the same manifest."""
    if not pages or [page.page for page in pages] != list(range(1, pages[0].pages + 1)):
        raise ManifestError(f"Of the manifest's pages there are {[page.page for page in pages]}, and not all.")
    if len({page.digest for page in pages}) > 1:
        raise ManifestError("The machine changed while its manifest was read: the pages do not belong together.")
    text = _decompressed("".join(page.chunk for page in pages))
    if hashlib.sha256(text).hexdigest() != pages[0].digest.lower():
        raise ManifestError("The manifest did not arrive as it was sent: its digest is another.")
    return _read(text)


def to_tags(manifest: Manifest) -> dict[str, str]:
    """The manifest as tags. One that is too long for them is kept without its software, and says so."""
    tags = _packed(manifest)
    if len(tags) > MOST_TAGS:
        tags = _packed(manifest.model_copy(update={"software": {}, "software_left_out": True}))
    return tags


def from_tags(tags: Mapping[str, str]) -> Manifest | None:
    """The manifest in a resource's tags; None where there is none, or none that can be read."""
    chunks = [tags[name] for name in tag_names(tags)]
    if not chunks:
        return None
    try:
        return _read(_decompressed("".join(chunks)))
    except ManifestError:
        return None


def tag_names(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The names of those tags that hold a manifest, in order."""
    return tuple(sorted(name for name in tags if name.startswith(f"{TAG}-")))


def _packed(manifest: Manifest) -> dict[str, str]:
    text = json.dumps(manifest.model_dump(exclude_defaults=True), sort_keys=True, separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
    chunks = [packed[start : start + TAG_LENGTH] for start in range(0, len(packed), TAG_LENGTH)]
    return {f"{TAG}-{number:02}": chunk for number, chunk in enumerate(chunks, 1)}


def _decompressed(text: str) -> bytes:
    try:
        # Windows' own base64 and ours agree; 16 + 15 means gzip.
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        data = unpacker.decompress(base64.b64decode(text, validate=True), LARGEST)
    except (binascii.Error, zlib.error) as problem:
        raise ManifestError(f"The manifest cannot be unpacked: {problem}.") from problem
    if not unpacker.eof:
        raise ManifestError("The manifest is cut off, or far too long.")
    return data


def _read(text: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as problem:
        raise ManifestError(f"The manifest is not one: {problem.errors()[0]['msg']}.") from problem


class Change(_Part):
    """A program whose version has changed."""

    name: str
    before: str
    after: str


class Difference(_Part):
    """What an image has, or lacks, against the one before it.

    Attributes:
        software_unknown: one of the two manifests has no list of software, so that nothing can be said of it.

    """

    build_before: str
    build_after: str
    hotfixes_gained: tuple[str, ...] = ()
    hotfixes_lost: tuple[str, ...] = ()
    features_enabled: tuple[str, ...] = ()
    features_disabled: tuple[str, ...] = ()
    software_added: tuple[Change, ...] = ()
    software_removed: tuple[Change, ...] = ()
    software_changed: tuple[Change, ...] = ()
    software_unknown: bool = False

    @property
    def build_is_lower(self) -> bool:
        """Whether Windows is older than it was: updates are missing that people had."""
        return as_numbers(self.build_after) < as_numbers(self.build_before)


def difference(before: Manifest, after: Manifest) -> Difference:
    """What has changed from `before` to `after`, each list in alphabetical order.

    A program that is listed under a name with its version in it ("7-Zip 25.01 (x64)") is the same under the next one's.
    """
    unknown = before.software_left_out or after.software_left_out
    old, new = ({}, {}) if unknown else (before.software, after.software)
    renamed = _renamed(old, new)
    kept = sorted(name for name in old if name in new and old[name] != new[name])
    changed = [*_changes(kept, old, new)]
    changed += [Change(name=later, before=old[name], after=new[later]) for name, later in renamed.items()]
    looked = before.features is not None and after.features is not None
    had, has = (set(before.features or ()), set(after.features or ())) if looked else (set(), set())
    return Difference(
        build_before=before.os.build,
        build_after=after.os.build,
        hotfixes_gained=tuple(sorted(set(after.hotfixes) - set(before.hotfixes))),
        hotfixes_lost=tuple(sorted(set(before.hotfixes) - set(after.hotfixes))),
        features_enabled=tuple(sorted(has - had)),
        features_disabled=tuple(sorted(had - has)),
        software_added=_changes(sorted(set(new) - set(old) - set(renamed.values())), old, new),
        software_removed=_changes(sorted(set(old) - set(new) - set(renamed)), old, new),
        software_changed=tuple(sorted(changed, key=lambda change: change.name)),
        software_unknown=unknown,
    )


def _renamed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Names that went, with the one that came for each: alike but for the versions in them, and nothing else is."""
    gone, come = _by_plain_name(set(old) - set(new)), _by_plain_name(set(new) - set(old))
    return {
        names[0]: come[plain][0]
        for plain, names in gone.items()
        if len(names) == 1 and len(come.get(plain, ())) == 1 and plain
    }


def _by_plain_name(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(" ".join(VERSION_IN_NAME.sub(" ", name).split()), []).append(name)
    return found


def _changes(names: Sequence[str], old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(Change(name=name, before=old.get(name, ""), after=new.get(name, "")) for name in names)


def as_numbers(build: str) -> tuple[int, ...]:
    """A Windows build such as "26200.7171" in a form that compares; a part that is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in build.split("."))
