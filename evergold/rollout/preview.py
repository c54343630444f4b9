"""A rollout before it is done: what it would replace, in which order and why, and what its users would notice. Nothing is changed.

The same text stands above an approval, in a dry run of `roll-out-image` and in the answer of `evergold plan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from evergold.azure import Azure
from evergold.azure.ids import image_version_id
from evergold.config.models import ImageSet, Pool, ReleaseMethod, Ring, RolloutPolicy
from evergold.rollout.act import Place
from evergold.rollout.engine import policy_for, watch_of
from evergold.rollout.estimate import Estimate, run_ahead
from evergold.rollout.frozen import hosts_to_freeze
from evergold.rollout.hosts import is_kept, on_target
from evergold.rollout.model import Host, Policy, Snapshot, Target
from evergold.rollout.scaling import schedules_for

LONGEST_LIST = 20  # hosts of a pool that are named one by one


@dataclass(frozen=True)
class Preview:
    """What a rollout would do to one pool. `hosts` are those that it would replace, in their order."""

    ring: str
    pool: str
    policy: Policy
    hosts: tuple[Host, ...]
    left_alone: tuple[tuple[str, str], ...]
    problem: str = ""
    expected: Estimate = field(default_factory=Estimate)

    @property
    def users(self) -> int:
        """Users on the hosts that would be replaced, as of now."""
        return sum(host.session_count for host in self.hosts)


async def place_of(
    azure: Azure, image_set: ImageSet, pool: Pool, target: Target, method: ReleaseMethod | None = None
) -> Place:
    """Where and how a rollout of one pool acts."""
    hosts = await azure.desktops.list_session_hosts(pool.resource_group, pool.name)
    return Place(azure, image_set, pool, policy_for(image_set, len(hosts), method), target)


def target_of(azure: Azure, image_set: ImageSet, refresh: str, version: str, pool: Pool) -> Target:
    """What a rollout of a version to a pool is for; `refresh` is the id of the refresh that made it."""
    gallery, subscription = image_set.gallery, str(azure.environment.subscription_id)
    version_id = image_version_id(subscription, gallery.resource_group, gallery.name, gallery.image_definition, version)
    return Target(refresh, version_id, 0, pool.hosts.name_prefix)


async def describe_plan(
    azure: Azure,
    image_set: ImageSet,
    refresh: str,
    version: str,
    only_pool: str = "",
    release_method: ReleaseMethod | None = None,
) -> str:
    """What a rollout of the version would set going, as markdown: pools, hosts and their order, users, and how they are treated."""
    previews = [
        await preview_pool(azure, image_set, ring, pool, refresh, version, release_method)
        for ring in image_set.rings
        for pool in ring.pools
        if only_pool in ("", pool.name)
    ]
    return to_markdown(image_set, previews)


async def preview_pool(
    azure: Azure,
    image_set: ImageSet,
    ring: Ring,
    pool: Pool,
    refresh: str,
    version: str,
    release_method: ReleaseMethod | None = None,
) -> Preview:
    """What a rollout of the version would do to one pool."""
    target = target_of(azure, image_set, refresh, version, pool)
    place = await place_of(azure, image_set, pool, target, release_method or ring.release_method)
    snapshot = await watch_of(place).look()
    place = place.quiet_by(await schedules_for(place, snapshot))
    for expected in run_ahead(snapshot, target, place.policy, snapshot.taken_at):
        if expected:
            return preview(ring.name, pool.name, snapshot, place.policy, target, expected)
        await azure.clock.sleep(
            0
        )  # a large pool takes seconds: whatever else is on this loop goes on between two plans
    raise AssertionError("the last step is the estimate")


def preview(ring: str, pool: str, snapshot: Snapshot, policy: Policy, target: Target, expected: Estimate) -> Preview:
    """What a rollout would do to a pool that looks so."""
    names = hosts_to_freeze(snapshot, target)
    going = sorted(
        (host for host in snapshot.hosts if host.name in names),
        key=lambda host: (host.session_count, host.name.casefold()),
    )
    left = tuple((host.name, _why_left(host, target)) for host in snapshot.hosts if host.name not in names)
    return Preview(ring, pool, policy, tuple(going), left, "" if snapshot.complete else snapshot.problem, expected)


def to_markdown(image_set: ImageSet, previews: Sequence[Preview]) -> str:
    """Previews of pools, for a person who has to decide on them."""
    rows = [
        f"| {each.ring} | {each.pool} | {each.problem or len(each.hosts)} | {each.users} | {each.policy.release_method} "
        f"| {each.policy.surge} | {each.expected.words} |"
        for each in previews
    ]
    head = (
        "| ring | host pool | hosts to replace | users on them now | release | extra hosts at most | expected to take |"
    )
    table = "\n".join([head, "| --- | --- | --- | --- | --- | --- | --- |", *rows])
    policy = image_set.rollout
    treatment = f"{_treatment(image_set, previews)} At least {policy.capacity_floor_percent} % of each"
    return (
        f"### What an approval sets going\n\n{table}\n\n{treatment} pool's session capacity stays open. "
        f"{_way_back(policy)} How long it takes is the planner's own answer, run ahead with hosts that take "
        "12 to 40 minutes to come up and users who stay up to nine hours; nothing fails in it.\n\n"
        + "\n\n".join(_hosts(each) for each in previews if each.hosts)
    )


def _way_back(policy: RolloutPolicy) -> str:
    if policy.strategy == "in_place":
        return "Each old host is deleted before its successor is made under its name: no way back but a rollout of the earlier version."
    return f"Old hosts are kept for {policy.retain_days} days."


def _treatment(image_set: ImageSet, previews: Sequence[Preview]) -> str:
    moved = sum(each.users for each in previews if each.policy.release_method != "opportunistic")
    if not moved:
        return "Nobody is signed out: a host goes when its last user has left."
    people = "About 1 user is" if moved == 1 else f"About {moved} users are"
    return (
        f"{people} warned {image_set.rollout.warn_minutes} minutes ahead, signed out once, and find room on new hosts."
    )


def _hosts(each: Preview) -> str:
    shown = each.hosts[:LONGEST_LIST]
    rows = [
        f"| {number} | {host.name} | {(host.image_version_id or 'another image').rpartition('/')[2]} | {host.session_count} |"
        for number, host in enumerate(shown, 1)
    ]
    rest = len(each.hosts) - len(shown)
    more = f"\n\n... and {rest} more." if rest else ""
    alone = "; ".join(f"{name}: {why}" for name, why in each.left_alone[:LONGEST_LIST])
    table = "\n".join(["| order | host | on | users |", "| --- | --- | --- | --- |", *rows])
    note = f"\n\nLeft alone: {alone}." if alone else ""
    return f"**{each.pool}**, the emptiest first as things are now:\n\n{table}{more}{note}{_night(each.policy)}"


def _night(policy: Policy) -> str:
    """What a pool's scaling plan has to do with it."""
    if not policy.schedules:
        return ""
    return (
        "\n\nIts scaling plan is suspended meanwhile. From ramp-down until half an hour before ramp-up what it has switched off stays "
        "off, and its own least share of hosts is what stays open; the capacity named above is there for the day, asleep or not."
    )


def _why_left(host: Host, target: Target) -> str:
    if is_kept(host):
        return "somebody keeps it"
    if not host.registered:
        return "not in the pool"
    if not host.has_vm:
        return "a name without a VM"
    return "on the version already" if on_target(host, target) else "not known well enough"
