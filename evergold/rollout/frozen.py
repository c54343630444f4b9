"""Which hosts a rollout replaces, decided once, when it starts, and noted on the host pool in one write: no other is touched from then on.

A host is frozen by its name and by its age: none of those that were frozen is younger than the youngest of them was, by Azure's own clock.
So a machine that is made later under the name of one is not taken for it. Names take up little room: "pil-[001..120,125]" stands for 121
hosts. What finds no room in the tags, or has no time of creation, is left out; whoever freezes marks such a host on itself.

Every function is pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from evergold import tags
from evergold.rollout.hosts import is_kept, is_new, is_stray, on_target
from evergold.rollout.model import Frozen, Host, Snapshot, Target

# Azure allows 50 tags on a resource, of which others want some too.
MOST_TAGS = 20
LARGEST_POOL = 10_000  # hosts: learn.microsoft.com, "Azure Virtual Desktop service limits"
NUMBERED = re.compile(r"(.*?)(\d{1,9})")
GROUP = re.compile(r"([^\[\];,]+)(?:\[([^\]]*)\])?")


def hosts_to_freeze(snapshot: Snapshot, target: Target) -> tuple[str, ...]:
    """The hosts that a rollout replaces, decided once, when it starts: in the pool, on another image, not kept, nobody's own.

    Those too that an unfinished rollout has left on their way into the pool, or out of it: nobody else would see to them.
    Empty for a snapshot that is not complete; ask `why_unfit` before taking an empty answer for an up-to-date pool.
    """
    if not snapshot.complete:
        return ()
    return tuple(
        host.name
        for host in snapshot.hosts
        if (host.registered or is_stray(host, target))
        and host.has_vm
        and host.vm_id
        and not is_kept(host)
        and not host.assigned_user
        and not on_target(host, target)
    )


def pool_size(snapshot: Snapshot, target: Target) -> int:
    """How many hosts the pool is to have: what `Target.size` is to be when a rollout starts.

    Those that it has, but neither those that this rollout made nor what an unfinished one before it has made beside the pool.
    """
    standing = [host for host in snapshot.hosts if host.registered and host.has_vm and not is_new(host, target)]
    return len(standing) - _surplus(standing, snapshot.pool.tags, target)


def _surplus(standing: Sequence[Host], pool_tags: Mapping[str, str], target: Target) -> int:
    """Hosts that the last rollout has made and that have taken nobody's place; hosts that came by hand since are none of them."""
    owner, _, size = pool_tags.get(tags.ROLLOUT, "").partition("|")
    frozen = frozen_into(pool_tags, owner)
    if frozen is None or owner == target.refresh or not (size.isascii() and size.isdecimal()):
        return 0
    made = sum(
        1
        for host in standing
        if host.tags.get(tags.REFRESH) == owner or host.tags.get(tags.BACK, "").startswith(f"{owner}/")
    )
    replaced = len(frozen.names) - sum(1 for host in standing if frozen.has(host))
    return max(min(made - replaced, len(standing) - int(size)), 0)


@dataclass(frozen=True)
class Noted:
    """How a frozen set is noted: the pool's tags, and the names of the hosts that are not among them."""

    tags: Mapping[str, str]
    left_out: frozenset[str]


def noted(refresh: str, hosts: Sequence[Host]) -> Noted:
    """The tags by which these hosts are frozen into a refresh."""
    ages = {host.name.casefold(): host.created_at for host in hosts if host.created_at is not None}
    if not ages:
        return Noted({}, frozenset(host.name for host in hosts))
    # To the second above: what is made anew is younger than that by the minutes that a deletion and a creation take.
    youngest = max(ages.values()) + timedelta(seconds=1)
    stem = f"{refresh}|{tags.format_time(youngest)}|"
    values = list(_values(stem, sorted(ages)))[:MOST_TAGS]
    known = Frozen(youngest, frozenset(name for value in values for name in _names(value.removeprefix(stem))))
    chunks = {f"{tags.FROZEN}{number}": value for number, value in enumerate(values, 1)}
    return Noted(chunks, frozenset(host.name for host in hosts if not known.has(host)))


def frozen_into(pool_tags: Mapping[str, str], refresh: str) -> Frozen | None:
    """The hosts that a pool's tags freeze into this refresh; None where they speak of none."""
    return _read(value for name, value in pool_tags.items() if _is_chunk(name) and value.startswith(f"{refresh}|"))


def frozen_into_any(pool_tags: Mapping[str, str]) -> Frozen | None:
    """The hosts that a pool's tags freeze into the last refresh that came to it."""
    return _read(value for name, value in pool_tags.items() if _is_chunk(name))


def lacking(snapshot: Snapshot, target: Target) -> list[str]:
    """Names, in small letters, of hosts that are frozen into this rollout and that a look shows no machine of."""
    seen = {host.name.casefold() for host in snapshot.hosts if host.has_vm}
    return sorted(target.frozen.names - seen) if target.frozen is not None else []


def outlived(pool_tags: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """The names of tags that an earlier refresh has left, and that the new ones do not overwrite."""
    return tuple(name for name in pool_tags if _is_chunk(name) and name not in new)


def _is_chunk(name: str) -> bool:
    return name.casefold().startswith(tags.FROZEN)


def _read(values: Iterable[str]) -> Frozen | None:
    names: set[str] = set()
    ages: list[datetime] = []
    for value in values:
        _, _, rest = value.partition("|")
        age, _, packed = rest.partition("|")
        moment = tags.parse_time(age)
        if moment is not None:
            ages.append(moment)
            names.update(_names(packed))
    return Frozen(min(ages), frozenset(names)) if ages else None


def _values(stem: str, names: Sequence[str]) -> Iterator[str]:
    """The tags' values: as many parts in each as find room."""
    value = ""
    for part in _parts(names, tags.LONGEST_VALUE - len(stem)):
        longer = f"{value};{part}" if value else part
        if value and len(stem) + len(longer) > tags.LONGEST_VALUE:
            yield stem + value
            longer = part
        value = longer
    if value:
        yield stem + value


def _parts(names: Sequence[str], longest: int) -> Iterator[str]:
    """The names, those that differ in their last number alone taken together: "pil-[001..120,125]"."""
    for (prefix, width), members in groupby(
        sorted(names, key=_stem_and_number), lambda name: _stem_and_number(name)[0]
    ):
        if not width:
            yield prefix
            continue
        part = ""
        for run in tags.runs_of(sorted(int(name[len(prefix) :]) for name in members)):
            text = "..".join(f"{number:0{width}d}" for number in dict.fromkeys(run))
            longer = f"{part},{text}" if part else text
            if part and len(prefix) + len(longer) + 2 > longest:
                yield f"{prefix}[{part}]"
                longer = text
            part = longer
        yield f"{prefix}[{part}]"


def _stem_and_number(name: str) -> tuple[tuple[str, int], int]:
    """What stands before a name's last number, how many digits that has (0: there is none), and the number."""
    found = NUMBERED.fullmatch(name)
    return ((found[1], len(found[2])), int(found[2])) if found else ((name, 0), 0)


def _names(packed: str) -> Iterator[str]:
    for prefix, numbers in GROUP.findall(packed):
        if not numbers:
            yield prefix.casefold()
        for run in numbers.split(",") if numbers else ():
            first, _, last = run.partition("..")
            if first.isdecimal() and (last or first).isdecimal() and int(last or first) - int(first) < LARGEST_POOL:
                yield from (f"{prefix}{n:0{len(first)}d}".casefold() for n in range(int(first), int(last or first) + 1))
