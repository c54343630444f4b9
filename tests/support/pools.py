"""Small builders of what the planner sees: a host, a pool, a target."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from evergold import tags
from evergold.rollout.model import Host, Pool, Session, Snapshot, Target
from tests.support.moments import EPOCH

REFRESH = "r1"
OLD_VERSION = "/images/pilot/versions/1.0.0"
NEW_VERSION = "/images/pilot/versions/1.1.0"
LIMIT = 10


def ago(minutes: float) -> datetime:
    """The moment so many minutes before the tests' present."""
    return EPOCH - timedelta(minutes=minutes)


def stamp(minutes_ago: float) -> str:
    """That moment as a tag's value."""
    return tags.format_time(ago(minutes_ago))


def host(name: str, **changes: Any) -> Host:
    """A serving host on the old version, with nobody on it, that no rollout has touched."""
    plain = Host(
        name=name,
        vm_resource_id=f"/vms/{name}",
        vm_id=f"id-of-{name}",
        image_version_id=OLD_VERSION,
        power="running",
        provisioning_state="Succeeded",
        created_at=ago(60 * 24 * 30),
        registered=True,
        session_host_name=name,
        status="Available",
        allow_new_session=True,
        last_heartbeat=ago(0.5),
    )
    return replace(plain, **changes)


def old(name: str, *, users: int = 0, tagged: Mapping[str, str] | None = None, **changes: Any) -> Host:
    """An outdated host that is frozen into the rollout. Its users signed in two hours ago; where it is marked as warned, they were told."""
    on_it = tuple(Session(f"{name}-{n}", f"user{n}@contoso.com", "Active", ago(120)) for n in range(users))
    marks = {tags.REPLACE: tags.frozen_value(REFRESH, f"id-of-{name}"), **(tagged or {})}
    if tags.WARNED_AT in marks:
        marks = {tags.WARNED_SESSIONS: tags.ids_value(session.id for session in on_it), **marks}
    return host(name, **{"tags": marks, "sessions": on_it, "session_count": users, **changes})


def drained(name: str, *, users: int = 0, tagged: Mapping[str, str] | None = None, **changes: Any) -> Host:
    """An outdated host that this rollout put into drain mode an hour ago."""
    marks = {tags.DRAINED_AT: stamp(60), **(tagged or {})}
    return old(name, users=users, tagged=marks, **{"allow_new_session": False, **changes})


def vacated(name: str, **changes: Any) -> Host:
    """A drained host that has been empty for half an hour."""
    return drained(name, tagged={tags.EMPTY_SINCE: stamp(30)}, **changes)


def retired(name: str) -> Host:
    """An outdated host that is out of the pool, switched off and marked."""
    marks = {tags.EMPTY_SINCE: stamp(30), tags.RETIRED_AT: stamp(5), tags.RETAIN_UNTIL: stamp(-60 * 24 * 3)}
    return drained(name, tagged=marks, registered=False, power="deallocated")


def new(name: str, *, tagged: Mapping[str, str] | None = None, **changes: Any) -> Host:
    """A new host half an hour old: healthy, not checked, in drain mode."""
    marks = {tags.REFRESH: REFRESH, **(tagged or {})}
    plain = {"tags": marks, "image_version_id": NEW_VERSION, "created_at": ago(30), "allow_new_session": False}
    return host(name, **{**plain, **changes})


def serving(name: str, **changes: Any) -> Host:
    """A new host that has passed its checks and takes new sessions."""
    return new(name, tagged={tags.CHECKED_AT: stamp(5)}, **{"allow_new_session": True, **changes})


def way_back(name: str, *, tagged: Mapping[str, str] | None = None, **changes: Any) -> Host:
    """A host that an earlier rollout retired, on the version that the pool goes back to."""
    marks = {tags.REPLACE: f"r0/id-of-{name}", tags.RETIRED_AT: stamp(60 * 24), **(tagged or {})}
    plain = {"tags": marks, "image_version_id": NEW_VERSION, "registered": False, "power": "deallocated"}
    return host(name, **{**plain, **changes})


def look(*hosts: Host, **changes: Any) -> Snapshot:
    """A whole and fresh look at a pooled host pool of ten sessions a host."""
    return replace(Snapshot(EPOCH, Pool("/pools/pilot", LIMIT, "BreadthFirst", "Pooled"), hosts), **changes)


def target(size: int, **changes: Any) -> Target:
    """The rollout of the new version to a pool of so many hosts."""
    return replace(Target(REFRESH, NEW_VERSION, size, "pil"), **changes)
