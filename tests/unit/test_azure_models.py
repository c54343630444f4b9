"""The quick way to the SDK's models gives the same models as the SDK's own."""

from typing import Any

import pytest
from azure.identity.aio import AzureCliCredential
from azure.mgmt.desktopvirtualization.aio import DesktopVirtualizationMgmtClient

from evergold.azure.models import QuickModels
from tests.support.simulated import Simulated, simulated

SDK: Any = DesktopVirtualizationMgmtClient(AzureCliCredential(), "s").session_hosts._deserialize
HOST = {
    "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.DesktopVirtualization/hostPools/p/sessionHosts/a",
    "name": "p/a",
    "systemData": {"createdAt": "2026-11-12T20:00:00.1234567Z", "createdByType": "Application"},
    "properties": {
        "lastHeartBeat": "2026-11-12T20:00:00Z",
        "sessions": 3,
        "allowNewSession": True,
        "assignedUser": None,
        "sessionHostHealthCheckResults": [
            {"healthCheckName": "DomainJoinedCheck", "additionalFailureDetails": {"errorCode": -5, "message": "no"}}
        ],
    },
}


def both(target: str, body: Any) -> tuple[Any, Any]:
    """A body as the SDK's model and as the quick one."""
    return SDK(target, body), QuickModels(SDK)(target, body)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("SessionHost", HOST),
        ("SessionHostList", {"value": [HOST, {"name": "p/b"}], "nextLink": "https://more"}),
        ("SessionHost", {"name": "p/a", "properties": None, "newInAzure": {"x": 1}}),
        ("SessionHost", {"name": "p/a", "properties": {"sessions": "3", "allowNewSession": "true"}}),
        ("HostPool", {"name": "p", "location": "w", "tags": {"a": "b"}, "properties": {"maxSessionLimit": 8}}),
        ("HostPool", {"location": "w", "properties": {"agentUpdate": {"maintenanceWindows": [{"hour": 3}]}}}),
        ("UserSession", {"name": "p/a/3", "properties": {"createTime": "2026-11-12T21:00:00+01:00"}}),
        (
            "ScalingPlan",
            {"location": "w", "properties": {"schedules": [{"rampUpStartTime": {"hour": 7, "minute": 0}}]}},
        ),
    ],
)
def test_a_model_is_the_one_that_the_sdk_makes(target: str, body: Any) -> None:
    expected, made = both(target, body)
    assert made == expected
    assert type(made) is type(expected)


def test_what_the_sdk_refuses_is_refused() -> None:
    with pytest.raises(Exception, match="Unable to deserialize"):
        QuickModels(SDK)("SessionHost", {"properties": {"lastHeartBeat": "yesterday"}})


def test_every_answer_of_the_simulated_azure_is_read_alike() -> None:
    async def body(world: Simulated) -> tuple[int, list[Any]]:
        desktops = world.azure.desktops
        hosts = await desktops.list_session_hosts("rg-avd-pilot", "hp-pilot")
        pool = await desktops.get_host_pool("rg-avd-pilot", "hp-pilot")
        sessions = await desktops.list_user_sessions("rg-avd-pilot", "hp-pilot")
        plain = [pool, *hosts, *sessions]
        return len(hosts), [both(type(each).__name__, each.serialize(keep_readonly=True)) for each in plain if each]

    hosts, pairs = simulated(body)
    assert hosts
    assert all(expected == made for expected, made in pairs)
