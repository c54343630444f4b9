"""Rows for the log tables, made when somebody asks: what every running machine and host sends at its own beat.

Assumed, as is usual: a policy puts the Azure Monitor agent on every virtual machine within minutes of its first start, and
diagnostic settings send each host pool's logs to the workspace. A machine with the defect "logs" sends nothing. A row becomes
visible when its ingestion delay has passed, not before.
"""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.log_history import History, HostState, Life
from simulator.session_hosts import AGENT_VERSION, STACK_VERSION, USABLE

if TYPE_CHECKING:
    from simulator.cloud import Cloud

Row = dict[str, Any]
HEARTBEAT_S = 60
HEALTH_S = 30  # learn.microsoft.com, azure-monitor/reference/queries/wvdagenthealthstatus
PERF_S = 300
EVENT_S = 3600  # something is always written: at least this often
FIRST_AGENT_S = (60, 180)  # from a machine's first start until its logs begin
LATER_AGENT_S = (10, 30)
# In this table a health check's name is a number.
CHECKS = {
    "DomainJoinedCheck": 0,
    "DomainTrustCheck": 1,
    "FSLogixHealthCheck": 2,
    "SxSStackListenerCheck": 3,
    "UrlsAccessibleCheck": 4,
    "MonitoringAgentCheck": 5,
    "DomainReachable": 6,
    "WebRTCRedirectorCheck": 7,
    "SupportedEncryptionCheck": 8,
    "MetaDataServiceCheck": 9,
    "AppAttachHealthCheck": 10,
}
USUAL = (
    "DomainJoinedCheck",
    "DomainTrustCheck",
    "SxSStackListenerCheck",
    "UrlsAccessibleCheck",
    "MonitoringAgentCheck",
)
SUCCEEDED, FAILED = 1, 2
VCPUS_BUSY_A_SESSION = 6.5  # percent of a four-core host


