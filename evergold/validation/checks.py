"""The checks of a canary: what a new host must show before a person is asked about its image.

Each check looks at one thing and returns a verdict. What could not be seen (Azure refused, answered in part, or not in time) is "unknown",
never "pass".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from azure.mgmt.compute.models import AvailablePatchSummary, VirtualMachineAssessPatchesResult
from azure.mgmt.desktopvirtualization.models import SessionHost, SessionHostHealthCheckReport

from evergold.azure import Azure, AzureFailure
from evergold.azure.ids import host_pool_id, vm_id
from evergold.azure.logs import Partial, Row
from evergold.config.models import ImageSet, Pool
from evergold.validation.queries import Value, query
from evergold.validation.verdicts import Check, Verdict

log = logging.getLogger("evergold.validation")

SERVING = ("Available", "NeedsAssistance")  # the broker sends people to hosts in these states
WORST_PATCHES = ("Critical", "Security")
AGENT = "AVD agent"
HEARTBEAT = "heartbeat in Log Analytics"
AGENT_LOG = "agent health in Log Analytics"
PATCHES = "critical and security updates"

Look = Callable[[], Awaitable[Check]]


@dataclass(frozen=True)
class Canary:
    """The host to check; `host` is the name of its VM, and of its session host."""

    pool: Pool
    host: str


async def check_canary(azure: Azure, image_set: ImageSet, canary: Canary) -> tuple[Check, ...]:
    """Every check once. Takes as long as an assessment of updates, some minutes at most."""
    settling = await _settling(azure, image_set, canary)
    return (*settling, await _looked(PATCHES, partial(check_patches, azure, image_set, canary)))


async def check_agent(azure: Azure, image_set: ImageSet, canary: Canary) -> Check:
    """The broker sees the host as serving, heard of it lately, and none of its health checks fails that may not."""
    pool = canary.pool
    host = await azure.desktops.get_session_host(pool.resource_group, pool.name, canary.host)
    limit = image_set.rollout.heartbeat_max_age_minutes
    threshold = f"Available, heard of within {limit} minutes, no health check failing"
    if host is None:
        return _failed(AGENT, f"{canary.host} is not registered in {pool.name}.", threshold, _AGENT_REMEDY)
    failing = failing_checks(host)
    forbidden = [name for name in failing if name not in image_set.checks.allowed_failing_health_checks]
    age = _age_minutes(azure.clock.now(), host.last_heart_beat)
    status = _text(host.status)
    problems = [
        *([f"its status is {status or 'not known'}"] if status not in SERVING else []),
        *([f"{', '.join(forbidden)} failing"] if forbidden else []),
        *(["it has not been heard of"] if age is None else []),
        *([f"it was last heard of {_minutes(age)} ago"] if age is not None and age > limit else []),
    ]
    facts = tuple(sorted(failing))
    if problems:
        return _failed(AGENT, f"{canary.host}: {'; '.join(problems)}.", threshold, _AGENT_REMEDY, facts)
    allowed = f", {', '.join(failing)} failing and allowed to" if failing else ""
    measured = f"{status}, heard of {_minutes(age)} ago{allowed}, agent {host.agent_version or 'unknown'}."
    return Check(name=AGENT, verdict="pass", measured=measured, threshold=threshold, remedy="", facts=facts)


def _minutes(age: float | None) -> str:
    count = round(age or 0)
    return f"{count} minute{'' if count == 1 else 's'}"


async def check_heartbeat(azure: Azure, image_set: ImageSet, canary: Canary) -> Check:
    """The host's monitoring agent writes to the workspace."""
    limit = timedelta(minutes=image_set.checks.heartbeat_max_age_minutes)
    threshold = f"one within {image_set.checks.heartbeat_max_age_minutes} minutes"
    machine = vm_id(str(azure.environment.subscription_id), canary.pool.hosts.resource_group, canary.host)
    rows = await _rows(azure, "heartbeat", HEARTBEAT, threshold, machine=machine, within=limit)
    if isinstance(rows, Check):
        return rows
    if not rows:
        return _failed(HEARTBEAT, f"None from {canary.host}.", threshold, _HEARTBEAT_REMEDY)
    return _passed(HEARTBEAT, f"The last one at {rows[0]['LastSeen']:%H:%M} UTC.", threshold)


async def check_agent_log(azure: Azure, image_set: ImageSet, canary: Canary) -> Check:
    """What the agent reports of itself arrives in the workspace. Only a warning where it does not: not everyone collects it."""
    threshold = f"reported within {image_set.checks.heartbeat_max_age_minutes} minutes"
    pool = host_pool_id(str(azure.environment.subscription_id), canary.pool.resource_group, canary.pool.name)
    within = timedelta(minutes=image_set.checks.heartbeat_max_age_minutes)
    try:
        rows = await _rows(azure, "agent-health", AGENT_LOG, threshold, pool=pool, host=canary.host, within=within)
    except AzureFailure as failure:
        if "WVDAgentHealthStatus" not in failure.message:
            raise
        rows = []  # the workspace has no such table: nobody ever sent it anything
    if isinstance(rows, Check):
        return rows
    if not rows:
        return _warned(AGENT_LOG, f"Nothing from {canary.host}.", threshold, _AGENT_LOG_REMEDY)
    status = str(rows[0]["Status"])
    if status not in SERVING:
        return _failed(AGENT_LOG, f"{canary.host} reported {status}.", threshold, _AGENT_REMEDY)
    return _passed(AGENT_LOG, f"{status}, agent {rows[0]['AgentVersion']}.", threshold)


