"""Log Analytics: KQL in, rows out.

A query that Azure cut short (too many rows, too much data, a shard that did not answer) is a `Partial`, which has no
`rows`: nobody can take it for the whole by mistake. Where "no rows" would be read as "nothing wrong", that matters.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from azure.monitor.query import LogsQueryPartialResult, LogsTable
from azure.monitor.query.aio import LogsQueryClient

from evergold.azure.errors import explaining

Row = dict[str, Any]
TimeSpan = timedelta | tuple[datetime, datetime]

AT_ONCE = 5  # Azure runs at most five queries of one principal at a time, and queues the rest for three minutes


@dataclass(frozen=True)
class Whole:
    """Every row that the query asked for, as column name to value; times are aware datetimes."""

    rows: list[Row]


@dataclass(frozen=True)
class Partial:
    """Some of the rows, and why not all. Absence from `some_rows` means nothing."""

    some_rows: list[Row]
    reason: str


class Logs:
    """The query API of Log Analytics."""

    def __init__(self, client: LogsQueryClient, workspace_id: str) -> None:
        self._client = client
        self._workspace_id = workspace_id
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def query(
        self, kql: str, timespan: TimeSpan | None, *, what: str = "query the logs", workspace_id: str | None = None
    ) -> Whole | Partial:
        """Run a query over rows whose TimeGenerated is in `timespan` (a duration ends now; None is no limit).

        Returns the first result table. Raises an `AzureFailure` if the workspace or the query is refused.
        """
        workspace = workspace_id or self._workspace_id
        statuses: list[int] = []
        async with self._turns:
            with explaining(what, f"workspace {workspace}"):
                try:
                    answer = await self._client.query_workspace(
                        workspace,
                        kql,
                        timespan=timespan,
                        raw_response_hook=lambda response: statuses.append(response.http_response.status_code),
                    )
                except ValueError:
                    if statuses[-1:] == [204]:  # an empty workspace; the SDK stumbles over the absent body
                        return Whole([])
                    raise
        if isinstance(answer, LogsQueryPartialResult):
            reason = str(answer.partial_error.message) if answer.partial_error else "Azure gives no reason."
            return Partial(_rows(answer.partial_data), reason)
        return Whole(_rows(answer.tables))


def _rows(tables: list[LogsTable]) -> list[Row]:
    return [_row(tables[0], list(row)) for row in tables[0].rows] if tables else []


def _row(table: LogsTable, values: list[Any]) -> Row:
    return {
        column: _value(kind, value)
        for column, kind, value in zip(table.columns, table.columns_types, values, strict=True)
    }


def _value(kind: str, value: Any) -> Any:
    # The SDK passes guid and timespan through str(), so that an absent one arrives as the text "None".
    return None if kind in ("guid", "timespan") and value == "None" else value
