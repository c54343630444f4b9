"""The tags in which a rollout's progress stands: Azure is the database, and these are its columns.

Times are ISO 8601 in UTC to the second ("2026-11-12T20:00:00Z"). Azure allows 512 characters for a tag's name, 256 for its value and
50 tags on a resource.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

LONGEST_VALUE = 256

# On the machine that an image is built on.
INSTALLING = "evergold-installing-since"  # a round of Windows updates was begun then, and not seen to end
BY_HAND = "evergold-by-hand-"  # and the step's name: who did what; on the image version too

# On everything that a refresh makes.
REFRESH = "evergold-refresh"
IMAGE_SET = "evergold-image-set"

IMAGE_VERSION = "evergold-image-version"  # on snapshots and managed images: the version whose build made them
TEMPLATE_DISK = "evergold-template-disk"  # on a template VM while a build uses it: the id of its own OS disk
KEEP_UNTIL = "evergold-keep-until"  # on a build machine: after that the daily run removes it
PURPOSE = "evergold-purpose"  # of a snapshot: "source-host" or "before-sysprep"
PLAN = "evergold-plan"  # on a snapshot: "<publisher>|<product>|<name>" of the plan that its image was bought under

# On the VMs of session hosts.
POOL = "evergold-pool"  # the host pool's id: retained hosts, which no pool knows any more, are found by it
REPLACE = "evergold-replace"  # "<refresh>/<vmId>": this very VM is being replaced by that refresh
WAS_DRAINED = "evergold-was-drained"  # it was in drain mode before the rollout came, and stays so if the rollout halts
DRAINED_AT = "evergold-drained-at"
REOPENED_AT = "evergold-reopened-at"  # somebody had opened it since, and it was drained once more: it is not done again
WARNED_AT = "evergold-warned-at"
REMINDED_AT = "evergold-reminded-at"  # when those who were warned were last told again
WARNED_SESSIONS = "evergold-warned-sessions"  # which sessions were told: see `ids_value`; no other is ever signed out
EMPTY_SINCE = "evergold-empty-since"  # when the broker was first seen to report no session on it
CHECKED_AT = "evergold-checked-at"  # a new host passed its checks
UNWELL_AT = "evergold-unwell-at"  # a checked host was seen unhealthy before it was opened: it proves itself anew
FAILED = "evergold-failed"  # why a new host did not come up
RETIRED_AT = "evergold-retired-at"
RETAIN_UNTIL = "evergold-retain-until"
WARNED_USERS = "evergold-warned-users"  # how many users were warned on it, and signed out of it: for the report
MOVED_USERS = "evergold-moved-users"
SOURCE_OF = (
    "evergold-source-of"  # "<refresh>|<open or drained>|<on or off>|<since>": taken to be copied, and how it was before
)
SOURCE_WARNED_AT = "evergold-source-warned-at"
SOURCE_WARNED_SESSIONS = "evergold-source-warned-sessions"
SOURCE_EMPTY_SINCE = "evergold-source-empty-since"
BACK = "evergold-back"  # "<refresh>/<vmId>": this very retained host is brought back by that roll back
BACK_AT = "evergold-back-at"  # since when
WOKEN_AT = "evergold-woken-at"  # when a host was switched on that a scaling plan had switched off
KEEP = "evergold-keep"  # any value: never touched

# On host pools.
LEASE = "evergold-lease"  # "<refresh>|<holder>|<until>"
ROLLOUT = "evergold-rollout"  # "<refresh>|<size>": how many hosts the pool had when that refresh came to it
FROZEN = "evergold-frozen-"  # and a number: "<refresh>|<the youngest's age>|<names>": the hosts that it replaces, see rollout/frozen.py
FAILURES = "evergold-failures"  # "<refresh>|<names>": new hosts that failed and were removed
VACATED = (
    "evergold-vacated"  # "<refresh>|<names>": hosts that were deleted in place, and whose successors may not stand yet
)
CARD = "evergold-card-"  # with a host's name: "<refresh>|<name>" of the network card whose static address its successor is to have
LAST_FAILURE = "evergold-last-failure"  # "<refresh>|<time>|<host>: <why>": the last of them
SCALING = "evergold-scaling"  # the id of the scaling plan that a rollout has suspended for the pool
LOWEST_CAPACITY = "evergold-lowest-capacity"  # "<refresh>|<percent>"

# On image versions.
STATE = "evergold-state"
BOOTED = "evergold-booted"  # when a machine made from it has come up, on the build's subnet
SOURCE = "evergold-source"
NOTES = "evergold-notes"  # why; on the image definition too, while its refresh is under way
STARTED_BY = "evergold-started-by"  # who asked for the refresh; on the image definition too, while it is under way
APPROVED_BY = "evergold-approved-by"
APPROVED_AT = "evergold-approved-at"
APPROVED_DIGEST = "evergold-approved-digest"
APPROVED_FROM = "evergold-approved-from"  # where the answer was given, such as "evergold approve on ws-17"
RING = (
    "evergold-ring-"  # with a ring's name: "<time>|<release method>|<who>": somebody has let the version into that ring
)
DECISION = "evergold-decision"
PROMOTED_BY = "evergold-promoted-by"  # "<time>|<who>|<why>": promoted by hand
ROLL_OUT_AFTER = "evergold-roll-out-after"  # approved for later
RELEASE_METHOD = "evergold-release-method"  # chosen by the approver, instead of the image set's
WITHDRAWN = "evergold-rolled-back"  # "<time>|<who>|<why>": a pool was rolled back from it, and nobody gets it any more

# On the image definition: the refresh that is under way.
REFRESH_NOW = "evergold-refresh-now"
REFRESH_VERSION = "evergold-refresh-version"
REFRESH_SOURCE = "evergold-refresh-source"


def format_time(moment: datetime) -> str:
    """A moment as a tag's value."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(value: str | None) -> datetime | None:
    """The moment in a tag's value; None where there is none, or none that can be read or reckoned with."""
    try:
        moment = datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
    if moment is not None and not 2000 <= moment.year < 9000:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def frozen_value(refresh: str, vm_id: str) -> str:
    """The value of REPLACE for one VM."""
    return f"{refresh}/{vm_id.lower()}"


