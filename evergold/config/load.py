"""Reads image sets, environments and automations from the deployments folder.

The folder is the argument `root`, or the environment variable EVERGOLD_DEPLOYMENTS, or `deployments` in the repository. Scripts are
named from the folder that holds it, or from EVERGOLD_REPOSITORY. Everything wrong in a file is told at once, in one ConfigError.
Nothing here speaks to Azure: that a pool or a subnet exists is for the preflight to find out.
"""

import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from evergold.config.automations import Automation, Channel, Channels
from evergold.config.document import Document, Place, read_document
from evergold.config.errors import ConfigError, Problem
from evergold.config.models import Environment, ImageSet
from evergold.config.words import closest, problems_of

__all__ = [
    "ConfigError",
    "Problem",
    "deployments_root",
    "list_environments",
    "list_host_pools",
    "list_image_sets",
    "load_automations",
    "load_channels",
    "load_environment",
    "load_image_set",
    "script_file",
]

IMAGE_SETS = "image_sets"
ENVIRONMENTS = "environments"
AUTOMATIONS = "automations"
CHANNELS = "channels"
LARGEST_STEP = 128 * 1024  # bytes of files that one step may bring from the repository
_Model = TypeVar("_Model", bound=BaseModel)


def deployments_root(root: Path | None = None) -> Path:
    """The folder that holds image_sets and environments, as an absolute path."""
    named = root or os.environ.get("EVERGOLD_DEPLOYMENTS")
    return Path(named).resolve() if named else Path(__file__).resolve().parents[2] / "deployments"


def script_file(script: str, root: Path | None = None) -> Path:
    """Where a customise step's script is."""
    top = os.environ.get("EVERGOLD_REPOSITORY")
    return (Path(top).resolve() if top else deployments_root(root).parent) / script


def list_image_sets(root: Path | None = None) -> list[str]:
    """The names of all image sets, sorted. Files are not opened."""
    return _names(deployments_root(root) / IMAGE_SETS)


def list_host_pools(root: Path | None = None) -> list[str]:
    """The names of all host pools of all image sets, sorted. An image set that cannot be read is left out: its run says why."""
    found: set[str] = set()
    for name in list_image_sets(root):
        try:
            found |= {pool.name for ring in load_image_set(name, root).rings for pool in ring.pools}
        except ConfigError:
            continue
    return sorted(found)


def list_environments(root: Path | None = None) -> list[str]:
    """The names of all environments, sorted. Files are not opened."""
    return _names(deployments_root(root) / ENVIRONMENTS)


def load_image_set(name: str, root: Path | None = None) -> ImageSet:
    """The image set of this name, whole and consistent, its scripts and its environment's file in place; else ConfigError."""
    document = _open(deployments_root(root) / IMAGE_SETS, name, "image set")
    return _validated(document, ImageSet, [*_name_problems(document, name), *_image_set_problems(document, root)])


def load_environment(name: str, root: Path | None = None) -> Environment:
    """The environment of this name, its `ca_file` made absolute (and not opened); else ConfigError."""
    folder = deployments_root(root) / ENVIRONMENTS
    document = _open(folder, name, "environment")
    environment = _validated(document, Environment, list(_name_problems(document, name)))
    endpoints = environment.endpoints
    if endpoints is None or endpoints.ca_file is None:
        return environment
    absolute = endpoints.model_copy(update={"ca_file": (folder / endpoints.ca_file).resolve()})
    return environment.model_copy(update={"endpoints": absolute})


def load_automations(root: Path | None = None) -> list[Automation]:
    """Every automation, by file name; else ConfigError."""
    folder = deployments_root(root) / AUTOMATIONS
    return [
        _validated(_open(folder, name, "automation"), Automation, []) for name in _names(folder) if name != CHANNELS
    ]


def load_channels(root: Path | None = None) -> tuple[Channel, ...]:
    """The channels by which people are told; else ConfigError."""
    document = _open(deployments_root(root) / AUTOMATIONS, CHANNELS, "file")
    given = document.texts("channels", "*", "name")
    return _validated(document, Channels, list(_twice(document, given, "Give each channel its own name."))).channels


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _open(folder: Path, name: str, what: str) -> Document:
    known = _names(folder)
    if name not in known:
        message = f'has no {what} "{name}"'
        remedy = closest(name, known, what=f"{what}s") if folder.is_dir() else _NO_FOLDER
        raise ConfigError([Problem(_shown(folder), 0, "", message, remedy)])
    path = folder / f"{name}.yaml"
    return read_document(path, _shown(path))


_NO_FOLDER = (
    "There is no such folder. Run this from the repository, or set EVERGOLD_DEPLOYMENTS to the deployments folder."
)


def _shown(path: Path) -> str:
    """The path from the current folder when it lies below it, so that a terminal or editor can open it."""
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)


def _validated(document: Document, model: type[_Model], found: list[Problem]) -> _Model:
    problems = [*document.problems, *found]
    try:
        value = model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        told = {each.field for each in problems}
        problems += [each for each in problems_of(error, document, model) if each.field not in told]
    if problems:
        raise ConfigError(problems)
    return value


