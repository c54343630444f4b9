"""Galleries, desktops, logs and plain ARM reads, as sent to and read from Azure."""

from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import HTMLResponse

from evergold.azure import Azure, AzureFailure
from evergold.azure.arm import Permission
from evergold.azure.desktops import RegistrationToken, host_of, short_name
from evergold.azure.galleries import Definition, Region, Replication, VersionSpec
from evergold.azure.logs import Partial, Whole
from tests.support.moments import EPOCH
from tests.support.tiny_azure import ARM, SECRET_VARIABLE, SUBSCRIPTION, TinyAzure, answer, refusal, with_azure

DEFINITION = Definition("rg", "gallery", "win11")


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")


def version(
    *regions: tuple[str, str, int], provisioning: str = "Succeeded", excluded: bool = True, **extra: Any
) -> dict[str, Any]:
    """An image version as Azure returns it, with (display name, state, progress) for each region."""
    summary = [{"region": name, "state": state, "progress": percent} for name, state, percent in regions]
    return {
        "id": "/v",
        "name": "1.2.0",
        "location": "westeurope",
        "tags": {"evergold-state": "candidate"},
        "properties": {
            "provisioningState": provisioning,
            "publishingProfile": {
                "excludeFromLatest": excluded,
                "targetRegions": [{"name": name} for name, _, _ in regions] or [{"name": "West Europe"}],
            },
            "storageProfile": {"source": {"virtualMachineId": "/vm"}},
            "replicationStatus": {"aggregatedState": "InProgress", "summary": summary},
        },
        **extra,
    }


def version_spec() -> VersionSpec:
    return VersionSpec("1.2.0", "westeurope", "/vm", (Region("westeurope", 2), Region("northeurope")))


def test_a_version_is_published_as_a_candidate_from_the_vm() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PUT", "/versions/1.2.0", answer(version(provisioning="Creating"), 201))
        assert await azure.galleries.begin_create_version(DEFINITION, version_spec())
        return tiny.requests("PUT")[0].json["properties"]

    sent = with_azure(body)
    assert sent["publishingProfile"]["excludeFromLatest"] is True
    assert sent["storageProfile"] == {"source": {"virtualMachineId": "/vm"}}
    regions = [
        (region["name"], region["regionalReplicaCount"]) for region in sent["publishingProfile"]["targetRegions"]
    ]
    assert regions == [("westeurope", 2), ("northeurope", 1)]


def test_a_version_number_that_is_taken_is_not_published_over() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[bool, int]:
        tiny.on("GET", "/versions/1.2.0", version())
        return await azure.galleries.begin_create_version(DEFINITION, version_spec()), len(tiny.requests("PUT"))

    assert with_azure(body) == (False, 0)


def test_a_version_has_settled_when_each_of_its_regions_has_not_when_azure_says_succeeded() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[float, list[int]]:
        tiny.on(
            "GET",
            "/versions/1.2.0",
            version(provisioning="Creating"),
            version(("West Europe", "Completed", 100), ("North Europe", "Replicating", 40)),
            version(("West Europe", "Completed", 100), ("North Europe", "Completed", 100)),
        )
        seen: list[int] = []

        async def progress(replication: Replication) -> None:
            north = replication.state("northeurope")
            seen.append(north.progress if north else 0)

        await azure.galleries.wait_until_settled(DEFINITION, "1.2.0", 7200, progress=progress)
        return tiny.requests("GET")[-1].at, seen

    assert with_azure(body) == (120, [0, 40, 100])


def test_an_answer_from_before_the_regions_were_changed_is_not_believed() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> float:
        west, north = ("West Europe", "Completed", 100), ("North Europe", "Failed", 3)
        tiny.on("GET", "/versions/1.2.0", version(west, north, provisioning="Failed"), version(west))
        await azure.galleries.wait_until_settled(DEFINITION, "1.2.0", 7200, {"westeurope"})
        return tiny.requests("GET")[-1].at

    assert with_azure(body) == 60


def test_regions_are_taken_out_and_added_and_the_others_stay_as_they_are() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[set[str], Any]:
        tiny.on("GET", "/versions/1.2.0", version(("West Europe", "Completed", 100), ("North Europe", "Failed", 3)))
        tiny.on("PUT", "/versions/1.2.0", version(provisioning="Updating"))
        add = [Region("eastus", 2)]
        told = await azure.galleries.begin_change_regions(DEFINITION, "1.2.0", without={"northeurope"}, add=add)
        return told, tiny.requests("PUT")[0].json

    told, sent = with_azure(body)
    assert told == {"westeurope", "eastus"}
    west, east = sent["properties"]["publishingProfile"]["targetRegions"]
    assert west == {"name": "West Europe"}
    assert (east["name"], east["regionalReplicaCount"]) == ("eastus", 2)
    assert sent["properties"]["publishingProfile"]["excludeFromLatest"] is True
    assert sent["tags"] == {"evergold-state": "candidate"}


