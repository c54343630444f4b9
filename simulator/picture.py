"""The world as the page draws it: plain data, made new each time somebody looks. It reads everything and changes nothing."""

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from simulator.cloud_pcs import REPROVISIONED_FROM, Policy
from simulator.galleries import ImageDefinition, ImageVersion, plain
from simulator.kernel.arm import Json
from simulator.kernel.clock import Clock, ScaledClock, WallClock
from simulator.machines import Machine
from simulator.session_hosts import USABLE, Pool, SessionHost
from simulator.truth import FLOOR_PERCENT

if TYPE_CHECKING:
    from simulator.cloud import Cloud

OFF = ("stopping", "stopped", "deallocating", "deallocated")


def speed_of(clock: Clock) -> float | None:
    """Simulated seconds in a real second; None where the clock is moved by somebody and not by real time."""
    if isinstance(clock, ScaledClock):
        return clock.speed
    return 1.0 if isinstance(clock, WallClock) else None


def picture(cloud: "Cloud") -> Json:
    """Everything on the page."""
    now = cloud.world.now
    definitions = cloud.galleries.definitions()
    newest = {definition.id.lower(): _newest(definition) for definition in definitions}
    registered = {host.vm.lower(): host for host in cloud.desktop.hosts()}
    pools = list(cloud.desktop.pools.values())
    groups = {pool.group.lower() for pool in pools}
    elsewhere = [
        m for m in cloud.compute.machines() if m.id.lower() not in registered and m.group.lower() not in groups
    ]
    report = cloud.truth.report()
    return {
        "now": now.isoformat(),
        "local": now.astimezone(ZoneInfo(cloud.scenario.time_zone)).isoformat(),
        "time_zone": cloud.scenario.time_zone,
        "speed": speed_of(cloud.world.clock),
        "scenario": cloud.scenario.name,
        "requests": cloud.journal.count,
        "floor_percent": FLOOR_PERCENT,
        "pools": [_pool(cloud, pool, newest) for pool in pools],
        "machines": [_tile(None, machine, newest) for machine in elsewhere],
        "cloud_pcs": [_policy(cloud, policy) for policy in cloud.cloud_pcs.policies.values()],
        "images": [_definition(cloud, definition) for definition in definitions],
        "summary": report["summary"],
        "violations": report["violations"],
    }


def _pool(cloud: "Cloud", pool: Pool, newest: dict[str, str]) -> Json:
    nominal = pool.nominal_hosts * pool.max_sessions
    open_slots = pool.open_slots
    return {
        "name": pool.name,
        "group": pool.group,
        "load_balancer": pool.load_balancer,
        "max_sessions": pool.max_sessions,
        "nominal_slots": nominal,
        "open_slots": open_slots,
        "percent": 100 * open_slots // nominal if nominal else 100,
        "sessions": pool.session_count,
        "hosts": _hosts(cloud, pool, newest),
    }


def _policy(cloud: "Cloud", policy: Policy) -> Json:
    """A provisioning policy with its Cloud PCs. `newest` is told once the policy names an image of the customer's own."""
    custom = policy.image_type == "custom"
    return {
        "name": policy.name,
        "image": policy.image_name,
        "desks": [
            {
                "id": each.id,
                "user": each.worker.name.partition("@")[0],
                "name": each.name,
                "image": each.image,
                "version": each.image.rpartition(" ")[2] if each.image[-1:].isdigit() else each.image,
                "newest": (each.image == policy.image_name) if custom else None,
                "status": each.status,
                "signed_in": cloud.cloud_pcs.signed_in(each.worker) and each.status in REPROVISIONED_FROM,
                "restore_points": len(each.points),
            }
            for each in cloud.cloud_pcs.all.values()
            if each.policy is policy
        ],
    }


