"""Log Analytics: queries as KQL, tables as documented, rows as late as ingestion, and every way to be told no."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from simulator.log_tables import TABLES
from simulator.news import AgentInstalled
from simulator.scenario import Durations
from tests.support.caller import Answer, Caller

FIRST_HOST = "pil-001"
MORNING = 15 * 3600  # from the scenario's start until people have come


def ask(world: Caller, query: str, timespan: str | None = None, workspace: str | None = None) -> Answer:
    body = {"query": query} | ({"timespan": timespan} if timespan else {})
    return world.send("POST", f"/v1/workspaces/{workspace or world.scenario.workspace_id}/query", body)


def rows(world: Caller, query: str, timespan: str | None = None) -> list[dict[str, Any]]:
    answer = ask(world, query, timespan)
    assert answer.status_code == 200, answer.text
    table = answer.json()["tables"][0]
    return [dict(zip([column["name"] for column in table["columns"]], row, strict=True)) for row in table["rows"]]


def inner_error(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]["innererror"]
    return found


def vm(world: Caller, name: str = FIRST_HOST, rest: str = "") -> str:
    return world.path("rg-avd-pilot", f"Microsoft.Compute/virtualMachines/{name}{rest}")


# Rows


def test_every_running_machine_sends_a_heartbeat_a_minute() -> None:
    world = Caller()
    counted = rows(
        world, "Heartbeat | where TimeGenerated between (ago(70m) .. ago(10m)) | summarize n=count() by Computer"
    )
    assert {row["Computer"]: row["n"] for row in counted} == {"pil-001": 60, "pil-002": 60}


def test_now_and_ago_go_by_virtual_time() -> None:
    world = Caller()
    assert rows(world, "print now()") == [{"print_0": "2026-11-12T16:30:00Z"}]
    world.wait(86400)
    assert rows(world, "print ago(1h)") == [{"print_0": "2026-11-13T15:30:00Z"}]


def test_a_row_is_there_only_when_its_ingestion_delay_has_passed() -> None:
    world = Caller(durations=Durations(log_delay=(300, 300)))
    newest = rows(world, "Heartbeat | summarize newest = max(TimeGenerated)")[0]["newest"]
    age = world.clock.now() - datetime.fromisoformat(newest)
    assert timedelta(seconds=300) <= age < timedelta(seconds=360)


def test_a_query_may_ask_when_a_row_was_ingested_and_what_stands_in_for_it_is_not_shown() -> None:
    world = Caller(durations=Durations(log_delay=(240, 240)))
    late = rows(world, "Heartbeat | where ingestion_time() - TimeGenerated == 4m | take 1")
    assert set(late[0]) == set(TABLES["Heartbeat"])


def test_the_same_question_at_the_same_time_has_the_same_answer_in_every_world_of_this_seed() -> None:
    query = "Heartbeat | sort by TimeGenerated asc | take 50"
    assert rows(Caller(), query, "PT30M") == rows(Caller(), query, "PT30M")


def test_a_machine_that_is_off_sends_nothing_and_its_past_stays() -> None:
    world = Caller()
    world.ended(world.send("POST", vm(world, rest="/deallocate")))
    world.wait(3600)
    assert rows(world, f"Heartbeat | where Computer == '{FIRST_HOST}'", "PT30M") == []
    assert rows(world, f"Heartbeat | where Computer == '{FIRST_HOST}' | take 1", "PT6H")


def test_a_machine_that_is_deleted_is_remembered_for_a_day() -> None:
    world = Caller()
    world.ended(world.send("DELETE", vm(world)))
    query = f"Heartbeat | where Computer == '{FIRST_HOST}' | count"
    assert rows(world, query)[0]["Count"] > 0
    world.wait(25 * 3600)
    assert rows(world, query)[0]["Count"] == 0


def test_a_machine_that_is_started_again_says_so_in_its_event_log() -> None:
    world = Caller()
    world.ended(world.send("POST", vm(world, rest="/deallocate")))
    world.ended(world.send("POST", vm(world, rest="/start")))
    world.wait(600)
    found = rows(world, "Event | where Source == 'EventLog' | sort by TimeGenerated asc | project Computer, EventID")
    assert found == [{"Computer": FIRST_HOST, "EventID": 6006}, {"Computer": FIRST_HOST, "EventID": 6005}]


def test_a_machine_whose_image_has_no_working_log_agent_is_silent() -> None:
    world = Caller()
    definitions = [d.model_copy(deep=True) for d in world.scenario.definitions]
    definitions[0].versions[0].defects = ["logs"]
    assert rows(Caller(definitions=definitions), "Heartbeat") == []


def test_each_session_host_reports_its_health_twice_a_minute_with_checks_as_numbers() -> None:
    world = Caller()
    world.wait(1200)
    query = """
        WVDAgentHealthStatus
        | where TimeGenerated between (ago(15m) .. ago(5m))
        | summarize reports = count(), arg_max(TimeGenerated, Status, AllowNewSessions, SessionHostHealthCheckResult)
          by SessionHostName
    """
    found = {row["SessionHostName"]: row for row in rows(world, query)}
    assert set(found) == {"pil-001", "pil-002"}
    first = found[FIRST_HOST]
    assert (first["reports"], first["Status"], first["AllowNewSessions"]) == (20, "Available", "True")
    checks = json.loads(first["SessionHostHealthCheckResult"])
    assert {check["HealthCheckResult"] for check in checks} == {1}
    assert {check["HealthCheckName"] for check in checks} >= {0, 1, 3}


def test_drain_mode_shows_in_the_health_reports_from_when_it_was_set() -> None:
    world = Caller()
    host = world.path("rg-avd-pilot", f"Microsoft.DesktopVirtualization/hostPools/hp-pilot/sessionHosts/{FIRST_HOST}")
    world.wait(3600)
    world.send("PATCH", host, {"properties": {"allowNewSession": False}})
    world.wait(3600)
    query = f"""
        WVDAgentHealthStatus
        | where SessionHostName == '{FIRST_HOST}'
        | summarize seen = make_set(AllowNewSessions) by hour = bin(TimeGenerated, 1h)
        | sort by hour asc
    """
    seen = [json.loads(row["seen"]) for row in rows(world, query, "2026-11-12T16:00:00Z/2026-11-12T19:00:00Z")]
    assert seen[0] == ["True"]
    assert seen[-1] == ["False"]


def test_a_day_of_work_leaves_connections_that_begin_and_end() -> None:
    world = Caller()
    world.wait(MORNING + 14 * 3600)
    found = rows(world, "WVDConnections | summarize states = make_set(State) by CorrelationId, UserName", "PT14H")
    whole = [row for row in found if set(json.loads(row["states"])) == {"Started", "Connected", "Completed"}]
    assert len({row["UserName"] for row in whole}) == 5


def test_a_user_whose_machine_goes_away_leaves_an_error() -> None:
    world = Caller()
    world.wait(MORNING + 2 * 3600)
    for name in ("pil-001", "pil-002"):
        world.ended(world.send("POST", vm(world, name, "/deallocate")))
    world.wait(600)
    found = {row["CodeSymbolic"] for row in rows(world, "WVDErrors | distinct CodeSymbolic")}
    assert found == {"UnexpectedNetworkDisconnect", "ConnectionFailedNoHealthyRdshAvailable"}


def test_an_agent_with_a_worn_out_token_complains_in_the_event_log() -> None:
    world = Caller()
    world.cloud.world.tell(AgentInstalled(vm(world), "no such token"))
    world.wait(600)
    found = rows(world, "Event | where EventID == 3277 | project Computer, RenderedDescription")
    assert found == [{"Computer": FIRST_HOST, "RenderedDescription": "INVALID_REGISTRATION_TOKEN"}]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_table_has_the_documented_columns_and_types(table: str) -> None:
    world = Caller()
    columns = ask(world, f"{table} | take 1").json()["tables"][0]["columns"]
    assert {column["name"]: column["type"] for column in columns} == TABLES[table]


# What travels


def test_values_travel_as_the_service_writes_them() -> None:
    world = Caller()
    query = """
        print d = datetime(2026-11-12 16:30:00.5), t = 90m, long_time = 26h + 1s, g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642),
              j = dynamic({"a": [1, 2]}), b = true, r = 1.5, n = real(nan), l = 7, nothing = int(null)
    """
    assert rows(world, query) == [
        {
            "d": "2026-11-12T16:30:00.500000Z",
            "t": "01:30:00",
            "long_time": "1.02:00:01",
            "g": "74be27de-1e4e-49d9-b579-fe0b331d3642",
            "j": '{"a":[1,2]}',
            "b": True,
            "r": 1.5,
            "n": "NaN",
            "l": 7,
            "nothing": None,
        }
    ]


@pytest.mark.parametrize(
    ("timespan", "first", "last"),
    [
        ("PT900.0S", "16:15", "16:30"),
        ("2026-11-12T10:00:00Z/2026-11-12T11:00:00Z", "10:00", "11:00"),
        ("2026-11-12T10:00:00Z/PT30M", "10:00", "10:30"),
        ("PT30M/2026-11-12T10:00:00Z", "09:30", "10:00"),
    ],
)
def test_the_timespan_bounds_what_a_query_sees(timespan: str, first: str, last: str) -> None:
    found = rows(Caller(), "Heartbeat | summarize a = min(TimeGenerated), z = max(TimeGenerated)", timespan)[0]
    assert first <= found["a"][11:16] <= found["z"][11:16] <= last


def test_a_result_above_the_limit_is_cut_and_says_so() -> None:
    world = Caller()
    world.cloud.logs.row_limit = 10
    answer = ask(world, "Heartbeat").json()
    assert len(answer["tables"][0]["rows"]) == 10
    assert answer["error"]["code"] == "PartialError"
    assert "E_QUERY_RESULT_SET_TOO_LARGE" in answer["error"]["details"][0]["innererror"]["message"]


def test_asking_for_more_patience_changes_nothing() -> None:
    world = Caller()
    path = f"/v1/workspaces/{world.scenario.workspace_id}/query"
    assert world.send("POST", path, {"query": "print 1"}, {"Prefer": "wait=600"}).status_code == 200


# Saying no


def test_another_workspace_is_not_there() -> None:
    answer = ask(Caller(), "Heartbeat", workspace="55555555-5555-4555-8555-555555555555")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "PathNotFoundError")


def test_a_syntax_error_names_its_place() -> None:
    answer = ask(Caller(), "Heartbeat\n| where TimeGenerated >")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadArgumentError")
    assert inner_error(answer)["code"] == "SyntaxError"
    deepest = inner_error(answer)["innererror"]
    assert (deepest["code"], deepest["line"], deepest["token"]) == ("SYN0002", 2, "<EOF>")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Heartbeats | take 1", "Heartbeats"),
        ("heartbeat | take 1", "heartbeat"),
        ("Heartbeat | where Colour == 'red'", "Colour"),
    ],
)
def test_an_unknown_name_is_a_semantic_error(query: str, name: str) -> None:
    answer = ask(Caller(), query)
    assert answer.status_code == 400
    assert inner_error(answer)["code"] == "SemanticError"
    expected = f"Failed to resolve table or column expression named '{name}'"
    assert inner_error(answer)["innererror"]["message"] == expected


def test_kql_that_the_simulator_does_not_play_is_refused_by_name() -> None:
    answer = ask(Caller(), "search 'pil-001'")
    assert answer.status_code == 400
    assert "The simulator does not play this" in answer.text
    assert "SearchOperator" in answer.text


@pytest.mark.parametrize("command", [".show tables", "  .drop table Heartbeat", ".set-or-replace T <| print 1"])
def test_commands_are_no_queries(command: str) -> None:
    answer = ask(Caller(), command)
    assert (answer.status_code, inner_error(answer)["code"]) == (400, "SyntaxError")


@pytest.mark.parametrize("timespan", ["yesterday", "P", "2026-11-12T10:00:00Z/later", "PT1H/PT1H"])
def test_a_timespan_that_is_none_is_refused(timespan: str) -> None:
    answer = ask(Caller(), "print 1", timespan)
    assert (answer.status_code, inner_error(answer)["code"]) == (400, "InvalidTimespan")


def test_a_request_without_a_query_is_refused() -> None:
    world = Caller()
    answer = world.send("POST", f"/v1/workspaces/{world.scenario.workspace_id}/query", {"kql": "print 1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadArgumentError")


def test_who_asks_too_often_is_told_to_wait_and_may_then_go_on() -> None:
    world = Caller()
    world.cloud.logs.queries_at_once = 3
    answers = [ask(world, "print 1") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "1"
    world.wait(1)
    assert ask(world, "print 1").status_code == 200


def test_who_may_not_read_the_logs_is_told_so() -> None:
    world = Caller()
    clients = [
        client.model_copy(update={"denied": ["Microsoft.OperationalInsights/*"]}) for client in world.scenario.clients
    ]
    answer = ask(Caller(clients=clients), "Heartbeat")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")
