"""The way back: from the version that a pool is on to an earlier one.

A roll back is a rollout with another target: hosts that are retained on that version are switched on and registered again before any is
made. What it goes back to, and what it leaves, is read from the pool itself. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from evergold import tags
from evergold.rollout.hosts import is_kept, is_lower
from evergold.rollout.model import Host, Snapshot

UNDER_WAY = re.compile(r"[^|]*-back-to-(\d+\.\d+\.\d+)-\d{8}-\d{4}\|")


class NoWayBackError(Exception):
    """There is nothing to go back to; says why, and what to do."""


@dataclass(frozen=True)
class WayBack:
    """Where a pool goes back to.

    Attributes:
        version_id: resource id of the version that it goes back to.
        left: numbers of the versions that it leaves: nobody shall get them any more.
        retained: names of the hosts that are kept on the earlier version.

    """

    version_id: str
    left: tuple[str, ...]
    retained: tuple[str, ...]


def way_back(snapshot: Snapshot, definition_id: str, wanted: str = "") -> WayBack:
    """Where the pool goes back to: the version of this number, or of the roll back that is under way, or the last one retired.

    `definition_id` is the image definition's resource id. Raises NoWayBackError where there is none, or it would be no way back.
    """
    ours = [host for host in snapshot.hosts if _of_definition(host, definition_id)]
    retained = sorted((host for host in ours if _is_retained(host)), key=lambda host: host.tags[tags.RETIRED_AT])
    serving = {host.image_version_id or "" for host in ours if host.registered}
    wanted = wanted or _under_way(snapshot.pool.tags)
    version_id = f"{definition_id}/versions/{wanted}" if wanted else _last_version(retained, serving)
    left = sorted({_number(each) for each in serving if is_lower(version_id, each)})
    if not left and not any(_number(each) == _number(version_id) for each in serving):
        raise NoWayBackError(
            f"No host of the pool is on a version above {_number(version_id)}: going there would be no way back. Nothing was changed. "
            "What to do: choose an earlier version; or start roll-out-image, if you mean to go forward."
        )
    kept = tuple(host.name for host in retained if _number(host.image_version_id or "") == _number(version_id))
    return WayBack(version_id, tuple(left), kept)


def roll_back_id(image_set: str, version_id: str, pool_tags: Mapping[str, str], now: datetime) -> str:
    """What this roll back is called on everything that it touches: the unfinished one to the same version, or a new name."""
    stem = f"{image_set}-back-to-{_number(version_id)}"
    last = (pool_tags.get(tags.ROLLOUT) or "").partition("|")[0]
    return last if last.startswith(f"{stem}-") else f"{stem}-{now.astimezone(UTC):%Y%m%d-%H%M}"


def _under_way(pool_tags: Mapping[str, str]) -> str:
    """The version that the pool's last rollout goes back to; "" where that was no roll back."""
    found = UNDER_WAY.match(pool_tags.get(tags.ROLLOUT) or "")
    return found[1] if found else ""


def _last_version(retained: list[Host], serving: set[str]) -> str:
    """What hosts were last retired from, and is lower than what serves: hosts that are retained by a roll back are no way back."""
    found = [host.image_version_id or "" for host in retained] or sorted(serving)
    lower = [each for each in found if any(is_lower(each, other) for other in serving)]
    if lower:
        return lower[-1]
    raise NoWayBackError(
        "No host is retained from an earlier version, so that there is none to go back to by itself. Nothing was changed. What to do: name "
        "the version to go back to (to_version); new hosts are then made from it."
    )


def _of_definition(host: Host, definition_id: str) -> bool:
    return host.has_vm and (host.image_version_id or "").casefold().startswith(f"{definition_id}/versions/".casefold())


def _is_retained(host: Host) -> bool:
    return not host.registered and tags.RETIRED_AT in host.tags and tags.FAILED not in host.tags and not is_kept(host)


def _number(version_id: str) -> str:
    return version_id.rpartition("/")[2]
