"""What the broker knows of a host: its agent, its health checks, its pool, its image, its drain mode."""

from __future__ import annotations

from azure.mgmt.desktopvirtualization.models import SessionHost, SessionHostHealthCheckReport

from evergold import tags
from evergold.azure import Azure
from evergold.azure.compute import image_version_of
from evergold.azure.ids import same, vm_id
from evergold.config.models import ImageSet
from evergold.validation.looking import age_minutes, failed, minutes, passed, text, unknown, warned
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check

SERVING = ("Available", "NeedsAssistance")  # the broker sends people to hosts in these states
AGENT = "AVD agent"
PLACE = "pool, image and drain mode"

_REMEDY = "Look at the host in the portal, under its host pool: each health check says there what it misses."
_UPDATE_REMEDY = (
    "Look at the agent's own update on the host's page in the portal; a restart of the host lets it try again."
)


async def check_agent(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """The broker sees the host as serving, heard of it lately, and none of its health checks fails that may not."""
    pool, asked_at = subject.pool, azure.clock.now()
    host = await azure.desktops.get_session_host(pool.resource_group, pool.name, subject.host)
    limit = image_set.rollout.heartbeat_max_age_minutes
    threshold = f"Available, heard of within {limit} minutes, no health check failing"
    if host is None:
        return failed(AGENT, f"{subject.host} is not registered in {pool.name}.", threshold, _REMEDY)
    failing = failing_checks(host)
    forbidden = [name for name in failing if name not in image_set.checks.allowed_failing_health_checks]
    age = age_minutes(asked_at, host.last_heart_beat)
    status = text(host.status)
    problems = [
        *([f"its status is {status or 'not known'}"] if status not in SERVING else []),
        *([f"{', '.join(forbidden)} failing"] if forbidden else []),
        *(["it has not been heard of"] if age is None else []),
        *([f"it was last heard of {minutes(age)} ago"] if age is not None and age > limit else []),
    ]
    if problems:
        return failed(AGENT, f"{subject.host}: {'; '.join(problems)}.", threshold, _REMEDY, failing)
    versions = f"agent {host.agent_version or 'unknown'}, stack {host.sx_s_stack_version or 'unknown'}"
    if text(host.update_state) == "Failed" or not host.agent_version or not host.sx_s_stack_version:
        error = f": {host.update_error_message}" if host.update_error_message else ""
        measured = (
            f"{status}, {versions}; the agent's update of itself is {text(host.update_state) or 'unknown'}{error}."
        )
        return warned(AGENT, measured, threshold, _UPDATE_REMEDY, failing)
    return passed(AGENT, f"{status}, heard of {minutes(age)} ago, {_health(host)}, {versions}.", threshold, failing)


async def check_place(azure: Azure, subject: Subject) -> Check:
    """The registration is this very VM's, the VM was made from the right image version, and drain mode is as it should be."""
    pool = subject.pool
    version = subject.version_id.rpartition("/")[2]
    asked = [f"this VM in {pool.name}", *([f"image version {version}"] if version else [])]
    asked += [] if subject.closed is None else [f"drain mode {'on' if subject.closed else 'off'}"]
    threshold = ", ".join(asked)
    host = await azure.desktops.get_session_host(pool.resource_group, pool.name, subject.host)
    vm = await azure.compute.get_vm(pool.hosts.resource_group, subject.host, instance_view=False)
    if host is None or vm is None or vm.properties is None:
        gone = f"{subject.host} has no {'registration' if host is None else 'VM'}."
        return failed(PLACE, gone, threshold, "Remove the one that is left; the rollout makes a whole host again.")
    expected = vm_id(str(azure.environment.subscription_id), pool.hosts.resource_group, subject.host)
    registered = host.virtual_machine_id or ""
    if not same(host.resource_id, expected) or (registered and registered.lower() != (vm.properties.vm_id or "")):
        other = f"The name {subject.host} in {pool.name} belongs to another machine: {host.resource_id}."
        return failed(PLACE, other, threshold, f"Remove the session host {subject.host} from {pool.name}.")
    made_from = image_version_of(vm) or ""
    if not made_from and version:
        return unknown(PLACE, f"Azure does not say what {subject.host} was made from.", threshold, "Look at the VM.")
    if version and not same(made_from, subject.version_id):
        measured = (
            f"{subject.host} was made from {made_from.rpartition('/')[2]}, and {version} is what the pool is to have."
        )
        remedy = "Roll that version out to this pool; a host that was made by hand is replaced with it."
        return warned(PLACE, measured, threshold, remedy, (made_from.casefold(),))
    closed = not host.allow_new_session
    if subject.closed is not None and closed != subject.closed:
        return warned(PLACE, _drain_words(subject, closed, dict(vm.tags or {})), threshold, _DRAIN_REMEDY)
    measured = f"In {pool.name}, from {made_from.rpartition('/')[2] or 'no gallery version'}, drain mode {'on' if closed else 'off'}."
    return passed(PLACE, measured, threshold)


_DRAIN_REMEDY = "Set drain mode as it should be in the portal, if nobody meant it."


def _drain_words(subject: Subject, closed: bool, vm_tags: dict[str, str]) -> str:
    if not closed:
        return f"{subject.host} takes new sessions already."
    drained = vm_tags.get(tags.DRAINED_AT)
    by = f"a rollout drained it at {drained}" if drained else "no rollout of ours drained it"
    return f"{subject.host} is in drain mode: {by}."


def failing_checks(host: SessionHost) -> list[str]:
    """The names of the AVD health checks that fail on a host, in order."""
    return sorted(
        text(report.health_check_name)
        for report in _reports(host)
        if text(report.health_check_result) == "HealthCheckFailed"
    )


def _health(host: SessionHost) -> str:
    reports = _reports(host)
    fine = [each for each in reports if text(each.health_check_result) == "HealthCheckSucceeded"]
    bad = failing_checks(host)
    return f"{len(fine)} of {len(reports)} health checks succeeded" + (f" ({', '.join(bad)} may fail)" if bad else "")


def _reports(host: SessionHost) -> list[SessionHostHealthCheckReport]:
    return host.session_host_health_check_results or []