def test_promoting_changes_one_flag_and_leaves_the_rest_as_it_was() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("GET", "/versions/1.2.0", version())
        tiny.on("PUT", "/versions/1.2.0", version(excluded=False))
        await azure.galleries.update_version(
            DEFINITION, "1.2.0", exclude_from_latest=False, set_tags={"evergold-state": "promoted"}
        )
        return tiny.requests("PUT")[0].json

    sent = with_azure(body)
    assert sent["properties"]["publishingProfile"] == {
        "excludeFromLatest": False,
        "targetRegions": [{"name": "West Europe"}],
    }
    assert sent["properties"]["storageProfile"] == {"source": {"virtualMachineId": "/vm"}}
    assert sent["tags"] == {"evergold-state": "promoted"}
    assert "provisioningState" not in sent["properties"]


def test_promoting_what_is_promoted_sends_nothing() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> int:
        tiny.on("GET", "/versions/1.2.0", version(excluded=False))
        await azure.galleries.update_version(DEFINITION, "1.2.0", exclude_from_latest=False)
        return len(tiny.requests("PUT"))

    assert with_azure(body) == 0


def test_the_definitions_tags_are_merged() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        image = {"id": "/d", "name": "win11", "location": "westeurope", "tags": {"owner": "ann"}}
        tiny.on("GET", "/images/win11", image)
        tiny.on("PATCH", "/images/win11", image)
        await azure.galleries.update_definition_tags(DEFINITION, {"evergold-refresh-now": "r1"})
        return tiny.requests("PATCH")[0].json

    assert with_azure(body) == {"tags": {"owner": "ann", "evergold-refresh-now": "r1"}}


POOL: dict[str, Any] = {
    "id": "/p",
    "name": "pool",
    "location": "westeurope",
    "tags": {"team": "x"},
    "properties": {"hostPoolType": "Pooled", "loadBalancerType": "BreadthFirst", "preferredAppGroupType": "Desktop"},
}


def registration(minutes: float | None) -> dict[str, Any]:
    if minutes is None:
        return {"expirationTime": None, "token": None, "registrationTokenOperation": "None"}
    expires = (EPOCH + timedelta(minutes=minutes)).isoformat()
    return {"expirationTime": expires, "token": f"token-{minutes}", "registrationTokenOperation": "None"}


def token_after(*present: Any) -> tuple[RegistrationToken, list[Any]]:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[RegistrationToken, list[Any]]:
        tiny.on("POST", "/retrieveRegistrationToken", *present)
        tiny.on("PATCH", "/hostPools/pool", POOL)
        return await azure.desktops.registration_token("rg", "pool"), tiny.requests("PATCH")

    return with_azure(body)


@pytest.mark.parametrize("before", [registration(None), registration(10), refusal(404, "NotFound")])
def test_a_pool_without_a_token_that_lasts_gets_one_for_two_hours(before: Any) -> None:
    token, (patch,) = token_after(before, registration(120))
    assert token.token.get_secret_value() == "token-120"
    assert patch.json["properties"]["registrationInfo"] == {
        "expirationTime": "2026-11-12T22:00:00.000Z",
        "registrationTokenOperation": "Update",
    }


def test_a_token_that_lasts_is_used_again_since_a_new_one_would_end_it() -> None:
    token, patches = token_after(registration(45))
    assert (token.token.get_secret_value(), patches) == ("token-45", [])


def test_a_registration_token_does_not_show_itself() -> None:
    token, _ = token_after(registration(45))
    assert "token-45" not in f"{token} {token!r}"


def test_session_hosts_and_sessions_come_whole_over_several_pages() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> tuple[list[str], list[str]]:
        more = f"{ARM}/subscriptions/{SUBSCRIPTION}/moreHosts"
        tiny.on("GET", "/sessionHosts", {"value": [{"name": "pool/a.corp"}], "nextLink": more})
        tiny.on("GET", "/moreHosts", {"value": [{"name": "pool/b"}]})
        tiny.on("GET", "/userSessions", {"value": [{"name": "pool/a.corp/3"}]})
        hosts = await azure.desktops.list_session_hosts("rg", "pool")
        sessions = await azure.desktops.list_user_sessions("rg", "pool")
        return [short_name(host.name) for host in hosts], [f"{host_of(s)}#{short_name(s.name)}" for s in sessions]

    assert with_azure(body) == (["a.corp", "b"], ["a.corp#3"])


def test_drain_mode_is_one_patch() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> Any:
        tiny.on("PATCH", "/sessionHosts/a", {"name": "pool/a"})
        await azure.desktops.set_allow_new_session("rg", "pool", "a", allow=False)
        return tiny.requests("PATCH")[0].json

    assert with_azure(body) == {"properties": {"allowNewSession": False}}


