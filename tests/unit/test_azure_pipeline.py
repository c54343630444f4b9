"""How requests travel: what is tried again and what is not, how fast, and on whose clock."""

import asyncio
import logging
import ssl

import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError

from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import ExtensionSpec
from tests.support.tiny_azure import SECRET_VARIABLE, TOKEN, TinyAzure, answer, refusal, with_azure

VM = {"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/a", "name": "a",
      "location": "westeurope", "properties": {"provisioningState": "Succeeded"}}  # fmt: skip
POOL = {"id": "/p", "name": "pool", "location": "westeurope", "properties": {"hostPoolType": "Pooled",
        "loadBalancerType": "BreadthFirst", "preferredAppGroupType": "Desktop"}}  # fmt: skip


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")


def extension() -> ExtensionSpec:
    return ExtensionSpec("e", "westeurope", "Microsoft.Powershell", "DSC", "2.73")


def times(tiny: TinyAzure, method: str, suffix: str = "") -> list[float]:
    """When requests came, in seconds since the first of them."""
    seen = [request.at for request in tiny.requests(method, suffix)]
    return [round(at - seen[0], 3) for at in seen]


def test_a_throttled_post_is_sent_again_even_without_a_retry_after() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("POST", "/start", refusal(429, "TooManyRequests"), refusal(429, "TooManyRequests"), answer(status=202))
        await azure.compute.begin_start("rg", "a")
        return times(tiny, "POST")

    assert with_azure(body) == [0, 1, 3]


def test_a_throttled_post_waits_as_long_as_azure_asks() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("POST", "/start", refusal(429, "TooManyRequests", Retry_After="17"), answer(status=202))
        await azure.compute.begin_start("rg", "a")
        return times(tiny, "POST")

    assert with_azure(body) == [0, 17]


def test_no_single_wait_is_longer_than_five_minutes_whatever_azure_asks() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("GET", "/a", refusal(429, "TooManyRequests", Retry_After="1200"), VM)
        await azure.compute.get_vm("rg", "a")
        return times(tiny, "GET")

    assert with_azure(body) == [0, 300]


def test_a_retry_after_may_be_a_fraction_or_a_date() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        half = refusal(503, "ServerTimeout", Retry_After="2.5")
        date = refusal(503, "ServerTimeout", Retry_After="Thu, 12 Nov 2026 20:01:00 GMT")
        tiny.on("GET", "/a", half, date, VM)
        await azure.compute.get_vm("rg", "a")
        return times(tiny, "GET")

    assert with_azure(body) == [0, 2.5, 60]


def test_it_gives_up_after_eight_tries_and_says_that_waiting_may_help() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[AzureFailure, list[float]]:
        tiny.on("GET", "/a", refusal(503, "ServerTimeout"))
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.get_vm("rg", "a")
        return caught.value, times(tiny, "GET")

    failure, sent = with_azure(body)
    assert failure.retryable
    assert sent == [0, 1, 3, 7, 15, 31, 63, 123]


def test_it_waits_at_most_half_an_hour_for_one_request_in_all() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("GET", "/a", refusal(429, "TooManyRequests", Retry_After="3600"))
        with pytest.raises(AzureFailure, match="throttling"):
            await azure.compute.get_vm("rg", "a")
        return times(tiny, "GET")

    assert with_azure(body)[-1] == 1800


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "10"}])
def test_a_conflict_is_the_callers_to_decide_and_is_not_sent_again(headers: dict[str, str]) -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> int:
        tiny.on("POST", "/start", refusal(409, "Conflict", **headers))
        with pytest.raises(AzureFailure, match="Conflict"):
            await azure.compute.begin_start("rg", "a")
        return len(tiny.requests("POST"))

    assert with_azure(body) == 1


@pytest.mark.parametrize("lost", [ServiceRequestError("refused"), ServiceResponseError("reset")])
def test_a_lost_connection_is_tried_again_for_a_put(lost: Exception) -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("PUT", "/extensions/e", lost, VM)
        await azure.compute.begin_put_extension("rg", "a", extension())
        return times(tiny, "PUT")

    assert with_azure(body) == [0, 1]


@pytest.mark.parametrize(
    ("lost", "code"),
    [(ServiceRequestError("refused"), "ConnectionFailed"), (ServiceResponseError("reset"), "NoAnswer")],
)
def test_a_lost_connection_is_not_tried_again_for_a_post_since_it_may_have_been_done(
    lost: Exception, code: str
) -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[AzureFailure, int]:
        tiny.on("POST", "/deallocate", lost)
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.begin_deallocate("rg", "a")
        return caught.value, len(tiny.requests("POST"))

    failure, sent = with_azure(body)
    assert (failure.code, failure.retryable, sent) == (code, True, 1)


def test_a_lost_connection_is_not_tried_again_for_a_patch() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> int:
        tiny.on("PATCH", "/sessionHosts/a", ServiceResponseError("reset"))
        with pytest.raises(AzureFailure, match="NoAnswer"):
            await azure.desktops.set_allow_new_session("rg", "pool", "a", allow=False)
        return len(tiny.requests("PATCH"))

    assert with_azure(body) == 1


