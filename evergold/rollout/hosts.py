"""What a host is, told from what Azure shows of it and from its tags: facts without decisions.

Every function is pure. `evergold.rollout.plan` decides on these facts and on nothing else.
"""

from datetime import datetime, timedelta

from evergold import tags
from evergold.rollout.model import Host, Policy, Target

USABLE = ("Available", "NeedsAssistance")  # the broker gives sessions to both
OFF = ("deallocated", "deallocating")
# What a look shows may be a minute old, and the write before it may have been lost on its way.
LOOK_LAG = timedelta(minutes=3)
# Within this time a host that is switched on is heard of again: it takes 4 to 10 minutes (`estimate.Ranges.come_back`), and looks lag.
WAKE_TIME = timedelta(minutes=15)
# A host that Azure would not start is taken for one that comes up no more than once in so long.
WAKE_AGAIN = timedelta(hours=1)


def on_target(host: Host, target: Target) -> bool:
    """Whether the host was made from the target version: identity, not order."""
    return (host.image_version_id or "").casefold() == target.image_version_id.casefold()


def is_kept(host: Host) -> bool:
    """Whether somebody has asked that it never be touched."""
    return tags.KEEP in host.tags


def is_marked(host: Host, target: Target) -> bool:
    """Whether this very VM was frozen into this rollout: by the pool's tags, or by its own."""
    if not host.vm_id:
        return False
    noted = target.frozen is not None and target.frozen.has(host)
    return noted or host.tags.get(tags.REPLACE) == tags.frozen_value(target.refresh, host.vm_id)


def is_frozen(host: Host, target: Target) -> bool:
    """Whether this very VM was frozen into this rollout, nobody has asked to keep it, and it has become nobody's own."""
    return is_marked(host, target) and host.has_vm and not is_kept(host) and not host.assigned_user


def is_back(host: Host, target: Target) -> bool:
    """Whether this roll back has brought this very host back, or is about to."""
    mark = host.tags.get(tags.BACK)
    return target.rollback and bool(host.vm_id) and mark == tags.frozen_value(target.refresh, host.vm_id)


def is_retained(host: Host, target: Target) -> bool:
    """Whether an earlier rollout took it out of the pool, it is on the version that a roll back goes to, and it has not failed before."""
    return (
        target.rollback
        and not host.registered
        and host.has_vm
        and bool(host.vm_id)
        and not {tags.REPLACE, tags.RETIRED_AT, tags.BACK}.isdisjoint(host.tags)
        and tags.FAILED not in host.tags
        and on_target(host, target)
        and not is_kept(host)
        and not is_back(host, target)
        and not is_going(host)
    )


def is_lower(version_id: str, than: str | None) -> bool:
    """Whether an image version comes before another of the same definition; of another definition, or unreadable, none does."""
    one, other = _version(version_id), _version(than or "")
    return one is not None and other is not None and one[0] == other[0] and one[1] < other[1]


def _version(version_id: str) -> tuple[str, tuple[int, ...]] | None:
    definition, _, number = version_id.casefold().rpartition("/versions/")
    parts = number.split(".")
    return (definition, tuple(int(part) for part in parts)) if all(p.isdecimal() for p in parts) else None


def began_at(host: Host) -> datetime | None:
    """When a host began to come up: its creation, or the moment at which a roll back brought it back."""
    return tags.parse_time(host.tags.get(tags.BACK_AT)) or host.created_at


def awaited_since(host: Host, target: Target) -> datetime | None:
    """Since when a host has had what it needs to come up: somebody to join, register and check it. None where Azure does not say."""
    began = began_at(host)
    return max(began, target.watched_since or began) if began is not None else None


def is_new(host: Host, target: Target) -> bool:
    """Whether this rollout made the host, or brought it back, on the version it is for, and nobody has asked to keep it."""
    return (
        (host.tags.get(tags.REFRESH) == target.refresh or is_back(host, target))
        and not is_frozen(host, target)
        and not is_kept(host)
        and on_target(host, target)
    )


