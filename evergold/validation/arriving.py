"""Whether a host's logs arrive in Log Analytics: its heartbeat, its counters and events, its agent's own reports.

A query that Azure refuses or answers in part is unknown; a table that nobody ever sent anything to is empty, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from evergold.azure import Azure, AzureFailure
from evergold.azure.ids import host_pool_id, vm_id
from evergold.azure.logs import Partial, Row
from evergold.config.models import ImageSet
from evergold.validation.agent import SERVING
from evergold.validation.looking import age_minutes, failed, minutes, passed, unknown, warned
from evergold.validation.queries import Value, query
from evergold.validation.subject import Subject
from evergold.validation.verdicts import Check

HEARTBEAT = "heartbeat in Log Analytics"
DELAY = "ingestion delay of Log Analytics"
AGENT_LOG = "agent health in Log Analytics"
PERF = "performance counters in Log Analytics"
EVENTS = "events in Log Analytics"
COLLECTION = "data collection rule"

DELAY_LOOK_BACK = timedelta(hours=1)

_HEARTBEAT_REMEDY = "See that the Azure Monitor agent gets on to new hosts, by policy or data collection rule."
_DELAY_REMEDY = "Wait, and look again; if it stays so, look at the agent on the host, and at Azure's status page."
_AGENT_REMEDY = "Look at the host in the portal, under its host pool: each health check says there what it misses."
_AGENT_LOG_REMEDY = "Switch the diagnostic setting of the host pool on, to send AgentHealthStatus to the workspace."
_COLLECTION_REMEDY = (
    "Associate a data collection rule with the VM, best by Azure Policy, so that every new host gets it."
)


class PartialAnswerError(Exception):
    """Azure answered in part only; says why."""


async def rows_of(azure: Azure, kql: str, look_back: timedelta, what: str) -> list[Row]:
    """Every row that a query finds. Raises PartialAnswerError where Azure cut the answer short, AzureFailure where it refused.

    A table that does not exist is one that nothing was ever sent to: it has no rows.
    """
    try:
        answer = await azure.logs.query(kql, look_back, what=what)
    except AzureFailure as failure:
        if _is_missing_table(failure):
            return []
        raise
    if isinstance(answer, Partial):
        raise PartialAnswerError(f"Azure answered in part only: {answer.reason}")
    return answer.rows


def _is_missing_table(failure: AzureFailure) -> bool:
    tables = ("Heartbeat", "Perf", "Event", "WVDAgentHealthStatus", "WVDConnections", "WVDErrors")
    return "Failed to resolve table" in failure.message and any(f"'{table}'" in failure.message for table in tables)


async def check_heartbeat(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """The host's monitoring agent writes to the workspace, once a minute (learn.microsoft.com, "Heartbeat" table)."""
    limit = image_set.checks.heartbeat_max_age_minutes
    threshold = f"one within {limit} minutes"
    within, asked_at = timedelta(minutes=limit), azure.clock.now()
    rows = await _rows(azure, "heartbeat", HEARTBEAT, threshold, within, machine=_machine(azure, subject))
    if isinstance(rows, Check):
        return rows
    if not rows:
        return failed(HEARTBEAT, f"None from {subject.host}.", threshold, _HEARTBEAT_REMEDY)
    age = minutes(age_minutes(asked_at, rows[0]["LastSeen"]))
    return passed(HEARTBEAT, f"The last one at {rows[0]['LastSeen']:%H:%M} UTC, {age} ago.", threshold)


