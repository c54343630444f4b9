"""One look at a host pool: what becomes of Azure's lists, and what of a list that fails."""

from datetime import timedelta
from typing import Any

import pytest

from evergold import tags
from evergold.azure import AzureFailure
from evergold.azure.bundle import Azure
from evergold.azure.ids import host_pool_id, vm_id
from evergold.rollout.model import Snapshot
from evergold.rollout.observe import PoolWatch
from tests.support.moments import EPOCH
from tests.support.tiny_azure import SECRET_VARIABLE, SUBSCRIPTION, TinyAzure, refusal, with_azure

POOL_ID = host_pool_id(SUBSCRIPTION, "avd", "pool")
VERSION_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/i/versions/1.2.0"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret")


def vm(name: str, guid: str, **tag_values: str) -> dict[str, Any]:
    return {
        "id": vm_id(SUBSCRIPTION, "hosts", name),
        "name": name,
        "location": "westeurope",
        "tags": {tag.replace("_", "-"): value for tag, value in tag_values.items()},
        "properties": {
            "vmId": guid,
            "provisioningState": "Succeeded",
            "timeCreated": "2026-10-14T02:00:00Z",
            "storageProfile": {"imageReference": {"id": VERSION_ID}},
        },
    }


def status(name: str, power: str) -> dict[str, Any]:
    view = {"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": f"PowerState/{power}"}]}
    # Azure writes the same id in another case here than in the list of virtual machines.
    return {
        "id": vm_id(SUBSCRIPTION, "HOSTS", name.upper()),
        "name": name,
        "location": "westeurope",
        "properties": {"instanceView": view},
    }


def registration(name: str, guid: str, *, sessions: int = 0, allow: bool = True) -> dict[str, Any]:
    return {
        "name": f"pool/{name}",
        "properties": {
            "resourceId": vm_id(SUBSCRIPTION, "hosts", name).lower(),
            "virtualMachineId": guid.upper(),
            "status": "Available",
            "allowNewSession": allow,
            "sessions": sessions,
            "lastHeartBeat": "2026-11-12T19:59:30Z",
            "sessionHostHealthCheckResults": [
                {"healthCheckName": "UrlsAccessibleCheck", "healthCheckResult": "HealthCheckFailed"},
                {"healthCheckName": "DomainJoinedCheck", "healthCheckResult": "HealthCheckSucceeded"},
            ],
        },
    }


def session(host: str, number: int) -> dict[str, Any]:
    return {
        "name": f"pool/{host}/{number}",
        "properties": {
            "userPrincipalName": "ann@example.com",
            "sessionState": "Active",
            "createTime": "2026-11-12T08:00:00Z",
        },
    }


POOL = {
    "id": POOL_ID.lower(),
    "name": "pool",
    "location": "westeurope",
    "tags": {"evergold-target": "x"},
    "properties": {
        "hostPoolType": "Pooled",
        "loadBalancerType": "BreadthFirst",
        "preferredAppGroupType": "Desktop",
        "maxSessionLimit": 8,
    },
}


def seen(
    vms: tuple[Any, ...] = (),
    statuses: tuple[Any, ...] = (),
    hosts: tuple[Any, ...] = (),
    sessions: tuple[Any, ...] = (),
    **instead: Any,
) -> tuple[Snapshot, TinyAzure]:
    """One look at a pool of which Azure says this; `instead` replaces the answer to one of the lists."""

    async def body(azure: Azure, tiny: TinyAzure) -> tuple[Snapshot, TinyAzure]:
        tiny.on("GET", "/hostPools/pool", instead.get("pool_answer", POOL))
        tiny.on("GET", "/sessionHosts", instead.get("hosts_answer", {"value": list(hosts)}))
        tiny.on("GET", "/userSessions", instead.get("sessions_answer", {"value": list(sessions)}))
        tiny.on("GET", "Microsoft.Compute/virtualMachines", instead.get("statuses_answer", {"value": list(statuses)}))
        group = "/resourceGroups/hosts/providers/Microsoft.Compute/virtualMachines"
        tiny.on("GET", group, instead.get("vms_answer", {"value": list(vms)}))
        return await PoolWatch(azure, "avd", "pool", "hosts").look(), tiny

    return with_azure(body)


def test_a_registered_host_is_put_together_from_all_lists_whatever_the_case_of_their_ids() -> None:
    snapshot, _ = seen(
        vms=(vm("desk-01", "guid-1", evergold_drained_at="2026-11-12T19:00:00Z"),),
        statuses=(status("desk-01", "running"),),
        hosts=(registration("desk-01", "guid-1", sessions=1, allow=False),),
        sessions=(session("desk-01", 3),),
    )
    (host,) = snapshot.hosts
    assert snapshot.complete
    assert snapshot.taken_at == EPOCH
    assert (host.name, host.vm_id, host.image_version_id) == ("desk-01", "guid-1", VERSION_ID)
    assert (host.power, host.provisioning_state, host.registered) == ("running", "Succeeded", True)
    assert (host.status, host.allow_new_session, host.session_count) == ("Available", False, 1)
    assert host.last_heartbeat == EPOCH - timedelta(seconds=30)
    assert host.health_checks == ("UrlsAccessibleCheck",)
    assert host.tags == {tags.DRAINED_AT: "2026-11-12T19:00:00Z"}
    (on_it,) = host.sessions
    assert (on_it.id, on_it.user, on_it.state) == ("3", "ann@example.com", "Active")


