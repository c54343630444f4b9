"""Microsoft Graph's manners, as the simulator plays them."""

from simulator.graph import ANY_LIMIT
from tests.support.caller import Caller


def test_a_token_for_resource_manager_opens_nothing_in_graph() -> None:
    answer = Caller().send("GET", "/v1.0/devices")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"


def test_an_error_has_graphs_shape() -> None:
    error = Caller(audience="https://graph.microsoft.com").send("GET", "/v1.0/devices/none").json()["error"]
    assert error["code"] == "Request_ResourceNotFound"
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}


def test_more_calls_in_twenty_seconds_than_graph_allows_are_refused_with_the_time_to_wait() -> None:
    caller = Caller(audience="https://graph.microsoft.com")
    codes = [caller.send("GET", "/v1.0/devices/none").status_code for _ in range(ANY_LIMIT)]
    assert set(codes) == {404}
    refused = caller.send("GET", "/v1.0/devices/none")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TooManyRequests")
    assert float(refused.headers["retry-after"]) == 1
    caller.wait(20)
    assert caller.send("GET", "/v1.0/devices/none").status_code == 404


def test_a_filter_that_graph_would_not_understand_is_refused() -> None:
    caller = Caller(audience="https://graph.microsoft.com")
    assert caller.send("GET", "/v1.0/devices", filter="displayName has 'x'").status_code == 400
    assert len(caller.send("GET", "/v1.0/devices", filter="displayName eq 'pil-001'").json()["value"]) == 1