def is_stray(host: Host, target: Target) -> bool:
    """Whether an earlier rollout broke off while the host was on its way into the pool, or out of it: it runs, and nobody needs it."""
    if host.registered or is_going(host) or tags.RETIRED_AT in host.tags or is_new(host, target):
        return False
    coming = tags.REFRESH in host.tags and tags.CHECKED_AT not in host.tags
    return coming or not {tags.REPLACE, tags.BACK}.isdisjoint(host.tags)


def is_usable(host: Host, policy: Policy, now: datetime) -> bool:
    """Running, usable by status, and heard of lately: the broker may show `Available` for a host that died days ago."""
    return (
        host.registered
        and host.power in ("running", "unknown")
        and host.status in USABLE
        and host.last_heartbeat is not None
        and now - host.last_heartbeat <= timedelta(minutes=policy.heartbeat_max_age_minutes)
    )


def is_serving(host: Host, policy: Policy, now: datetime) -> bool:
    """Whether the broker gives the host new sessions, as far as anybody can see."""
    return host.allow_new_session and is_usable(host, policy, now)


def is_healthy(host: Host, policy: Policy, now: datetime) -> bool:
    """The gate for a new host: usable, and failing no AVD health check but those that the image set allows."""
    if not is_usable(host, policy, now):
        return False
    return host.status == "Available" or set(host.health_checks) <= set(policy.allowed_failing_health_checks)


def is_asleep(host: Host) -> bool:
    """In the pool and switched off, as a scaling plan does at night: silent, and yet it may serve again."""
    return host.registered and host.power in OFF


def sleeps(host: Host) -> bool:
    """Switched off, and to serve once it is on. A scaling plan shuts what it switches off: that is no rollout's drain mode."""
    drained = not host.allow_new_session and is_noted_drained(host)
    return is_asleep(host) and host.has_vm and not is_kept(host) and not drained


def woken_at(host: Host) -> datetime | None:
    """When a rollout switched the host on, which a scaling plan had switched off; None where none has."""
    return tags.parse_time(host.tags.get(tags.WOKEN_AT))


def is_waking(host: Host, policy: Policy, now: datetime) -> bool:
    """Whether the host was woken a moment ago, and has not been heard of yet: one that was, and is silent again, has died since."""
    woken = woken_at(host)
    if woken is None or now - woken > WAKE_TIME or not host.registered or is_usable(host, policy, now):
        return False
    return host.last_heartbeat is None or host.last_heartbeat <= woken


def is_shut_since_woken(host: Host, now: datetime) -> bool:
    """Whether the host was woken a moment ago, runs, and is in drain mode, into which no rollout and nobody before it had put it."""
    woken = woken_at(host)
    shut = host.registered and host.power == "running" and not host.allow_new_session and not is_noted_drained(host)
    return shut and woken is not None and LOOK_LAG < now - woken <= WAKE_TIME


def wakes_anew(host: Host, now: datetime) -> bool:
    """Whether waking it is the first try for a while, or since it was up: one that Azure will not start is not on its way at each try."""
    woken = woken_at(host)
    was_up = woken is not None and host.last_heartbeat is not None and host.last_heartbeat > woken
    return woken is None or was_up or now - woken > WAKE_AGAIN


def is_lost(host: Host, policy: Policy, now: datetime) -> bool:
    """In the pool, and silent for so long that it will not come back by itself. What was woken is given as long from then on."""
    known = [at for at in (host.last_heartbeat or began_at(host), woken_at(host)) if at is not None]
    if not host.registered or is_asleep(host) or not known:
        return False
    return now - max(known) > timedelta(minutes=policy.join_timeout_minutes)


def is_going(host: Host) -> bool:
    """Whether Azure is deleting the VM: it stands until it is gone, and counts as nothing else."""
    return host.provisioning_state == "Deleting"


def is_checked(host: Host) -> bool:
    """Whether it passed the image set's checks."""
    return tags.CHECKED_AT in host.tags


def ready_at(host: Host, policy: Policy) -> datetime | None:
    """When a checked host has been healthy long enough to be opened; None for one that is not checked.

    It counts from its checks, or from the last time at which it was seen unhealthy after them. An unreadable time is no proof.
    """
    checked = tags.parse_time(host.tags.get(tags.CHECKED_AT))
    if checked is None:
        return None
    unwell = tags.parse_time(host.tags.get(tags.UNWELL_AT))
    return max(checked, unwell or checked) + timedelta(minutes=policy.min_ready_minutes)