def _name_problems(document: Document, name: str) -> Iterator[Problem]:
    for place, given in document.texts("name"):
        if given != name:
            message = f'is "{given}", but the file is {name}.yaml'
            yield document.problem(place, message, f"Write name: {name}, or rename the file to {given}.yaml.")


def _image_set_problems(document: Document, root: Path | None) -> Iterator[Problem]:
    for place, given in document.texts("environment"):
        if given not in (known := list_environments(root)):
            yield document.problem(
                place, f'there is no environment "{given}"', closest(given, known, what="environments")
            )
    files = [
        ("customise", "*", "script"),
        ("customise", "*", "files", "*", "source"),
        ("checks", "own", "*", "script"),
        ("checks", "own", "*", "query"),
    ]
    for place, given in (found for where in files for found in document.texts(*where)):
        if not script_file(given, root).is_file():
            message = f'there is no file "{given}"'
            yield document.problem(
                place, message, f"Add it as {_shown(script_file(given, root))}, or correct the path."
            )
    yield from _files_too_large(document, root)
    yield from _location_not_published(document)
    yield from _scheduled_without_a_time(document)
    yield from _policy_of_another_gallery(document, root)
    pools = document.texts("rings", "*", "pools", "*", "name")
    yield from _twice(document, pools, "A host pool belongs to one ring: remove it from the others.")
    prefixes = document.texts("rings", "*", "pools", "*", "hosts", "name_prefix")
    yield from _twice(document, prefixes, "Give each pool its own: computer names must differ across all pools.")
    yield from _twice(document, document.texts("rings", "*", "name"), "Give each ring its own name.")
    yield from _twice(document, document.texts("customise", "*", "name"), "Give each step its own name.")
    yield from _twice(document, document.texts("checks", "own", "*", "name"), "Give each check its own name.")
    yield from _twice(document, document.texts("publish", "regions", "*", "name"), "Name each region once.")


def _twice(document: Document, found: list[tuple[Place, str]], remedy: str) -> Iterator[Problem]:
    """What stands more than once, told at its second and later places. Azure's names do not know capitals."""
    alike = groupby(sorted(found, key=lambda each: each[1].lower()), key=lambda each: each[1].lower())
    for _, group in alike:
        first, *others = group
        for place, given in others:
            yield document.problem(
                place, f'"{given}" stands twice; the first is on line {document.line(first[0])}', remedy
            )


def _files_too_large(document: Document, root: Path | None) -> Iterator[Problem]:
    """They travel inside a script: what is larger the machine fetches by itself."""
    placed = document.texts("customise", "*", "files", "*", "source")
    for step, group in groupby(placed, key=lambda each: each[0][:2]):
        found = [script_file(given, root) for _, given in group]
        size = sum(path.stat().st_size for path in found if path.is_file())
        if size > LARGEST_STEP:
            message = f"have {size:,} bytes together, and {LARGEST_STEP:,} find room in a step"
            remedy = "Put the larger ones into a storage account, and give url and sha256 instead of source."
            yield document.problem((*step, "files"), message, remedy)


def _policy_of_another_gallery(document: Document, root: Path | None) -> Iterator[Problem]:
    """Campaigns on one provisioning policy keep out of each other's way by tags in their gallery: it has to be one gallery."""
    policies = document.texts("cloud_pcs", "provisioning_policies", "*")
    others = list_image_sets(root) if policies else []
    own_name = [given for _, given in document.texts("name")]
    for name in others:
        other = _open(deployments_root(root) / IMAGE_SETS, name, "image set")
        if name in own_name or _gallery(other) == _gallery(document) or _home(other) != _home(document):
            continue
        theirs = {given.casefold() for _, given in other.texts("cloud_pcs", "provisioning_policies", "*")}
        for place, given in policies:
            if given.casefold() in theirs:
                message = f'"{given}" is also a policy of {name}, which publishes to another gallery'
                remedy = "Two campaigns on it would not see each other: publish both to one gallery, or name it in one image set."
                yield document.problem(place, message, remedy)


def _gallery(document: Document) -> list[str]:
    parts = [*document.texts("gallery", "resource_group"), *document.texts("gallery", "name")]
    return [given.casefold() for _, given in parts]


def _home(document: Document) -> list[str]:
    return [given for _, given in document.texts("environment")]


def _location_not_published(document: Document) -> Iterator[Problem]:
    regions = [given for _, given in document.texts("publish", "regions", "*", "name")]
    for _, location in document.texts("location"):
        if regions and location not in regions:
            message = f"{location} is not among them, and the image is made there"
            yield document.problem(("publish", "regions"), message, f"Add `- name: {location}`.")


def _scheduled_without_a_time(document: Document) -> Iterator[Problem]:
    if document.texts("rollout", "scheduled_start") or document.texts("rollout", "windows", "*", "start"):
        return
    chosen = [*document.texts("rings", "*", "release_method"), *document.texts("approval", "release_methods", "*")]
    for place, method in chosen:
        if method == "scheduled":
            message = "is scheduled, and rollout.scheduled_start is missing"
            remedy = "Add to rollout when users may be moved, such as scheduled_start: 2026-11-14T22:00:00+01:00."
            yield document.problem(place, message, remedy)