async def check_patches(azure: Azure, image_set: ImageSet, canary: Canary) -> Check:
    """No critical or security update is missing, and none waits for a restart to take effect.

    A recent assessment that found so counts; otherwise one is made now.
    """
    group, threshold = canary.pool.hosts.resource_group, "none missing, no restart pending"
    vm = await azure.compute.get_vm(group, canary.host)
    view = vm.properties.instance_view if vm is not None and vm.properties else None
    summary = view.patch_status.available_patch_summary if view and view.patch_status else None
    if summary is not None and _is_clean(summary, azure.clock.now(), image_set.checks.patch_assessment_max_age_minutes):
        return _passed(PATCHES, f"None missing, as assessed at {summary.last_modified_time:%H:%M} UTC.", threshold)
    result = await azure.compute.assess_patches(group, canary.host)
    if _text(result.status) != "Succeeded" or result.critical_and_security_patch_count is None:
        reason = f"The assessment ended as {_text(result.status) or 'not known'}."
        return _unknown(
            PATCHES, reason, threshold, "Look at Updates on the machine in the portal, then start the run again."
        )
    if not result.critical_and_security_patch_count and result.reboot_pending:
        pending = f"None missing, but Windows on {canary.host} waits for a restart."
        return _failed(PATCHES, pending, threshold, _RESTART_REMEDY, ("restart pending",))
    if not result.critical_and_security_patch_count:
        return _passed(PATCHES, "None missing.", threshold)
    names = _missing(result)
    measured = f"{result.critical_and_security_patch_count} missing: {', '.join(names) or 'not named'}."
    return _failed(PATCHES, measured, threshold, _PATCH_REMEDY, names)


def failing_checks(host: SessionHost) -> list[str]:
    """The names of the AVD health checks that fail on a host."""
    reports: list[SessionHostHealthCheckReport] = host.session_host_health_check_results or []
    return [
        _text(report.health_check_name)
        for report in reports
        if _text(report.health_check_result) == "HealthCheckFailed"
    ]


# Parts

_AGENT_REMEDY = "Look at the host in the portal, under its host pool: each health check says there what it misses."
_HEARTBEAT_REMEDY = "See that the Azure Monitor agent gets on to new hosts, by policy or data collection rule."
_AGENT_LOG_REMEDY = "Switch the diagnostic setting of the host pool on, to send AgentHealthStatus to the workspace."
_RESTART_REMEDY = (
    "Restart the host and check again. If every new host asks for it, set reboot_after on a customise step."
)
_PATCH_REMEDY = "Build from a newer source, or install the updates in a customise script; then refresh again."


async def _settling(azure: Azure, image_set: ImageSet, canary: Canary) -> list[Check]:
    """The checks of what comes by itself with time."""
    looks: list[tuple[str, Look]] = [
        (AGENT, partial(check_agent, azure, image_set, canary)),
        (HEARTBEAT, partial(check_heartbeat, azure, image_set, canary)),
        (AGENT_LOG, partial(check_agent_log, azure, image_set, canary)),
    ]
    return list(await asyncio.gather(*(_looked(name, look) for name, look in looks)))


async def _looked(name: str, look: Look) -> Check:
    try:
        return await look()
    except AzureFailure as failure:
        return _unknown(name, f"Could not be seen: {failure.code}: {failure.message}", "can be seen", failure.remedy)


async def _rows(azure: Azure, file: str, name: str, threshold: str, **values: Value) -> list[Row] | Check:
    """The rows, or the verdict that they are not all there."""
    answer = await azure.logs.query(query(file, **values), timedelta(hours=24), what=f"look for the {name}")
    if isinstance(answer, Partial):
        return _unknown(name, f"Azure answered in part only: {answer.reason}", threshold, "Start the run again.")
    return answer.rows


def _is_clean(summary: AvailablePatchSummary, now: datetime, max_age_minutes: int) -> bool:
    age = _age_minutes(now, summary.last_modified_time)
    return (
        _text(summary.status) == "Succeeded"
        and summary.critical_and_security_patch_count == 0
        and not summary.reboot_pending
        and age is not None
        and age <= max_age_minutes
    )


def _missing(result: VirtualMachineAssessPatchesResult) -> tuple[str, ...]:
    return tuple(
        sorted(
            patch.name or patch.kb_id or "?"
            for patch in result.available_patches or []
            if set(patch.classifications or []) & set(WORST_PATCHES)
        )
    )


def _age_minutes(now: datetime, moment: datetime | None) -> float | None:
    return None if moment is None else (now - moment).total_seconds() / 60


def _text(value: object) -> str:
    return str(getattr(value, "value", value) or "")


def _check(
    name: str, verdict: Verdict, measured: str, threshold: str, remedy: str, facts: tuple[str, ...] = ()
) -> Check:
    return Check(name=name, verdict=verdict, measured=measured, threshold=threshold, remedy=remedy, facts=facts)


def _passed(name: str, measured: str, threshold: str) -> Check:
    return _check(name, "pass", measured, threshold, "")


def _warned(name: str, measured: str, threshold: str, remedy: str) -> Check:
    return _check(name, "warn", measured, threshold, remedy)


def _failed(name: str, measured: str, threshold: str, remedy: str, facts: tuple[str, ...] = ()) -> Check:
    return _check(name, "fail", measured, threshold, remedy, facts)


def _unknown(name: str, measured: str, threshold: str, remedy: str) -> Check:
    return _check(name, "unknown", measured, threshold, remedy)