def _hosts(cloud: "Cloud", pool: Pool, newest: dict[str, str]) -> list[Json]:
    """The pool's session hosts, then the machines of its resource group that are no session hosts (yet, or any more)."""
    tiles = [_tile(host, cloud.compute.find(host.vm), newest) for host in pool.hosts.values()]
    taken = {host.vm.lower() for host in cloud.desktop.hosts()}
    first = next(each for each in cloud.desktop.pools.values() if each.group.lower() == pool.group.lower())
    if first is pool:
        tiles += [
            _tile(None, machine, newest)
            for machine in cloud.compute.machines()
            if machine.group.lower() == pool.group.lower() and machine.id.lower() not in taken
        ]
    return sorted(tiles, key=lambda tile: (tile["created"], tile["name"]))


def _tile(host: SessionHost | None, machine: Machine | None, newest: dict[str, str]) -> Json:
    version, is_newest = _version(machine, newest)
    sessions = host.sessions.values() if host else ()
    return {
        "name": machine.name if machine else host.name if host else "",
        "id": machine.vm_id if machine else f"gone-{host.name if host else ''}",
        "created": machine.created.isoformat() if machine else "",
        "version": version,
        "newest": is_newest,
        "registered": host is not None,
        "status": host.status if host else None,
        "allow_new_session": host.allow_new_session if host else None,
        "sessions": [{"user": each.user, "state": each.state} for each in sessions],
        "power": machine.power if machine else None,
        "provisioning_state": machine.provisioning_state if machine else None,
        "phase": _phase(host, machine),
    }


def _phase(host: SessionHost | None, machine: Machine | None) -> str:
    """One word for where in its life a host is."""
    if machine is None:
        return "gone"
    if machine.provisioning_state in ("Deleting", "Failed"):
        return machine.provisioning_state.lower()
    if machine.power in OFF:
        return "off"
    if machine.power in ("creating", "starting"):
        return machine.power
    if host is None:
        return "unregistered"
    if host.status not in USABLE:
        return "updating" if host.status == "Upgrading" else "unavailable"
    return "serving" if host.allow_new_session else "draining"


def _version(machine: Machine | None, newest: dict[str, str]) -> tuple[str, bool | None]:
    """A machine's image version, and whether there is none above it; None for images from the marketplace."""
    if machine is None:
        return "", None
    image = str(machine.image_reference.get("id") or "")
    definition, _, version = image.rpartition("/versions/")
    if not version:
        return str(machine.image_reference.get("version") or ""), None
    return version, newest.get(definition.lower()) == version


def _newest(definition: ImageDefinition) -> str:
    versions = sorted(definition.versions.values(), key=lambda each: each.number)
    return versions[-1].version if versions else ""


def _definition(cloud: "Cloud", definition: ImageDefinition) -> Json:
    versions = sorted(definition.versions.values(), key=lambda each: each.number)
    open_to_all = [each for each in versions if not each.exclude_from_latest and each.state == "Succeeded"]
    latest = open_to_all[-1] if open_to_all else None
    return {
        "gallery": definition.gallery,
        "name": definition.name,
        "versions": [_image(cloud, version, latest) for version in versions],
    }


def _image(cloud: "Cloud", version: ImageVersion, latest: ImageVersion | None) -> Json:
    uses = [m for m in cloud.compute.machines() if str(m.image_reference.get("id") or "").lower() == version.id.lower()]
    return {
        "version": version.version,
        "role": _role(version, latest),
        "state": version.state,
        "os_build": version.contents.os_build,
        "missing_patches": len(version.contents.missing_patches),
        "machines": len(uses),
        "regions": [
            {"name": plain(copy.region), "state": state, "progress": progress}
            for copy in version.copies
            for state, progress in [copy.state(cloud.world.now)]
        ],
    }


def _role(version: ImageVersion, latest: ImageVersion | None) -> str:
    if version is latest:
        return "latest"
    if version.exclude_from_latest and (latest is None or version.number > latest.number):
        return "candidate"
    return "excluded" if version.exclude_from_latest else "older"
