"""Simulated host pools, session hosts and sessions answer and change as Azure Virtual Desktop's do."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulator.cloud import Cloud
from simulator.machines import Machine
from simulator.news import AgentInstalled, MachineRunning, MachineStopping
from simulator.session_hosts import Pool, SessionHost
from tests.contracts.checkers import FOLDER, why_not_python
from tests.support.caller import Answer, Caller
from tests.support.simulated import Simulated, simulated

CHECKER = FOLDER / "check_traffic.py"
GROUP = "rg-avd-pilot"
POOL = "Microsoft.DesktopVirtualization/hostPools/hp-pilot"
VERSION: Any = {"api-version": "2024-04-03"}
USER = "anna@contoso.com"


def a_world(*, max_sessions: int = 4, hosts: int = 2, balancer: str = "BreadthFirst", defects: str = "") -> Caller:
    """The small world without people; `defects` are what is wrong with its image, in words apart."""
    small = Caller().scenario
    pool = small.host_pools[0].model_copy(
        update={"people": 0, "max_sessions": max_sessions, "hosts": hosts, "load_balancer": balancer}
    )
    definition = small.definitions[0]
    version = definition.versions[0].model_copy(update={"defects": defects.split()})
    return Caller(host_pools=[pool], definitions=[definition.model_copy(update={"versions": [version]})])


def call(world: Caller, method: str, rest: str = "", body: Any = None, **query: str) -> Answer:
    """A call about the pool or what is in it."""
    return world.send(method, world.path(GROUP, POOL + rest), body, None, **VERSION, **query)


def pool_of(world: Caller) -> Pool:
    """The pool, with the world brought up to its time."""
    world.cloud.world.catch_up()
    (pool,) = world.cloud.desktop.pools.values()
    return pool


def host_of(world: Caller, name: str = "pil-001") -> SessionHost:
    return pool_of(world).hosts[name]


def machine_of(world: Caller, name: str = "pil-001") -> Machine:
    machine = world.cloud.compute.find(vm_path(world, name))
    assert machine is not None
    return machine


def vm_path(world: Caller, name: str, action: str = "") -> str:
    return world.path(GROUP, f"Microsoft.Compute/virtualMachines/{name}{action}")


def sign_in(world: Caller, user: str = USER) -> str:
    """Signs a user in; returns the path of the session below the pool."""
    session = world.cloud.desktop.sign_in(pool_of(world), user)
    assert session is not None
    host = next(host for host in pool_of(world).hosts.values() if session.number in host.sessions)
    return f"/sessionHosts/{host.name}/userSessions/{session.number}"


def sessions_by_host(world: Caller) -> list[int]:
    return [len(host.sessions) for host in pool_of(world).hosts.values()]


def renewed(world: Caller, hours: float = 2) -> str:
    """A new registration token."""
    assert ask_for_token(world, hours).status_code == 200
    return str(call(world, "POST", "/retrieveRegistrationToken").json()["token"])


def ask_for_token(world: Caller, hours: float) -> Answer:
    expires = (world.clock.now() + timedelta(hours=hours)).isoformat()
    info = {"expirationTime": expires, "registrationTokenOperation": "Update"}
    return call(world, "PATCH", body={"properties": {"registrationInfo": info}})


def new_machine(world: Caller, name: str = "pil-101", **contents: Any) -> Machine:
    """A machine in the pool's resource group whose disk came from the image; no agent is on it yet."""
    cloud: Cloud = world.cloud
    image = cloud.galleries.version_named("gal_evergold/office/1.0.0")
    return cloud.compute.place(
        world.scenario.subscription_id,
        GROUP,
        name,
        "westeurope",
        "Standard_D4s_v5",
        cloud.network.subnet_id("vnet-avd/snet-hosts"),
        image.contents.changed(**{"entra_joined": True, **contents}),
        {"id": image.id},
        {},
        cloud.world.now,
    )


def install_agent(world: Caller, machine: Machine, token: str | None = None) -> None:
    world.cloud.world.tell(AgentInstalled(machine.id, renewed(world) if token is None else token))


def status_after(world: Caller, seconds: float, name: str = "pil-101") -> str:
    world.wait(seconds)
    return str(call(world, "GET", f"/sessionHosts/{name}").json()["properties"]["status"])


# Host pools


def test_ids_are_lower_case_and_what_is_not_set_is_null() -> None:
    body = call(a_world(), "GET").json()
    assert body["id"].startswith("/subscriptions/11111111-1111-4111-8111-111111111111/resourcegroups/rg-avd-pilot/")
    assert body["type"] == "Microsoft.DesktopVirtualization/hostpools"
    assert (body["tags"], body["identity"], body["properties"]["ring"]) == (None, None, None)