async def check_delay(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """How long the host's logs take to arrive, by its heartbeats: when Azure ingested each, against when it was sent.

    Half of them within the limit is a pass: after a start, an agent sends what it has kept meanwhile, and that is no news of the pipeline
    (learn.microsoft.com, "Log data ingestion time in Azure Monitor").
    """
    limit, name = image_set.checks.ingestion_delay_max_minutes, DELAY
    threshold = f"most within {limit} minutes"
    rows = await _rows(azure, "ingestion-delay", name, threshold, DELAY_LOOK_BACK, machine=_machine(azure, subject))
    if isinstance(rows, Check):
        return rows
    if not rows or rows[0]["Usual"] is None:
        nothing = f"No heartbeat of {subject.host} within the last hour tells how long it took."
        return unknown(name, nothing, threshold, _HEARTBEAT_REMEDY)
    usual, worst = (minutes(rows[0][column] / 60) for column in ("Usual", "Worst"))
    measured = f"{usual} as a rule, {worst} at most, in the last hour."
    late = rows[0]["Usual"] > limit * 60
    return (
        warned(name, f"Logs are late: {measured}", threshold, _DELAY_REMEDY)
        if late
        else passed(name, measured, threshold)
    )


async def check_agent_log(azure: Azure, image_set: ImageSet, subject: Subject) -> Check:
    """What the agent reports of itself arrives in the workspace. Only a warning where it does not: not everyone collects it."""
    within = timedelta(minutes=image_set.checks.heartbeat_max_age_minutes)
    threshold = f"reported within {image_set.checks.heartbeat_max_age_minutes} minutes, and serving"
    pool = host_pool_id(str(azure.environment.subscription_id), subject.pool.resource_group, subject.pool.name)
    rows = await _rows(azure, "agent-health", AGENT_LOG, threshold, within, pool=pool, host=subject.host)
    if isinstance(rows, Check):
        return rows
    if not rows:
        return warned(AGENT_LOG, f"Nothing from {subject.host}.", threshold, _AGENT_LOG_REMEDY)
    status = str(rows[0]["Status"])
    if status not in SERVING:
        return failed(AGENT_LOG, f"{subject.host} reported {status}.", threshold, _AGENT_REMEDY)
    return passed(AGENT_LOG, f"{status}, agent {rows[0]['AgentVersion']}.", threshold)


@dataclass(frozen=True)
class Table:
    """A table that a host's logs are to be seen in: the check's name, the .kql file, how far back to look, and what brings it there."""

    check: str
    file: str
    hours: int
    remedy: str


PERF_TABLE = Table(PERF, "perf", 1, "Add performance counters to the data collection rule of the hosts.")
EVENT_TABLE = Table(EVENTS, "events", 24, "Add Windows event logs to the data collection rule of the hosts.")


async def check_table(azure: Azure, subject: Subject, table: Table) -> Check:
    """Rows of the host arrive in a table. Only a warning where they do not: not everyone collects them."""
    threshold = f"any within {table.hours} h"
    machine, within = _machine(azure, subject), timedelta(hours=table.hours)
    rows = await _rows(azure, table.file, table.check, threshold, within, machine=machine)
    if isinstance(rows, Check):
        return rows
    if not rows:
        return warned(table.check, f"None from {subject.host}.", threshold, table.remedy)
    return passed(table.check, f"{rows[0]['Seen']}, the last at {rows[0]['LastSeen']:%H:%M} UTC.", threshold)


async def check_collection(azure: Azure, subject: Subject) -> Check:
    """A data collection rule is associated with the VM: without one its agent sends nothing, or soon will not."""
    threshold = "one is associated with the VM"
    found = await azure.arm.data_collection_associations(_machine(azure, subject))
    rules = [str(each.get("properties", {}).get("dataCollectionRuleId") or "") for each in found]
    names = sorted({rule.rpartition("/")[2] for rule in rules if rule})
    if not names:
        return failed(COLLECTION, f"{subject.host} has none.", threshold, _COLLECTION_REMEDY)
    return passed(COLLECTION, f"{', '.join(names)}.", threshold)


def _machine(azure: Azure, subject: Subject) -> str:
    return vm_id(str(azure.environment.subscription_id), subject.pool.hosts.resource_group, subject.host)


async def _rows(
    azure: Azure, file: str, name: str, threshold: str, within: timedelta, **values: Value
) -> list[Row] | Check:
    """The rows, or the verdict that they are not all there."""
    try:
        return await rows_of(azure, query(file, within=within, **values), within, f"look for the {name}")
    except PartialAnswerError as problem:
        return unknown(name, str(problem), threshold, "Start the run again.")
