"""Manifests: handed out in pages, kept in tags, compared with the one before."""

import base64
import gzip
import hashlib
import json
import random

import pytest

from evergold.images.manifest import (
    MOST_TAGS,
    TAG_LENGTH,
    Change,
    Manifest,
    ManifestError,
    OperatingSystem,
    Page,
    difference,
    from_tags,
    to_tags,
    unpaged,
)

WINDOWS = OperatingSystem(name="Windows 11 Enterprise multi-session", build="26200.7171")


def manifest(build: str = "26200.7171", hotfixes: tuple[str, ...] = (), **software: str) -> Manifest:
    return Manifest(os=WINDOWS.model_copy(update={"build": build}), hotfixes=hotfixes, software=software)


def with_software(software: dict[str, str]) -> Manifest:
    return Manifest(os=WINDOWS, software=software)


def office(programs: int) -> Manifest:
    dice = random.Random(1)
    names = {f"Program {number} {dice.randbytes(8).hex()}": dice.randbytes(5).hex() for number in range(programs)}
    return Manifest(os=WINDOWS, software=names)


def pages_of(found: Manifest, length: int = 60) -> list[Page]:
    """As the machine hands it out, in smaller pages."""
    text = json.dumps(found.model_dump(exclude_defaults=True)).encode()
    packed = base64.b64encode(gzip.compress(text)).decode()
    chunks = [packed[start : start + length] for start in range(0, len(packed), length)]
    digest = hashlib.sha256(text).hexdigest()
    return [Page(page=n, pages=len(chunks), digest=digest, chunk=chunk) for n, chunk in enumerate(chunks, 1)]


def test_pages_make_up_the_manifest_that_was_handed_out() -> None:
    found = manifest(hotfixes=("KB1",), Teams="26275.1008")
    assert len(pages_of(found)) > 2
    assert unpaged(pages_of(found)) == found


def test_pages_of_two_moments_are_not_put_together() -> None:
    one, other = pages_of(manifest(Teams="1")), pages_of(manifest(Teams="2"))
    with pytest.raises(ManifestError, match="changed while"):
        unpaged([one[0], *other[1:]])


def test_a_missing_page_is_noticed() -> None:
    with pytest.raises(ManifestError, match="not all"):
        unpaged(pages_of(manifest(Teams="1"))[:-1])


def test_a_manifest_that_was_damaged_on_its_way_is_noticed() -> None:
    pages = [page.model_copy(update={"digest": "0" * 64}) for page in pages_of(manifest(Teams="1"))]
    with pytest.raises(ManifestError, match="digest"):
        unpaged(pages)


@pytest.mark.parametrize("chunk", ["not base64!", "aGVsbG8=", base64.b64encode(gzip.compress(b"[]", mtime=0)).decode()])
def test_what_is_no_manifest_is_refused(chunk: str) -> None:
    with pytest.raises(ManifestError):
        unpaged([Page(page=1, pages=1, digest=hashlib.sha256(b"[]").hexdigest(), chunk=chunk)])


def test_a_manifest_survives_in_tags_among_others() -> None:
    found = office(120)
    tags = to_tags(found)
    assert len(tags) <= MOST_TAGS
    assert max(map(len, tags.values())) <= TAG_LENGTH
    assert from_tags({"evergold-state": "candidate", **tags}) == found


def test_a_list_of_software_that_no_tags_can_hold_is_left_out_and_said_to_be() -> None:
    kept = from_tags(to_tags(office(2000)))
    assert kept is not None
    assert kept.software_left_out
    assert kept.os == WINDOWS


@pytest.mark.parametrize("tags", [{}, {"evergold-manifest-01": "cut off"}])
def test_tags_without_a_readable_manifest_have_none(tags: dict[str, str]) -> None:
    assert from_tags(tags) is None


def test_a_difference_names_what_came_what_went_and_what_changed() -> None:
    before = manifest("26200.9060", ("KB1", "KB2"), Teams="1", Reader="9", Office="16")
    after = manifest("26200.9231", ("KB2", "KB3"), Teams="2", Office="16", Zip="24")
    found = difference(before, after)
    assert (found.build_before, found.build_after, found.build_is_lower) == ("26200.9060", "26200.9231", False)
    assert (found.hotfixes_gained, found.hotfixes_lost) == (("KB3",), ("KB1",))
    assert found.software_added == (Change(name="Zip", before="", after="24"),)
    assert found.software_removed == (Change(name="Reader", before="9", after=""),)
    assert found.software_changed == (Change(name="Teams", before="1", after="2"),)


def test_a_program_whose_name_carries_its_version_has_changed_and_was_not_removed() -> None:
    before = with_software({"7-Zip 24.08 (x64)": "24.08", "Runtime 8.0.1": "8.0.1", "Runtime 9.0.1": "9.0.1"})
    after = with_software({"7-Zip 25.01 (x64)": "25.01", "Runtime 8.0.2": "8.0.2", "Runtime 9.0.2": "9.0.2"})
    found = difference(before, after)
    assert found.software_changed == (Change(name="7-Zip 25.01 (x64)", before="24.08", after="25.01"),)
    assert [each.name for each in found.software_removed] == ["Runtime 8.0.1", "Runtime 9.0.1"], "which became which?"


def test_features_of_windows_are_compared_where_both_manifests_have_them() -> None:
    before = manifest().model_copy(update={"features": ("MediaPlayback", "SMB1Protocol")})
    after = manifest().model_copy(update={"features": ("MediaPlayback", "NetFx3")})
    found = difference(before, after)
    assert (found.features_enabled, found.features_disabled) == (("NetFx3",), ("SMB1Protocol",))
    unknown = difference(manifest(), after)
    assert (unknown.features_enabled, unknown.features_disabled) == ((), ())
    assert from_tags(to_tags(after)) == after


def test_nothing_is_said_to_be_removed_where_a_list_was_left_out() -> None:
    found = difference(manifest(Teams="1"), manifest().model_copy(update={"software_left_out": True}))
    assert found.software_unknown
    assert found.software_removed == ()


def test_windows_builds_are_compared_as_numbers() -> None:
    assert difference(manifest("26200.9999"), manifest("26200.10000")).build_is_lower is False
    assert difference(manifest("26200.10000"), manifest("26200.9999")).build_is_lower is True