def test_a_put_makes_a_host_pool_and_a_second_one_sets_it_again() -> None:
    world = a_world()
    path = world.path(GROUP, "Microsoft.DesktopVirtualization/hostPools/hp-new")
    properties = {"hostPoolType": "Pooled", "loadBalancerType": "DepthFirst", "preferredAppGroupType": "Desktop"}
    body = {"location": "westeurope", "tags": {"a": "1"}, "properties": {**properties, "maxSessionLimit": 3}}
    made = world.send("PUT", path, body, **VERSION)
    assert (made.status_code, made.headers["location"]) == (201, made.json()["id"])
    again = world.send("PUT", path, {"location": "westeurope", "properties": properties}, **VERSION)
    assert again.status_code == 200
    assert "location" not in again.headers
    assert again.json()["tags"] is None
    assert again.json()["properties"]["maxSessionLimit"] == 999_999


def test_a_host_pool_without_its_kind_is_refused() -> None:
    world = a_world()
    path = world.path(GROUP, "Microsoft.DesktopVirtualization/hostPools/hp-new")
    assert world.send("PUT", path, {"location": "westeurope", "properties": {}}, **VERSION).status_code == 400


def test_a_patch_replaces_tags_as_a_whole_and_leaves_the_rest() -> None:
    world = a_world()
    call(world, "PATCH", body={"tags": {"a": "1", "b": "2"}})
    call(world, "PATCH", body={"tags": {"b": "3"}})
    body = call(world, "PATCH", body={"properties": {"maxSessionLimit": 7}}).json()
    assert body["tags"] == {"b": "3"}
    assert (body["properties"]["maxSessionLimit"], body["properties"]["loadBalancerType"]) == (7, "BreadthFirst")


def test_a_host_pool_that_is_not_there_is_not_found() -> None:
    world = a_world()
    answer = world.send("GET", world.path(GROUP, POOL + "x"), **VERSION)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


# Registration tokens


@pytest.mark.parametrize("hours", [0.99, 30 * 24 + 1])
def test_a_token_for_less_than_an_hour_or_more_than_thirty_days_is_refused(hours: float) -> None:
    answer = ask_for_token(a_world(), hours)
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith("ActivityId: ")
    assert message.endswith("Error: ExpirationTime value must be between one hour and 30 days from now")


@pytest.mark.parametrize("expires", [None, "soon", "2026-11-13T12:00:00"])
def test_a_token_for_a_time_that_is_none_is_refused(expires: str | None) -> None:
    info = {"expirationTime": expires, "registrationTokenOperation": "Update"}
    assert call(a_world(), "PATCH", body={"properties": {"registrationInfo": info}}).status_code == 400


def test_the_token_is_shown_by_its_own_call_only() -> None:
    world = a_world()
    written = ask_for_token(world, 2).json()["properties"]["registrationInfo"]
    assert (written["token"], written["registrationTokenOperation"]) == (None, "Update")
    assert call(world, "GET").json()["properties"]["registrationInfo"] is None
    token = call(world, "POST", "/retrieveRegistrationToken").json()["token"]
    assert [each["token"] for each in call(world, "POST", "/listRegistrationTokens").json()["value"]] == [token]


def test_a_new_token_ends_the_old_one() -> None:
    world = a_world()
    old, new = renewed(world), renewed(world)
    assert (world.cloud.desktop.takes_token(old), world.cloud.desktop.takes_token(new)) == (False, True)


def test_a_token_that_has_expired_or_was_deleted_is_not_given_out() -> None:
    world = a_world()
    renewed(world, hours=2)
    world.wait(2 * 3600)
    assert call(world, "POST", "/retrieveRegistrationToken").json()["token"] is None
    renewed(world)
    call(world, "PATCH", body={"properties": {"registrationInfo": {"registrationTokenOperation": "Delete"}}})
    assert call(world, "POST", "/listRegistrationTokens").json() == {"value": []}


# Agents


def test_a_new_host_is_unavailable_then_upgrades_its_agent_then_is_available_and_takes_sessions() -> None:
    world = a_world()
    install_agent(world, new_machine(world))
    assert [status_after(world, seconds) for seconds in (0, 60, 600)] == ["Unavailable", "Upgrading", "Available"]
    assert host_of(world, "pil-101").allow_new_session


