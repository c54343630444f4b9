"""The KQL files: what they find, run on the same engine as the simulator's, and how values are put into them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb_kql
import pytest

from evergold.validation.queries import FOLDER, literal, query
from tests.support.moments import EPOCH

VM = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/pil3"
POOL = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.DesktopVirtualization/hostPools/hp"


def rows(kql: str, table: str, *content: dict[str, Any]) -> list[tuple[Any, ...]]:
    connection = duckdb_kql.connect()
    columns = ", ".join(
        f"{name} {'timestamptz' if not isinstance(value, str) else 'varchar'}" for name, value in content[0].items()
    )
    connection.execute(f"create table {table} ({columns})")
    for row in content:
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


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.kql")), ids=lambda path: path.stem)
def test_a_query_can_be_pasted_as_it_stands(file: Path) -> None:
    assert duckdb_kql.validate(file.read_text()) == []
