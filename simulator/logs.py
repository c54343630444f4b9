"""Log Analytics: the query API of one workspace. The query's text is run as KQL, on DuckDB, over the tables that it names.

Tables have the columns that Microsoft documents and hold the last day. Rows are made for a query and for no longer, and only
those of the time asked for; rows that were not yet ingested are not there. `now()` and `ago()` go by virtual time. A query is
answered at once, so that `Prefer: wait=` changes nothing. `ingestion_time()` is what duckdb-kql does not have: a column stands in for it,
in queries that ask for it, and is not shown.

What duckdb-kql does not translate is refused with 400 and its name, never answered wrongly.
"""

import json
import math
import re
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import duckdb
import duckdb_kql
from duckdb_kql.errors import KqlError, KqlSchemaError, KqlSyntaxError, KqlUnsupportedError
from duckdb_kql.translate import CLOCK_SLOT, TranslationResult
from duckdb_kql.types import kusto_type
from pydantic import TypeAdapter, ValidationError

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, same
from simulator.kernel.throttle import Bucket
from simulator.log_history import KEPT, History
from simulator.log_rows import Row, Rows
from simulator.log_tables import TABLES

if TYPE_CHECKING:
    from simulator.cloud import Cloud

ROW_LIMIT = 500_000  # learn.microsoft.com, "Azure Monitor service limits", log queries
QUERIES, QUERIES_PER_S = 200, 200 / 30
SQL_TYPES = {
    "bool": "BOOLEAN",
    "datetime": "TIMESTAMP",
    "dynamic": "JSON",
    "guid": "UUID",
    "int": "INTEGER",
    "long": "BIGINT",
    "real": "DOUBLE",
    "string": "VARCHAR",
}
TIMES = ("TimeGenerated", "LastHeartBeat")  # columns that say when the row was sent
INGESTED, INGESTION_TIME = "_ingested", re.compile(r"\bingestion_time\s*\(\s*\)")
DURATION = TypeAdapter(timedelta)
MISSING_TABLE = re.compile(r"Table with name (\S+) does not exist")
MISSING_COLUMN = re.compile(r'column "([^"]+)" not found|does not have a column named "([^"]+)"')