@pytest.mark.parametrize("token", ["", "not-a-token"])
def test_an_agent_with_a_bad_token_does_not_register(token: str) -> None:
    world = a_world()
    renewed(world)
    install_agent(world, new_machine(world), token)
    assert "pil-101" not in pool_of(world).hosts


def test_an_agent_with_an_expired_token_does_not_register() -> None:
    world = a_world()
    token = renewed(world, hours=1)
    world.wait(3600)
    world.cloud.world.catch_up()
    install_agent(world, new_machine(world), token)
    assert "pil-101" not in pool_of(world).hosts


def test_a_machine_from_an_image_with_an_agent_left_in_it_does_not_register() -> None:
    world = a_world()
    machine = new_machine(world, registered_in=pool_of(world).id, avd_agent_version="1.0")
    world.wait(3600)
    assert "pil-101" not in pool_of(world).hosts
    install_agent(world, machine)
    assert "pil-101" not in pool_of(world).hosts


def test_an_agent_that_is_registered_is_not_registered_a_second_time() -> None:
    world = a_world()
    before = host_of(world)
    install_agent(world, machine_of(world))
    assert host_of(world) is before


def test_a_host_that_has_not_joined_entra_becomes_available_once_it_has() -> None:
    world = a_world()
    machine = new_machine(world, entra_joined=False)
    install_agent(world, machine)
    assert status_after(world, 900) == "Unavailable"
    checks = call(world, "GET", "/sessionHosts/pil-101").json()["properties"]["sessionHostHealthCheckResults"]
    failed = [each["healthCheckName"] for each in checks if each["healthCheckResult"] == "HealthCheckFailed"]
    assert failed == ["AADJoinedHealthCheck"]
    machine.change(entra_joined=True)
    assert status_after(world, 120) == "Available"


@pytest.mark.parametrize(
    ("defect", "status"),
    [("agent", "Unavailable"), ("SxSStackListenerCheck", "Unavailable"), ("UrlsAccessibleCheck", "NeedsAssistance")],
)
def test_what_is_wrong_with_an_image_shows_on_its_hosts(defect: str, status: str) -> None:
    world = a_world(defects=defect)
    install_agent(world, new_machine(world))
    assert status_after(world, 1800) == status


def test_a_host_can_look_available_though_its_agent_fell_silent_long_ago() -> None:
    world = a_world(defects="silent")
    install_agent(world, new_machine(world))
    assert status_after(world, 24 * 3600) == "Available"
    host = host_of(world, "pil-101")
    assert world.clock.now() - host.last_heartbeat(world.clock.now()) > timedelta(hours=23)
    assert not host.alive


def test_an_agent_beats_once_a_minute() -> None:
    world = a_world()
    beats = []
    for _ in range(6):
        world.wait(30)
        body = call(world, "GET", "/sessionHosts/pil-001").json()
        beats.append(datetime.fromisoformat(body["properties"]["lastHeartBeat"]))
    assert {later - earlier for earlier, later in zip(beats[::2], beats[2::2], strict=False)} == {timedelta(minutes=1)}
    assert world.clock.now() - beats[-1] < timedelta(minutes=1)


# Machines under hosts


def test_a_host_that_is_deallocated_is_shut_down_and_one_that_is_started_again_comes_back() -> None:
    world = a_world()
    world.ended(world.send("POST", vm_path(world, "pil-001", "/deallocate")))
    assert status_after(world, 0, "pil-001") == "Shutdown"
    heartbeat = host_of(world).last_heartbeat(world.clock.now())
    assert status_after(world, 3600, "pil-001") == "Shutdown"
    assert host_of(world).last_heartbeat(world.clock.now()) == heartbeat
    world.ended(world.send("POST", vm_path(world, "pil-001", "/start")))
    assert status_after(world, 180, "pil-001") == "Available"


def test_a_host_that_is_cut_off_looks_available_until_it_has_been_missed() -> None:
    world = a_world()
    world.cloud.world.tell(MachineStopping(machine_of(world).id, clean=False))
    assert [status_after(world, seconds, "pil-001") for seconds in (0, 170, 20)] == [
        "Available",
        "Available",
        "Unavailable",
    ]


def test_somebody_who_is_sent_to_a_host_that_was_cut_off_gets_nothing() -> None:
    world = a_world(hosts=1)
    world.cloud.world.tell(MachineStopping(machine_of(world).id, clean=False))
    assert world.cloud.desktop.sign_in(pool_of(world), USER) is None


def test_a_vm_that_is_deleted_leaves_its_record_in_the_pool() -> None:
    world = a_world()
    world.ended(world.send("DELETE", vm_path(world, "pil-001")))
    assert status_after(world, 300, "pil-001") == "Unavailable"