def test_signing_out_a_user_who_has_left_is_done_and_messaging_one_is_not() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> bool:
        left = answer({"error": {"code": "404", "message": "ActivityId: x Error: User session ID not found"}}, 404)
        tiny.on("DELETE", "/userSessions/3", left)
        tiny.on("POST", "/sendMessage", left)
        await azure.desktops.sign_out("rg", "pool", "a", "3")
        return await azure.desktops.send_message("rg", "pool", "a", "3", "Restart", "In 5 minutes.")

    assert with_azure(body) is False


def test_a_session_host_is_removed_without_force_unless_told() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> list[str | None]:
        tiny.on("DELETE", "/sessionHosts/a", answer())
        await azure.desktops.delete_session_host("rg", "pool", "a")
        await azure.desktops.delete_session_host("rg", "pool", "a", force=True)
        return [seen.query.get("force") for seen in tiny.requests("DELETE")]

    assert with_azure(body) == [None, "true"]


def table(*rows: list[Any]) -> dict[str, Any]:
    columns = [("Computer", "string"), ("TimeGenerated", "datetime"), ("Id", "guid")]
    named = [{"name": name, "type": kind} for name, kind in columns]
    return {"tables": [{"name": "PrimaryResult", "columns": named, "rows": list(rows)}]}


def queried(scripted: Any) -> Whole | Partial:
    async def body(azure: Azure, tiny: TinyAzure) -> Whole | Partial:
        tiny.on("POST", "/query", scripted)
        return await azure.logs.query("Heartbeat", timedelta(minutes=15))

    return with_azure(body)


def test_rows_come_by_column_with_times_as_times_and_an_absent_guid_as_none() -> None:
    result = queried(table(["a", "2026-11-12T20:00:00Z", None]))
    assert result == Whole([{"Computer": "a", "TimeGenerated": EPOCH, "Id": None}])


def test_a_result_that_was_cut_short_cannot_be_taken_for_the_whole() -> None:
    cut = {**table(["a", None, None]), "error": {"code": "PartialError", "message": "Too many rows."}}
    result = queried(cut)
    assert isinstance(result, Partial)
    assert not hasattr(result, "rows")
    assert result.reason == "Too many rows."


def test_a_workspace_that_is_not_there_is_told_apart_from_one_without_rows() -> None:
    with pytest.raises(AzureFailure, match="workspace's GUID"):
        queried(refusal(404, "PathNotFoundError", "The requested path does not exist"))
    assert queried(table()) == Whole([])
    assert queried(answer(status=204)) == Whole([])


def test_a_gateways_html_page_is_an_unreadable_answer_not_a_crash() -> None:
    with pytest.raises(AzureFailure, match="UnreadableAnswer") as caught:
        queried(HTMLResponse("<h1>Bad gateway</h1>", 400))
    assert caught.value.retryable


def test_a_table_that_no_data_ever_came_to_is_named() -> None:
    inner = {"code": "SemanticError", "message": "Failed to resolve table or column expression named 'Heartbeat'"}
    with pytest.raises(AzureFailure, match="No data of that kind ever arrived") as caught:
        queried(answer({"error": {"code": "BadArgumentError", "message": "The request had invalid properties",
                                  "innererror": inner}}, 400))  # fmt: skip
    assert "named 'Heartbeat'" in str(caught.value)


def test_plain_reads_follow_pages_and_say_none_for_what_is_not_there() -> None:
    async def body(azure: Azure, tiny: TinyAzure) -> None:
        tiny.on("GET", "/locks", {"value": [{"name": "l1"}], "nextLink": f"{ARM}/page2?skip=1"})
        tiny.on("GET", "/page2", {"value": [{"name": "l2"}]})
        assert [lock["name"] for lock in await azure.arm.locks("/subscriptions/s/resourceGroups/rg")] == ["l1", "l2"]
        assert await azure.arm.resource_group("nowhere") is None
        tiny.on("GET", "/permissions", refusal(403, "AuthorizationFailed"))
        with pytest.raises(AzureFailure, match="role in deployments"):
            await azure.arm.permissions("/subscriptions/s")

    with_azure(body)


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        ("Microsoft.Compute/virtualMachines/write", True),
        ("microsoft.compute/virtualmachines/READ", True),
        ("Microsoft.Compute/virtualMachines/delete", False),
        ("Microsoft.Network/virtualNetworks/read", False),
    ],
)
def test_a_permission_allows_what_its_patterns_say_less_what_they_take_away(action: str, allowed: bool) -> None:
    permission = Permission(("Microsoft.Compute/*",), ("Microsoft.Compute/*/delete",))
    assert permission.allows(action) is allowed