def is_ready(host: Host, policy: Policy, now: datetime) -> bool:
    """Whether a new host has proven itself: checked, healthy, and so for `min_ready_minutes`."""
    at = ready_at(host, policy)
    return at is not None and now >= at and is_healthy(host, policy, now)


def is_empty(host: Host) -> bool:
    """Whether the broker, by its count and by its list, shows nobody on it."""
    return host.session_count == 0 and not host.sessions


def is_draining(host: Host) -> bool:
    """In drain mode, and noted as drained by this rollout."""
    return host.registered and not host.allow_new_session and tags.DRAINED_AT in host.tags


def is_noted_drained(host: Host) -> bool:
    """Whether a rollout put it into drain mode, or found it so: not a scaling plan, which shuts what it switches off."""
    return not {tags.DRAINED_AT, tags.WAS_DRAINED}.isdisjoint(host.tags)


def was_reopened(host: Host, now: datetime) -> bool:
    """Open, though it was put into drain mode here longer ago than a look may be old: by other hands, or the write was lost."""
    drained = tags.parse_time(host.tags.get(tags.DRAINED_AT))
    return host.registered and host.allow_new_session and drained is not None and now - drained > LOOK_LAG


def was_just_drained(host: Host, now: datetime) -> bool:
    """Open, though it was put into drain mode here so lately that the look may be older than that."""
    drained = tags.parse_time(host.tags.get(tags.DRAINED_AT))
    return host.allow_new_session and drained is not None and abs(now - drained) <= LOOK_LAG


def is_held_open(host: Host, now: datetime) -> bool:
    """Opened by other hands once more after it was drained a second time: whoever does that means it."""
    again = tags.parse_time(host.tags.get(tags.REOPENED_AT))
    return was_reopened(host, now) and again is not None and now - again > LOOK_LAG


def is_put_away(host: Host) -> bool:
    """Out of the pool, noted as empty, and seen switched off: it takes up nothing any more but what it is kept for."""
    return not host.registered and host.power == "deallocated" and tags.EMPTY_SINCE in host.tags


def is_retired(host: Host) -> bool:
    """Out of the pool and marked so. Switched on again it is still retired: somebody may want to look into it."""
    return tags.RETIRED_AT in host.tags and not host.registered


def why_failed(host: Host, target: Target, policy: Policy, now: datetime) -> str | None:
    """Why a new host counts as failed; None while it may still come up, or serves.

    What it did not manage while no run looked after it, or while a person held the pool, is not held against it.
    """
    if host.name in target.spent_names:
        return "it has failed before, and its removal was not seen to the end"
    if is_checked(host):
        if not is_lost(host, policy, now):
            return None
        return f"it served, and has not been heard of for {policy.join_timeout_minutes} minutes"
    if tags.FAILED in host.tags:
        return host.tags[tags.FAILED]
    if host.provisioning_state == "Failed":
        return f"Azure could not provision it{': ' if host.problem else ''}{host.problem}"
    since = awaited_since(host, target)
    waited = now - since if since else timedelta(0)
    if waited <= timedelta(minutes=policy.join_timeout_minutes):
        return None
    if not is_healthy(host, policy, now):
        return f"it was not healthy {policy.join_timeout_minutes} minutes after it began to come up ({_evidence(host)})"
    limit = policy.join_timeout_minutes + policy.check_timeout_minutes
    if waited > timedelta(minutes=limit):
        return f"its checks had not passed {limit} minutes after it began to come up"
    return None


def _evidence(host: Host) -> str:
    """What Azure shows of a host that did not come up."""
    if not host.registered:
        return f"not in the pool; the VM is {host.power}, its provisioning {host.provisioning_state}"
    heard = f"last heard of {host.last_heartbeat:%Y-%m-%d %H:%M} UTC" if host.last_heartbeat else "never heard of"
    failing = f", failing {', '.join(host.health_checks)}" if host.health_checks else ""
    return f"status: {host.status}{failing}, {heard}"