def test_another_vm_of_the_same_name_does_not_revive_the_record() -> None:
    world = a_world()
    world.ended(world.send("DELETE", vm_path(world, "pil-001")))
    world.wait(300)
    world.cloud.world.catch_up()
    machine = new_machine(world, "pil-001")
    world.cloud.world.tell(MachineRunning(machine.id))
    assert status_after(world, 3600, "pil-001") == "Unavailable"


def test_an_agent_that_registers_under_the_name_of_a_record_takes_it_over_with_its_drain_mode() -> None:
    world = a_world()
    object_id = host_of(world).object_id
    call(world, "PATCH", "/sessionHosts/pil-001", {"properties": {"allowNewSession": False}})
    world.ended(world.send("DELETE", vm_path(world, "pil-001")))
    machine = new_machine(world, "pil-001")
    install_agent(world, machine)
    assert status_after(world, 900, "pil-001") == "Available"
    host = host_of(world)
    assert (host.object_id, host.vm_id, host.allow_new_session) == (object_id, machine.vm_id, False)


def test_a_host_whose_record_was_deleted_comes_back_only_with_a_new_token() -> None:
    world = a_world()
    machine = machine_of(world)
    call(world, "DELETE", "/sessionHosts/pil-001")
    world.ended(world.send("POST", vm_path(world, "pil-001", "/restart")))
    world.wait(3600)
    assert "pil-001" not in pool_of(world).hosts
    install_agent(world, machine)
    assert status_after(world, 900, "pil-001") == "Available"


# Sessions


def test_breadth_first_spreads_people_and_depth_first_fills_host_by_host() -> None:
    found = []
    for balancer in ("BreadthFirst", "DepthFirst"):
        world = a_world(balancer=balancer, max_sessions=3)
        for number in range(4):
            sign_in(world, f"user{number}@contoso.com")
        found.append(sessions_by_host(world))
    assert found == [[2, 2], [3, 1]]


def test_a_full_pool_takes_nobody() -> None:
    world = a_world(max_sessions=1)
    sign_in(world, "a@contoso.com")
    sign_in(world, "b@contoso.com")
    assert world.cloud.desktop.sign_in(pool_of(world), "c@contoso.com") is None


def test_a_host_in_drain_mode_takes_nobody_new_but_those_who_come_back() -> None:
    world = a_world(hosts=1)
    path = sign_in(world)
    call(world, "POST", path + "/disconnect")
    assert call(world, "GET", path).json()["properties"]["sessionState"] == "Disconnected"
    call(world, "PATCH", "/sessionHosts/pil-001", {"properties": {"allowNewSession": False}})
    assert world.cloud.desktop.sign_in(pool_of(world), "b@contoso.com") is None
    assert sign_in(world) == path
    assert call(world, "GET", path).json()["properties"]["sessionState"] == "Active"


def test_sessions_of_a_pool_and_of_a_host_are_listed_with_their_paths_as_names() -> None:
    world = a_world()
    path = sign_in(world)
    host, number = path.split("/")[2], path.split("/")[4]
    (session,) = call(world, "GET", "/userSessions").json()["value"]
    assert session["name"] == f"hp-pilot/{host}/{number}"
    assert session["properties"]["userPrincipalName"] == USER
    assert call(world, "GET", f"/sessionHosts/{host}/userSessions").json()["value"] == [session]


def test_signing_out_ends_a_session_and_a_second_time_finds_none() -> None:
    world = a_world()
    path = sign_in(world)
    assert call(world, "DELETE", path, force="true").status_code == 200
    answer = call(world, "DELETE", path, force="true")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].endswith("Error: User session ID not found")


def test_a_message_to_a_session_that_has_ended_is_refused() -> None:
    world = a_world()
    path = sign_in(world)
    message = {"messageTitle": "Soon", "messageBody": "Save your work"}
    assert call(world, "POST", path + "/sendMessage", message).status_code == 200
    call(world, "DELETE", path)
    assert call(world, "POST", path + "/sendMessage", message).status_code == 404


def test_a_host_with_sessions_is_deleted_only_by_force() -> None:
    world = a_world(hosts=1)
    sign_in(world)
    assert call(world, "DELETE", "/sessionHosts/pil-001").status_code == 409
    assert call(world, "DELETE", "/sessionHosts/pil-001", force="true").status_code == 200
    assert call(world, "DELETE", "/sessionHosts/pil-001").status_code == 204
    assert call(world, "GET", "/userSessions").json()["value"] == []