def test_the_pool_comes_with_its_limit_and_its_tags() -> None:
    snapshot, _ = seen()
    assert snapshot.pool is not None
    assert (snapshot.pool.max_session_limit, snapshot.pool.load_balancer_type) == (8, "BreadthFirst")
    assert snapshot.pool.tags == {"evergold-target": "x"}


def test_a_vm_tagged_for_the_pool_is_a_host_before_it_has_joined_and_after_it_was_retired() -> None:
    snapshot, _ = seen(
        vms=(vm("desk-02", "guid-2", evergold_pool=POOL_ID),), statuses=(status("desk-02", "deallocated"),)
    )
    (host,) = snapshot.hosts
    assert (host.name, host.registered, host.power, host.session_host_name) == ("desk-02", False, "deallocated", None)


def test_a_vm_that_belongs_to_something_else_is_no_host() -> None:
    snapshot, _ = seen(vms=(vm("other", "guid-9"), vm("theirs", "guid-8", evergold_pool=f"{POOL_ID}-2")))
    assert snapshot.hosts == ()


def test_the_names_of_vms_that_belong_to_something_else_are_taken() -> None:
    """And those of the pool's own hosts are known by the hosts themselves, wherever their VMs are."""
    elsewhere = registration("desk-02", "guid-2")
    elsewhere["properties"]["resourceId"] = vm_id(SUBSCRIPTION, "hosts-of-old", "desk-02")
    snapshot, _ = seen(
        vms=(
            vm("desk-01", "guid-1"),
            vm("desk-03", "guid-3", evergold_pool=f"{POOL_ID}-2"),
            vm("desk-04", "guid-4", evergold_pool=POOL_ID),
            vm("desk-05", "guid-5"),
        ),
        hosts=(registration("desk-01", "guid-1"), elsewhere),
    )
    assert {host.name for host in snapshot.hosts} == {"desk-01", "desk-02", "desk-04"}
    assert snapshot.taken_names == ("desk-03", "desk-05")


def test_a_registration_left_by_an_earlier_vm_of_that_name_is_not_taken_for_the_new_vms() -> None:
    snapshot, _ = seen(
        vms=(vm("desk-01", "new", evergold_pool=POOL_ID),),
        statuses=(status("desk-01", "running"),),
        hosts=(registration("desk-01", "old"),),
    )
    facts = {host.name: (host.vm_id.casefold(), host.registered, host.power) for host in snapshot.hosts}
    assert facts == {"desk-01": ("new", False, "running"), "desk-01 (left behind)": ("old", True, "unknown")}


def test_of_two_counts_of_sessions_the_higher_one_counts() -> None:
    by_list, _ = seen(vms=(vm("a", "1"),), hosts=(registration("a", "1", sessions=0),), sessions=(session("a", 3),))
    by_broker, _ = seen(vms=(vm("a", "1"),), hosts=(registration("a", "1", sessions=2),))
    assert (by_list.hosts[0].session_count, by_broker.hosts[0].session_count) == (1, 2)


def test_a_look_is_five_reads_however_many_hosts_there_are() -> None:
    names = [f"desk-{number:03}" for number in range(200)]
    snapshot, tiny = seen(
        vms=tuple(vm(name, name) for name in names),
        statuses=tuple(status(name, "running") for name in names),
        hosts=tuple(registration(name, name) for name in names),
    )
    assert len(snapshot.hosts) == 200
    assert len(tiny.seen) == 5


@pytest.mark.parametrize("which", ["pool", "hosts", "sessions", "vms", "statuses"])
def test_any_list_that_fails_for_now_makes_the_snapshot_incomplete_and_says_why(which: str) -> None:
    failing: dict[str, Any] = {f"{which}_answer": refusal(503, "ServerTimeout", "Busy.")}
    snapshot, _ = seen(vms=(vm("a", "1"),), hosts=(registration("a", "1"),), **failing)
    assert not snapshot.complete
    assert snapshot.hosts == ()
    assert "ServerTimeout" in snapshot.problem


def test_lists_that_contradict_each_other_make_the_snapshot_incomplete() -> None:
    snapshot, _ = seen(sessions=(session("desk-07", 3),))
    assert not snapshot.complete
    assert "desk-07" in snapshot.problem


def test_a_heartbeat_from_the_future_makes_the_snapshot_incomplete_since_our_clock_is_behind() -> None:
    early, late = registration("desk-01", "guid-1"), registration("desk-01", "guid-1")
    early["properties"]["lastHeartBeat"] = f"{EPOCH + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    late["properties"]["lastHeartBeat"] = f"{EPOCH + timedelta(minutes=90):%Y-%m-%dT%H:%M:%SZ}"
    machines = (vm("desk-01", "guid-1"),)
    assert seen(vms=machines, hosts=(early,))[0].complete
    snapshot, _ = seen(vms=machines, hosts=(late,))
    assert not snapshot.complete
    assert "this machine's clock is 90 minutes behind Azure's" in snapshot.problem


def test_a_failure_that_needs_a_person_is_raised() -> None:
    with pytest.raises(AzureFailure, match="role in deployments"):
        seen(vms_answer=refusal(403, "AuthorizationFailed"))
    with pytest.raises(AzureFailure, match="no such host pool"):
        seen(pool_answer=refusal(404, "ResourceNotFound"))