def test_each_new_try_is_logged_with_its_reason_and_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> None:
        tiny.on("GET", "/a", refusal(429, "TooManyRequests", Retry_After="30"), VM)
        await azure.compute.get_vm("rg", "a")

    with caplog.at_level(logging.WARNING, "evergold.azure"):
        with_azure(body)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("Trying GET /subscriptions/")
    assert message.endswith("again in 30 s (try 2 of 8): Azure answered 429.")
    assert "api-version" not in message


def test_a_burst_of_reads_leaves_no_faster_than_azures_bucket_refills() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        tiny.on("GET", "/a", VM)
        await asyncio.gather(*(azure.compute.get_vm("rg", "a") for _ in range(500)))
        return times(tiny, "GET")

    sent = with_azure(body)
    assert sum(at == 0 for at in sent) == 250  # the burst
    assert sent[-1] == 10  # the other 250, at 25 a second
    assert max(sum(at <= other < at + 1 for other in sent) for at in range(1, 10)) == 25


def test_writes_and_deletes_have_buckets_of_their_own() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[float, float]:
        tiny.on("POST", "/start", answer(status=202))
        tiny.on("DELETE", "/a", answer(status=204))
        starts = (azure.compute.begin_start("rg", "a") for _ in range(300))
        deletes = (azure.compute.begin_delete_vm("rg", "a") for _ in range(210))
        await asyncio.gather(*starts, *deletes)
        return times(tiny, "POST")[-1], times(tiny, "DELETE")[-1]

    assert with_azure(body) == (10, 1)


def test_one_token_serves_many_calls_and_one_more_serves_the_log_service() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[str]:
        tiny.on("GET", "/a", VM)
        tiny.on("GET", "/pool", POOL)
        tiny.on("POST", "/query", {"tables": [{"name": "PrimaryResult", "columns": [], "rows": []}]})
        await asyncio.gather(*(azure.compute.get_vm("rg", "a") for _ in range(20)))
        await azure.desktops.get_host_pool("rg", "pool")
        await azure.logs.query("Heartbeat", None)
        assert {request.headers["authorization"] for request in tiny.seen} == {"Bearer header.claims.signature"}
        return [token.json for token in tiny.tokens]

    arm, *rest = with_azure(body)
    assert "scope=https%3A%2F%2Farm.example%2F.default" in arm
    assert "scope=https%3A%2F%2Flogs.example%2F.default" in rest[-1]
    assert len(rest) <= 3  # azure-identity keeps a cache for each credential; each client of ours asks it once


def test_the_identitys_own_retries_go_by_the_clock() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[float]:
        busy = refusal(503, "temporarily_unavailable", Retry_After="120")
        tiny.on("POST", "/token", ServiceRequestError("refused"), busy, TOKEN)
        tiny.on("GET", "/a", VM)
        await azure.compute.get_vm("rg", "a")
        return [token.at for token in tiny.tokens]

    assert with_azure(body) == [0, 1, 121]


def test_a_token_service_that_is_away_is_tried_eight_times_and_not_eight_times_eight() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[AzureFailure, int]:
        tiny.on("POST", "/token", ServiceRequestError("refused"))
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.get_vm("rg", "a")
        return caught.value, len(tiny.tokens)

    failure, asked = with_azure(body)
    assert (failure.code, asked) == ("ConnectionFailed", 8)


def test_a_certificate_that_is_not_trusted_is_refused_at_once() -> None:
    untrusted = ServiceRequestError("Cannot connect")
    untrusted.__cause__ = ssl.SSLCertVerificationError(1, "certificate verify failed")

    async def body(azure: Azure, tiny: TinyAzure) -> tuple[AzureFailure, int]:
        tiny.on("GET", "/a", untrusted)
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.get_vm("rg", "a")
        return caught.value, len(tiny.requests("GET"))

    failure, sent = with_azure(body)
    assert (failure.code, failure.retryable, sent) == ("UntrustedCertificate", False, 1)
    assert "ca_file" in failure.remedy


def test_a_wrong_secret_is_named_as_such_and_tried_once() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[AzureFailure, int]:
        wrong = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
        tiny.on("POST", "/token", answer(wrong, 401))
        with pytest.raises(AzureFailure) as caught:
            await azure.compute.get_vm("rg", "a")
        return caught.value, len(tiny.tokens)

    failure, asked = with_azure(body)
    assert asked == 1
    assert not failure.retryable
    assert "AADSTS7000215" in str(failure)
    assert "secret variable" in failure.remedy


def test_a_missing_secret_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET_VARIABLE)

    async def body(azure: Azure, tiny: TinyAzure) -> None:
        raise AssertionError("not reached")

    with pytest.raises(AzureFailure, match=f"{SECRET_VARIABLE} is not set"):
        with_azure(body)