class Rows:
    """Makes rows from the history."""

    def __init__(self, cloud: "Cloud", history: History) -> None:
        self._cloud = cloud
        self._history = history
        self._regular: dict[str, Callable[[datetime, datetime], Iterator[tuple[datetime, Row]]]] = {
            "Heartbeat": self._heartbeats,
            "WVDAgentHealthStatus": self._health,
            "Perf": self._perf,
            "Event": self._windows_events,
        }

    def of(self, table: str, start: datetime, end: datetime) -> list[tuple[datetime, Row]]:
        """The visible rows of a table with start <= TimeGenerated < end, each as its time and its other columns.

        Rows that differ only in their time share one and the same `Row`.
        """
        return [(at, row) for at, row in self._all(table, start, end) if self._arrived(table, at, row)]

    def _all(self, table: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, Row]]:
        if make := self._regular.get(table):
            yield from make(start, min(end, self._cloud.world.now))
        for happening in self._history.happenings:
            if happening.table == table and start <= happening.at < end:
                yield happening.at, self._row(table, happening.source, happening.columns)

    def _arrived(self, table: str, at: datetime, row: Row) -> bool:
        """Whether a row can be seen already: ingestion takes its own time for each."""
        passed = (self._cloud.world.now - at).total_seconds()
        return (
            passed >= self._cloud.scenario.durations.log_delay[1]
            or self.ingested_at(table, at, row) <= self._cloud.world.now
        )

    def ingested_at(self, table: str, at: datetime, row: Row) -> datetime:
        """From when on a row can be seen."""
        dice = self._cloud.world.chance("ingestion", table, row["_ResourceId"], at)
        return at + timedelta(seconds=dice.uniform(*self._cloud.scenario.durations.log_delay))

    def _row(self, table: str, source: str, columns: Row) -> Row:
        return {
            "TenantId": self._cloud.scenario.workspace_id,
            "SourceSystem": "Azure" if table.startswith("WVD") else "OpsManager",
            "Type": table,
            "_IsBillable": "True",
            "_BilledSize": 512.0,
            "_ResourceId": source.lower(),
            "_SubscriptionId": self._cloud.scenario.subscription_id,
            **columns,
        }

    def _beats(self, life: Life, every_s: float, start: datetime, end: datetime) -> Iterator[datetime]:
        """When a machine's agent sends something that it sends every so often."""
        if not life.logs:
            return
        phase = self._cloud.world.chance("beat", life.vm_id).uniform(0, every_s)
        for on, off in life.running(start, end):
            first_start = on == life.runs[0][0]
            delays = FIRST_AGENT_S if first_start else LATER_AGENT_S
            ready = on if on == start else on + timedelta(seconds=self._cloud.world.chance("ama", on).uniform(*delays))
            tick = math.ceil((ready.timestamp() - phase) / every_s)
            while (at := datetime.fromtimestamp(tick * every_s + phase, UTC)) < off:
                yield at
                tick += 1

    def _heartbeats(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Row]]:
        for life in self._history.lives():
            columns = {
                "ManagementGroupName": "AOI-" + self._cloud.scenario.workspace_id,
                "ComputerIP": "20.73.18.4",
                "Computer": life.name,
                "Category": "Azure Monitor Agent",
                "OSType": "Windows",
                "OSName": life.edition,
                "OSMajorVersion": "10",
                "OSMinorVersion": "0",
                "Version": "1.38.1.0",
                "SCAgentChannel": "Direct",
                "IsGatewayInstalled": False,
                "RemoteIPCountry": "Netherlands",
                "SubscriptionId": life.subscription,
                "ResourceGroup": life.group,
                "ResourceProvider": "Microsoft.Compute",
                "Resource": life.name,
                "ResourceId": life.id,
                "ResourceType": "virtualMachines",
                "ComputerEnvironment": "Azure",
                "Solutions": "azureResources",
                "VMUUID": life.vm_id,
                "ComputerPrivateIPs": [life.address],
            }
            row = self._row("Heartbeat", life.id, columns)
            for at in self._beats(life, HEARTBEAT_S, start, end):
                yield at, row

    def _health(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Row]]:
        """The AVD agent's own report; nobody reports for a host whose machine is off."""
        for states in self._history.hosts():
            ends = [since for since, _ in states[1:]] + [end]
            for (since, state), until in zip(states, ends, strict=True):
                life = self._history.life_of(state.vm_id) if state else None
                if state is None or life is None:
                    continue
                row = self._row("WVDAgentHealthStatus", state.pool_id, _health_columns(state))
                for at in self._beats(life, HEALTH_S, max(start, since), min(end, until)):
                    yield at, row

    def _perf(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Row]]:
        for life in self._history.lives():
            for at in self._beats(life, PERF_S, start, end):
                for kind, counter, instance, value in self._counters(life, at):
                    columns = {
                        "Computer": life.name,
                        "ObjectName": kind,
                        "CounterName": counter,
                        "InstanceName": instance,
                        "CounterValue": value,
                        "CounterPath": f"\\\\{life.name}\\{kind}({instance})\\{counter}",
                    }
                    yield at, self._row("Perf", life.id, columns)

    def _counters(self, life: Life, at: datetime) -> Iterator[tuple[str, str, str, float]]:
        chance = self._cloud.world.chance("perf", life.vm_id, at)
        state = next((s for s in (self._history.state_at(h, at) for h in self._history.hosts()) if _is(s, life)), None)
        active = state.active if state else 0
        busy = min(3 + VCPUS_BUSY_A_SESSION * active + chance.uniform(-2, 6), 100.0)
        yield "Processor Information", "% Processor Time", "_Total", round(max(busy, 0.5), 2)
        yield "Memory", "Available MBytes", "", round(13500 - 900 * active + chance.uniform(-300, 300))
        yield "LogicalDisk", "% Free Space", "C:", round(61 - 0.4 * active, 2)

    def _windows_events(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Row]]:
        for life in self._history.lives():
            for on, off in life.runs if life.logs else ():
                if start <= on < end:
                    yield on, self._event(life, 6005, "The Event log service was started.")
                if off and start <= off < end:
                    yield off, self._event(life, 6006, "The Event log service was stopped.")
            text = "The Windows Update service entered the running state."
            row = self._event(life, 7036, text, "Service Control Manager")
            for at in self._beats(life, EVENT_S, start, end):
                yield at, row

    def _event(self, life: Life, number: int, text: str, source: str = "EventLog") -> Row:
        columns = {
            "Source": source,
            "EventLog": "System",
            "Computer": life.name,
            "EventLevel": 4,
            "EventLevelName": "Information",
            "EventID": number,
            "RenderedDescription": text,
        }
        return self._row("Event", life.id, columns)


def _is(state: HostState | None, life: Life) -> bool:
    return state is not None and state.vm_id == life.vm_id


def _health_columns(state: HostState) -> Row:
    checks = [
        {
            "HealthCheckName": CHECKS[check],
            "HealthCheckResult": FAILED if check in state.failing else SUCCEEDED,
            "AdditionalFailureDetails": {
                "Message": "",
                "ErrorCode": 0,
                "LastHealthCheckDateTime": state.since.isoformat(),
            },
        }
        for check in dict.fromkeys((*USUAL, *state.failing))
        if check in CHECKS
    ]
    return {
        "OperationName": "AgentHealthStatus",
        "SessionHostName": state.host,
        "SessionHostResourceId": state.vm,
        "AgentVersion": AGENT_VERSION,
        "OSVersion": "Windows 11 Enterprise multi-session",
        "SxSStackVersion": STACK_VERSION,
        "AllowNewSessions": str(state.allow_new_session),
        "Status": state.status,
        "StatusTimeStamp": state.since.replace(tzinfo=None).isoformat(),
        "UpgradeState": "Started" if state.status == "Upgrading" else "Succeeded",
        "SessionHostHealthCheckResult": checks if state.status in USABLE else [],
        "ActiveSessions": str(state.active),
        "InactiveSessions": str(state.inactive),
    }