class Logs:
    """The workspace that all machines and host pools send their logs to.

    `row_limit` is how many rows an answer may have before the rest is cut off and the answer says that it is partial;
    `queries_at_once` how many queries a caller may send in a burst.
    """

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._rows = Rows(cloud, History(cloud))
        self._buckets: dict[str, Bucket] = {}
        self.row_limit = ROW_LIMIT
        self.queries_at_once = QUERIES

    def routes(self) -> list[Route]:
        """The query route; it stands outside of any subscription."""
        action = "Microsoft.OperationalInsights/workspaces/query/read"
        return [Route("POST", "/v1/workspaces/{workspace}/query", self._query, action=action)]

    def _query(self, request: ArmRequest) -> Reply:
        self._throttle(request.caller)
        if not same(request["workspace"], self._cloud.scenario.workspace_id):
            raise self._error(404, "PathNotFoundError", "The requested path does not exist")
        query = request.body.get("query")
        if not isinstance(query, str) or not query.strip():
            raise self._bad("InvalidRequestBody", "The request body must have a property 'query' with a text in it.")
        start, end = self._span(request.body.get("timespan"))
        return Reply(200, self._answer(query, start, end))

    # Running

    def _answer(self, query: str, start: datetime, end: datetime) -> Json:
        if query.lstrip().startswith("."):
            raise self._bad_query("SyntaxError", "SYN0100", "Control commands cannot be run here.")
        database, tables = _database(), _named(query)
        asks, text = bool(INGESTION_TIME.search(query)), INGESTION_TIME.sub(INGESTED, query)
        try:
            for table in tables:
                rows = self._rows.of(table, start, end)
                _fill(database, table, rows, [self._rows.ingested_at(table, *row) for row in rows] if asks else None)
            return self._run(database, text, tuple(tables), asks)
        except KqlSyntaxError as error:
            raise self._syntax_error(query, error) from error
        except (KqlError, duckdb.Error) as error:
            raise self._semantic_error(error) from error
        finally:
            for table in tables:
                database.execute(f'DROP TABLE IF EXISTS "{table}"')

    def _run(self, database: duckdb.DuckDBPyConnection, query: str, tables: tuple[str, ...], asks: bool) -> Json:
        translated = _translated(query, tables, asks)
        now = {CLOCK_SLOT: self._cloud.world.now.replace(tzinfo=None)} if CLOCK_SLOT in translated.parameters else {}
        answer = database.sql(str(translated), params={**translated.parameters, **now})
        if INGESTED in answer.columns:
            answer = answer.select(*(f'"{name}"' for name in answer.columns if name != INGESTED))
        rows = answer.limit(self.row_limit + 1).fetchall()
        kinds = [kusto_type(each) for each in answer.types]
        columns = [{"name": name, "type": kind} for name, kind in zip(answer.columns, kinds, strict=True)]
        values = [[_wire(v, kind) for v, kind in zip(row, kinds, strict=True)] for row in rows[: self.row_limit]]
        body: Json = {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": values}]}
        if len(rows) > self.row_limit:
            body["error"] = _cut(self.row_limit)
        return body

    def _span(self, text: Any) -> tuple[datetime, datetime]:
        """The time to look at: "PT15M" ends now; "start/end" and "start/duration" are what they say."""
        now = self._cloud.world.now
        try:
            start, end = _parse_span(str(text), now) if text else (now - KEPT, now)
        except ValueError as error:
            raise self._bad("InvalidTimespan", f"The timespan '{text}' is not an ISO 8601 interval.") from error
        return max(start, now - KEPT), end

    def _throttle(self, caller: str) -> None:
        now = self._cloud.world.now
        bucket = self._buckets.setdefault(
            caller, Bucket(self.queries_at_once, QUERIES_PER_S, self.queries_at_once, now)
        )
        if wait := bucket.take(now):
            error = self._error(429, "ThrottledError", "You have sent too many queries. Please try again later.")
            error.headers["retry-after"] = str(math.ceil(wait))
            raise error

    # Saying no

    def _error(self, status: int, code: str, message: str, inner: Json | None = None) -> ArmError:
        error = ArmError(status, code, message)
        dice = self._cloud.world.chance("correlation", self._cloud.world.now, code, message)
        error.body["error"]["correlationId"] = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        if inner is not None:
            error.body["error"]["innererror"] = inner
        return error

    def _bad(self, code: str, message: str, inner: Json | None = None) -> ArmError:
        told: Json = {"code": code, "message": message}
        if inner is not None:
            told["innererror"] = inner
        return self._error(400, "BadArgumentError", "The request had some invalid properties", told)

    def _bad_query(self, kind: str, code: str, message: str, **where: Any) -> ArmError:
        first = "A recognition error occurred in the query." if kind == "SyntaxError" else "A semantic error occurred."
        return self._bad(kind, first, {"code": code, "message": message, **where})

    def _syntax_error(self, query: str, error: KqlSyntaxError) -> ArmError:
        if not error.diagnostics:
            return self._bad_query("SyntaxError", "SYN0002", str(error))
        line, pos = error.diagnostics[0].span.line, error.diagnostics[0].span.column
        rest = query.splitlines()[line - 1][pos:].split() if line <= len(query.splitlines()) else []
        token = rest[0] if rest else "<EOF>"
        message = f"Query could not be parsed at '{token}' on line [{line},{pos}]"
        return self._bad_query("SyntaxError", "SYN0002", message, line=line, pos=pos, token=token)

    def _semantic_error(self, error: Exception) -> ArmError:
        text = str(error)
        if isinstance(error, KqlUnsupportedError):
            return self._bad_query("SemanticError", "SEM0001", f"The simulator does not play this: {text}")
        missing = MISSING_TABLE.search(text) or MISSING_COLUMN.search(text)
        if missing:
            name = next(group for group in missing.groups() if group)
            text = f"Failed to resolve table or column expression named '{name}'"
        return self._bad_query("SemanticError", "SEM0100", text)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """The one database of this process: a query makes its tables in it, and drops them."""
    return duckdb_kql.connect(config={"enable_external_access": "false", "threads": "1"})


@lru_cache(maxsize=512)
def _translated(query: str, tables: tuple[str, ...], ingested: bool) -> TranslationResult:
    """A query in SQL. Programs ask the same again and again, and translating takes longer than answering."""
    schema = {table: [*TABLES[table], *([INGESTED] if ingested else [])] for table in tables}
    translated = duckdb_kql.to_sql(query, schema=schema, allow_write=False, query_now=datetime(2000, 1, 1))
    if translated.unbound:
        raise KqlSchemaError(
            ", ".join(translated.unbound), hint="declared query parameter with no value and no default"
        )
    return translated


def _named(query: str) -> list[str]:
    """The tables that a query names, by themselves or by a pattern such as WVD*. Case counts, as in Kusto."""
    words = re.findall(r"[A-Za-z_]\w*\*?|(?<=[\s,(])\*(?=[\s,)|;]|$)", query)
    return [table for table in TABLES if any(fnmatchcase(table, word) for word in words)]


def _fill(
    database: duckdb.DuckDBPyConnection,
    table: str,
    rows: list[tuple[datetime, Row]],
    ingested: list[datetime] | None,
) -> None:
    """Makes a table. Rows that differ only in their times are written once, and joined with their times."""
    types = {column: SQL_TYPES[kind] for column, kind in TABLES[table].items()}
    if ingested is not None:
        types[INGESTED] = "TIMESTAMP"
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    database.execute(f'CREATE TABLE "{table}" ({columns})')
    if not rows:
        return
    places = {id(row): place for place, row in enumerate({id(row): row for _, row in rows}.values())}
    distinct = list({id(row): row | {"_place": places[id(row)]} for _, row in rows}.values())
    times = [{"place": places[id(row)], "at": at.replace(tzinfo=None).isoformat()} for at, row in rows]
    for time, seen in zip(times, ingested or (), strict=False):
        time["seen"] = seen.replace(tzinfo=None).isoformat()
    columns_of_times = dict.fromkeys(TIMES, "t.at") | {INGESTED: "t.seen"}
    values = ", ".join(columns_of_times.get(name, f'r."{name}"') for name in types)
    shape = json.dumps([types | {"_place": "INTEGER"}])
    database.execute(
        f'INSERT INTO "{table}" SELECT {values} FROM '
        f"(SELECT unnest(from_json($1::JSON, '{shape}'), max_depth := 2)) r JOIN "
        '(SELECT unnest(from_json($2::JSON, \'[{"place":"INTEGER","at":"TIMESTAMP","seen":"TIMESTAMP"}]\'), max_depth := 2)) t '
        "ON r._place = t.place",
        [json.dumps(distinct), json.dumps(times)],
    )


def _parse_span(text: str, now: datetime) -> tuple[datetime, datetime]:
    first, _, second = text.partition("/")
    if not second:
        return now - _duration(first), now
    if first.startswith("P"):
        end = _moment(second)
        return end - _duration(first), end
    start = _moment(first)
    return start, start + _duration(second) if second.startswith("P") else _moment(second)


def _duration(text: str) -> timedelta:
    try:
        return DURATION.validate_python(text)
    except ValidationError as error:
        raise ValueError(text) from error


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _wire(value: Any, kind: str) -> Any:
    """A value as it travels: times as ISO 8601, dynamic values as JSON in a text, timespans as [d.]hh:mm:ss."""
    if value is None:
        return None
    if kind == "dynamic":
        return value if isinstance(value, str) else json.dumps(value, default=str)
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, timedelta):
        return _timespan(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal | uuid.UUID):
        return str(value)
    return value


def _timespan(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta() else ("", value)
    hours, rest = divmod(value.seconds, 3600)
    days = f"{value.days}." if value.days else ""
    fraction = f".{value.microseconds * 10:07d}" if value.microseconds else ""
    return f"{sign}{days}{hours:02d}:{rest // 60:02d}:{rest % 60:02d}{fraction}"


def _cut(limit: int) -> Json:
    reason = (
        f"The results of this query exceed the set limit of {limit} records, so not all records were returned "
        "(E_QUERY_RESULT_SET_TOO_LARGE, 0x80DA0003). See https://aka.ms/kustoquerylimits for more information and possible solutions."
    )
    return {
        "code": "PartialError",
        "message": "There were some errors when processing your query.",
        "details": [
            {
                "code": "EngineError",
                "message": "Something went wrong processing your query on the server.",
                "innererror": {"code": "-2133196797", "message": reason, "severity": 2, "severityName": "Error"},
            }
        ],
    }
