"""The KQL files: what they find, run on the same engine as the simulator's, and how values are put into them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb_kql
import pytest

from evergold.validation.queries import FOLDER, filled, literal, parameters_of, query
from tests.support.moments import EPOCH

VM = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/pil3"
POOL = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.DesktopVirtualization/hostPools/hp"


def rows(kql: str, table: str, *content: dict[str, Any]) -> list[tuple[Any, ...]]:
    return tables(kql, **{table: list(content)})


def tables(kql: str, **content: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    connection = duckdb_kql.connect()
    for table, its_rows in content.items():
        columns = ", ".join(
            f"{name} {'varchar' if isinstance(value, str) else 'timestamptz'}" for name, value in its_rows[0].items()
        )
        connection.execute(f"create table {table} ({columns})")
        for row in its_rows:
            connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", list(row.values()))
    return list(duckdb_kql.query(connection, kql, query_now=EPOCH).fetchall())


def beat(minutes_ago: float, machine: str = VM) -> dict[str, Any]:
    return {"TimeGenerated": EPOCH - timedelta(minutes=minutes_ago), "_ResourceId": machine}


def health(minutes_ago: float, status: str, host: str = "pil3", pool: str = POOL) -> dict[str, Any]:
    at = EPOCH - timedelta(minutes=minutes_ago)
    return {
        "TimeGenerated": at,
        "_ResourceId": pool.lower(),
        "SessionHostName": host,
        "Status": status,
        "AgentVersion": "1.0",
        "LastHeartBeat": at,
    }


def test_the_last_heartbeat_of_a_machine_is_found_whatever_the_case_of_its_id() -> None:
    kql = query("heartbeat", machine=VM.upper(), within=timedelta(minutes=15))
    found = rows(kql, "Heartbeat", beat(2), beat(3), beat(1, machine="/another"))
    assert [(seen, count) for _, seen, count in found] == [(EPOCH - timedelta(minutes=2), 2)]


def test_an_old_heartbeat_does_not_count() -> None:
    assert rows(query("heartbeat", machine=VM, within=timedelta(minutes=15)), "Heartbeat", beat(16)) == []


def test_the_last_report_of_an_agent_counts_and_another_hosts_does_not() -> None:
    kql = query("agent-health", pool=POOL, host="PIL3", within=timedelta(minutes=15))
    reports = [
        health(3, "Upgrading"),
        health(1, "Available"),
        health(0, "Unavailable", "pil33"),
        health(0, "No", pool="/x"),
    ]
    assert [(host, status) for host, _, status, *_ in rows(kql, "WVDAgentHealthStatus", *reports)] == [
        ("pil3", "Available")
    ]


def test_a_host_is_found_by_its_full_domain_name_too() -> None:
    kql = query("agent-health", pool=POOL, host="pil3", within=timedelta(minutes=15))
    assert len(rows(kql, "WVDAgentHealthStatus", health(1, "Available", "pil3.corp.example"))) == 1


def connection(minutes_ago: float, state: str, host: str, attempt: str) -> dict[str, Any]:
    at = EPOCH - timedelta(minutes=minutes_ago)
    return {"TimeGenerated": at, "_ResourceId": POOL, "State": state, "SessionHostName": host, "CorrelationId": attempt}


def error(minutes_ago: float, code: str, attempt: str) -> dict[str, Any]:
    at = EPOCH - timedelta(minutes=minutes_ago)
    which = {"ActivityType": "Connection", "CodeSymbolic": code, "CorrelationId": attempt}
    return {"TimeGenerated": at, "_ResourceId": POOL, **which}


def test_a_sign_in_counts_once_and_has_failed_where_it_never_became_a_connection() -> None:
    kql = query("sign-in", pool=POOL.upper(), within=timedelta(hours=1), patience=timedelta(minutes=5))
    tried = [
        connection(30, "Started", "<>", "came"),
        connection(29, "Connected", "PIL3", "came"),
        connection(20, "Started", "pil3", "missed"),
        connection(1, "Started", "pil3", "under way"),
        connection(90, "Started", "pil3", "long ago"),
    ]
    refused = [error(20, "Denied", "missed"), error(9, "NoHost", "nowhere"), error(25, "CutOff", "came")]
    found = tables(kql, WVDConnections=tried, WVDErrors=refused)
    assert sorted(found) == [("", 1, 1, "NoHost"), ("pil3", 2, 1, "Denied")]


def test_a_value_cannot_become_part_of_the_query() -> None:
    hostile = 'x" or 1 == 1 // \\'
    kql = query("heartbeat", machine=hostile, within=timedelta(minutes=15))
    assert rows(kql, "Heartbeat", beat(1)) == []
    assert rows(kql, "Heartbeat", beat(1, machine=hostile)) != []


def test_a_value_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="no name in Azure has"):
        literal("a\nb")


def test_values_must_be_those_that_the_query_declares() -> None:
    with pytest.raises(ValueError, match="declares"):
        query("heartbeat", vm=VM)


def test_a_query_of_somebody_else_is_filled_by_what_it_declares() -> None:
    text = 'let host = "";  // the host\nT | where h == host'
    assert parameters_of(text) == {"host"}
    assert filled(text, "mine.kql", {"host": "pil3"}).startswith('let host = "pil3";')


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.kql")), ids=lambda path: path.stem)
def test_a_query_can_be_pasted_as_it_stands(file: Path) -> None:
    assert duckdb_kql.validate(file.read_text()) == []
