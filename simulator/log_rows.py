"""Rows for the log tables, made when somebody asks: what every running machine and host sends at its own beat.

Assumed, as is usual: a policy puts the Azure Monitor agent on every virtual machine within minutes of its first start, and
diagnostic settings send each host pool's logs to the workspace. A machine with the defect "logs" sends nothing. A row becomes
visible when its ingestion delay has passed, not before.
"""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.desktop import AGENT_VERSION, STACK_VERSION, USABLE
from simulator.log_history import History, HostState, Life

if TYPE_CHECKING:
    from simulator.cloud import Cloud

Row = dict[str, Any]
HEARTBEAT_S = 60
HEALTH_S = 30  # learn.microsoft.com, azure-monitor/reference/queries/wvdagenthealthstatus
PERF_S = 60
FIRST_AGENT_S = (60, 180)  # from a machine's first start until its logs begin
LATER_AGENT_S = (10, 30)
# HealthCheckName in this table is a number: domain join, domain trust, SxS stack, URLs, Geneva agent, metadata service
CHECKS = (0, 1, 3, 4, 5, 9)
GENEVA_AGENT, SUCCEEDED, FAILED = 5, 1, 2
VCPUS_BUSY_A_SESSION = 6.5  # percent of a four-core host


class Rows:
    """Makes rows from the history."""

    def __init__(self, cloud: "Cloud", history: History) -> None:
        self._cloud = cloud
        self._history = history
        self._regular: dict[str, Callable[[datetime, datetime], Iterator[Row]]] = {
            "Heartbeat": self._heartbeats,
            "WVDAgentHealthStatus": self._health,
            "Perf": self._perf,
            "Event": self._power_events,
        }

    def of(self, table: str, start: datetime, end: datetime) -> list[Row]:
        """The visible rows of a table with start <= TimeGenerated < end."""
        now = self._cloud.world.now
        rows = [row for row in self._all(table, start, min(end, now)) if self._arrived(table, row) <= now]
        for row in rows:
            row["TimeGenerated"] = row["TimeGenerated"].replace(tzinfo=None).isoformat()
        return rows

    def _all(self, table: str, start: datetime, end: datetime) -> Iterator[Row]:
        if make := self._regular.get(table):
            yield from make(start, end)
        for happening in self._history.happenings:
            if happening.table == table and start <= happening.at < end:
                yield self._row(table, happening.at, happening.source, happening.columns)

    def _arrived(self, table: str, row: Row) -> datetime:
        """When a row can be seen: ingestion takes its own time for each."""
        at: datetime = row["TimeGenerated"]
        chance = self._cloud.world.chance("ingestion", table, row["_ResourceId"], int(at.timestamp() / 60))
        return at + timedelta(seconds=chance.uniform(*self._cloud.scenario.durations.log_delay))

    def _row(self, table: str, at: datetime, source: str, columns: Row) -> Row:
        return {
            "TenantId": self._cloud.scenario.workspace_id,
            "SourceSystem": "Azure" if table.startswith("WVD") else "OpsManager",
            "TimeGenerated": at,
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

    def _heartbeats(self, start: datetime, end: datetime) -> Iterator[Row]:
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
            for at in self._beats(life, HEARTBEAT_S, start, end):
                yield self._row("Heartbeat", at, life.id, columns)

    def _health(self, start: datetime, end: datetime) -> Iterator[Row]:
        """The AVD agent's own report; nobody reports for a host whose machine is off."""
        for states in self._history.hosts():
            for vm_id in dict.fromkeys(state.vm_id for _, state in states if state is not None):
                life = self._history.life_of(vm_id)
                for at in self._beats(life, HEALTH_S, start, end) if life else ():
                    state = self._history.state_at(states, at)
                    if state is not None and state.vm_id == vm_id:
                        yield self._row("WVDAgentHealthStatus", at, state.pool_id, _health_columns(state, at))

    def _perf(self, start: datetime, end: datetime) -> Iterator[Row]:
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
                    yield self._row("Perf", at, life.id, columns)

    def _counters(self, life: Life, at: datetime) -> Iterator[tuple[str, str, str, float]]:
        chance = self._cloud.world.chance("perf", life.vm_id, at)
        state = next((s for s in (self._history.state_at(h, at) for h in self._history.hosts()) if _is(s, life)), None)
        active = state.active if state else 0
        busy = min(3 + VCPUS_BUSY_A_SESSION * active + chance.uniform(-2, 6), 100.0)
        yield "Processor Information", "% Processor Time", "_Total", round(max(busy, 0.5), 2)
        yield "Memory", "Available MBytes", "", round(13500 - 900 * active + chance.uniform(-300, 300))
        yield "LogicalDisk", "% Free Space", "C:", round(61 - 0.4 * active, 2)

    def _power_events(self, start: datetime, end: datetime) -> Iterator[Row]:
        for life in self._history.lives():
            for on, off in life.runs if life.logs else ():
                if start <= on < end:
                    yield self._event(life, on, 6005, "The Event log service was started.")
                if off and start <= off < end:
                    yield self._event(life, off, 6006, "The Event log service was stopped.")

    def _event(self, life: Life, at: datetime, number: int, text: str) -> Row:
        columns = {
            "Source": "EventLog",
            "EventLog": "System",
            "Computer": life.name,
            "EventLevel": 4,
            "EventLevelName": "Information",
            "EventID": number,
            "RenderedDescription": text,
        }
        return self._row("Event", at, life.id, columns)


def _is(state: HostState | None, life: Life) -> bool:
    return state is not None and state.vm_id == life.vm_id


def _health_columns(state: HostState, at: datetime) -> Row:
    wrong = {GENEVA_AGENT} if state.status == "NeedsAssistance" else set()
    checks = [
        {
            "HealthCheckName": check,
            "HealthCheckResult": FAILED if check in wrong else SUCCEEDED,
            "AdditionalFailureDetails": {"Message": "", "ErrorCode": 0, "LastHealthCheckDateTime": at.isoformat()},
        }
        for check in CHECKS
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
        "LastHeartBeat": at.replace(tzinfo=None).isoformat(),
        "UpgradeState": "Started" if state.status == "Upgrading" else "Succeeded",
        "SessionHostHealthCheckResult": checks if state.status in USABLE else [],
        "ActiveSessions": str(state.active),
        "InactiveSessions": str(state.inactive),
    }