def test_a_session_on_a_host_that_was_deleted_by_force_goes_on_until_its_machine_stops() -> None:
    world = a_world(hosts=1)
    sign_in(world)
    call(world, "DELETE", "/sessionHosts/pil-001", force="true")
    assert world.cloud.truth.report()["cut_off"] == 0
    world.ended(world.send("POST", vm_path(world, "pil-001", "/deallocate")))
    assert world.cloud.truth.report()["cut_off"] == 1


def test_lists_come_in_pages_of_the_size_that_is_asked_for() -> None:
    world = a_world(hosts=3)
    first = call(world, "GET", "/sessionHosts", pageSize="2").json()
    assert ([host["name"] for host in first["value"]], "nextLink" in first) == (
        ["hp-pilot/pil-001", "hp-pilot/pil-002"],
        True,
    )
    rest = call(world, "GET", "/sessionHosts", initialSkip="2").json()
    assert ([host["name"] for host in rest["value"]], "nextLink" in rest) == (["hp-pilot/pil-003"], False)
    back = call(world, "GET", "/sessionHosts", isDescending="true").json()
    assert back["value"][0]["name"] == "hp-pilot/pil-003"


# Clients and contracts


def test_the_official_client_works_with_hosts_tokens_and_sessions() -> None:
    async def body(at: Simulated) -> None:
        desktops, (pool,) = at.azure.desktops, at.cloud.desktop.pools.values()
        assert len(await desktops.list_session_hosts(GROUP, "hp-pilot")) == 2
        token = await desktops.registration_token(GROUP, "hp-pilot")
        assert token.token.get_secret_value() == pool.token
        await desktops.set_allow_new_session(GROUP, "hp-pilot", "pil-001", False)
        assert not pool.hosts["pil-001"].allow_new_session
        assert await desktops.update_host_pool_tags(GROUP, "hp-pilot", {"evergold-lease": "x"}) == pool.tags
        session = at.cloud.desktop.sign_in(pool, USER)
        assert session is not None
        listed = await desktops.list_user_sessions(GROUP, "hp-pilot")
        assert USER in [each.user_principal_name for each in listed]
        assert await desktops.send_message(GROUP, "hp-pilot", "pil-002", str(session.number), "Soon", "Save your work")
        await desktops.sign_out(GROUP, "hp-pilot", "pil-002", str(session.number))
        assert session.state == "SignedOut"

    simulated(body)


def everything_once(world: Caller) -> list[dict[str, Any]]:
    """Every call of the service, once; returns the exchanges."""
    world.cloud.world.catch_up()
    path = sign_in(world)
    renewed(world)
    install_agent(world, new_machine(world))
    for rest in ("", "/sessionHosts", "/sessionHosts/pil-001", "/userSessions", path, "/scalingPlans"):
        call(world, "GET", rest)
    call(world, "POST", "/listRegistrationTokens")
    call(world, "PATCH", "/sessionHosts/pil-001", {"properties": {"allowNewSession": False}})
    call(world, "PATCH", body={"tags": {"a": "b"}})
    call(world, "POST", path + "/disconnect")
    call(world, "POST", path + "/sendMessage", {"messageTitle": "Soon", "messageBody": "Save your work"})
    call(world, "DELETE", path)
    world.wait(120)
    call(world, "GET", "/sessionHosts")
    world.wait(900)
    call(world, "GET", "/sessionHosts")
    call(world, "DELETE", "/sessionHosts/pil-001")
    call(world, "GET", "/sessionHosts/pil-001")
    properties = {"hostPoolType": "Pooled", "loadBalancerType": "DepthFirst", "preferredAppGroupType": "Desktop"}
    call(world, "PUT", body={"location": "westeurope", "properties": properties})
    for scope in (f"/resourceGroups/{GROUP}", ""):
        kind = "/providers/Microsoft.DesktopVirtualization/hostPools"
        world.send("GET", f"/subscriptions/{world.scenario.subscription_id}{scope}{kind}", **VERSION)
    return list(world.cloud.journal.latest)


@pytest.mark.skipif(bool(why_not_python()), reason=why_not_python())
def test_what_the_service_answers_holds_to_the_contract(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.jsonl"
    traffic.write_text("".join(json.dumps(each, default=str) + "\n" for each in everything_once(a_world())))
    check = subprocess.run([sys.executable, str(CHECKER), str(traffic)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout


def test_the_same_calls_at_the_same_times_meet_the_same_answers() -> None:
    def seen() -> list[Any]:
        return [(each["url"], each["status"], each["response"]) for each in everything_once(a_world())]

    assert seen() == seen()