def ids_value(ids: Iterable[str]) -> str:
    """Ids of sessions as a tag's value: "1..4,7". What finds no room in it is left out."""
    named = set(ids)
    numbers = sorted(int(each) for each in named if each.isdecimal())
    parts = [f"{first}..{last}" if last > first else str(first) for first, last in runs_of(numbers)]
    parts += sorted(each for each in named if not each.isdecimal())
    while len(value := ",".join(parts)) > LONGEST_VALUE:
        parts.pop()
    return value


def runs_of(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Neighbours of a sorted sequence taken together: 1, 2, 3, 7 are 1 to 3, and 7."""
    for _, run in groupby(enumerate(numbers), lambda each: each[1] - each[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]


def is_among(session_id: str, value: str | None) -> bool:
    """Whether a session is one of those in such a value."""
    parts = (value or "").split(",")
    if not session_id.isdecimal():
        return bool(session_id) and session_id in parts
    ends = (part.partition("..") for part in parts)
    return any(
        first.isdecimal() and (last or first).isdecimal() and int(first) <= int(session_id) <= int(last or first)
        for first, _, last in ends
    )


def of_refresh(value: str | None, refresh: str) -> str | None:
    """What a pool's tag "<refresh>|<value>" says of this refresh; None where it speaks of another or is absent."""
    owner, _, rest = (value or "").partition("|")
    return rest if owner == refresh and rest else None


def names_of(pool_tags: Mapping[str, str] | None, tag: str, refresh: str) -> tuple[str, ...]:
    """The names in a pool's tag "<refresh>|<names>"; none where it speaks of another refresh, or is absent."""
    names = of_refresh((pool_tags or {}).get(tag), refresh)
    return tuple(names.split(",")) if names else ()
