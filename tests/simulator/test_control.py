"""The simulator's own controls and its page."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from simulator.cloud import Cloud
from simulator.kernel.clock import ScaledClock, WallClock
from simulator.page import FILE
from simulator.picture import picture
from simulator.scenario import CloudPcs, load
from tests.support.caller import Caller

POOL = "Microsoft.DesktopVirtualization/hostPools/hp-pilot"


def tiles(world: Caller) -> dict[str, dict[str, Any]]:
    pool = world.send("GET", "/_sim/state").json()["pools"][0]
    return {tile["name"]: tile for tile in pool["hosts"]}


def vm(world: Caller, name: str, rest: str = "") -> str:
    return world.path("rg-avd-pilot", f"Microsoft.Compute/virtualMachines/{name}{rest}")


# Time


def test_time_is_told_with_its_speed() -> None:
    told = Caller().send("GET", "/_sim/time").json()
    assert told == {"now": "2026-11-12T16:30:00+00:00", "clock": "ManualClock", "speed": None}


def test_time_that_is_moved_by_hand_can_be_advanced_and_the_world_follows() -> None:
    world = Caller()
    answer = world.send("POST", "/_sim/advance", {"seconds": 3600})
    assert answer.json()["now"] == "2026-11-12T17:30:00+00:00"
    assert world.cloud.world.now == world.scenario.start + timedelta(hours=1)


def test_time_that_runs_by_itself_is_not_moved_and_says_why() -> None:
    world = Caller()
    scenario = load("small")
    world.cloud = Cloud(scenario, ScaledClock(600, scenario.start, WallClock().now()))
    answer = world.send("POST", "/_sim/advance", {"seconds": 3600})
    assert answer.status_code == 409
    assert "not moved by hand" in answer.json()["error"]
    assert world.send("GET", "/_sim/time").json()["speed"] == 600


@pytest.mark.parametrize("body", [{"seconds": -1}, {"seconds": "soon"}, {"minutes": 1}, None])
def test_a_step_that_makes_no_sense_is_refused(body: Any) -> None:
    world = Caller()
    assert world.send("POST", "/_sim/advance", body).status_code == 400
    assert world.cloud.world.now == world.scenario.start


# Faults


def test_a_fault_strikes_as_often_as_it_was_told_to() -> None:
    world = Caller()
    fault = {"path": "virtualMachines/pil-001", "status": 503, "code": "ServiceUnavailable", "times": 2}
    assert world.send("POST", "/_sim/faults", fault).json()[0]["times"] == 2
    assert [world.send("GET", vm(world, "pil-001")).status_code for _ in range(3)] == [503, 503, 200]
    assert world.send("GET", "/_sim/faults").json() == []


def test_faults_can_be_taken_back() -> None:
    world = Caller()
    world.send("POST", "/_sim/faults", [{"path": "virtualMachines"}, {"path": "disks"}])
    assert world.send("DELETE", "/_sim/faults").json() == []
    assert world.send("GET", vm(world, "pil-001")).status_code == 200


def test_what_is_no_fault_is_refused_with_the_field_that_is_wrong() -> None:
    answer = Caller().send("POST", "/_sim/faults", {"path": "disks", "staus": 500})
    assert answer.status_code == 400
    assert "staus" in answer.json()["error"]


# What can be looked at


def test_the_scenario_is_shown_without_secrets() -> None:
    answer = Caller().send("GET", "/_sim/scenario")
    assert answer.json()["name"] == "small"
    assert "simulated-secret" not in answer.text


def test_the_journal_shows_the_latest_exchanges_and_no_token() -> None:
    world = Caller()
    for name in ("pil-001", "pil-002", "nobody"):
        world.send("GET", vm(world, name))
    told = world.send("GET", "/_sim/journal", last="2")
    assert told.json()["count"] == 3
    assert [each["status"] for each in told.json()["exchanges"]] == [200, 404]
    assert "Bearer" not in told.text


def test_the_truth_is_what_the_world_says_of_itself() -> None:
    world = Caller()
    assert world.send("GET", "/_sim/truth").json() == world.cloud.truth.report()


def test_controls_need_no_token_and_leave_no_trace_in_the_journal() -> None:
    world = Caller()
    assert world.send("GET", "/_sim/time", headers={"authorization": ""}).status_code == 200
    assert world.cloud.journal.count == 0


# The picture of the world


def test_each_host_is_a_tile_with_its_version_sessions_and_phase() -> None:
    found = tiles(Caller())
    assert list(found) == ["pil-001", "pil-002"]
    first = found["pil-001"]
    assert (first["version"], first["newest"], first["phase"], first["power"]) == ("1.0.0", True, "serving", "running")


def test_a_host_in_drain_mode_is_shown_as_draining_and_takes_nothing_from_the_nominal_capacity() -> None:
    world = Caller()
    host = world.path("rg-avd-pilot", f"{POOL}/sessionHosts/pil-001")
    world.send("PATCH", host, {"properties": {"allowNewSession": False}})
    pool = world.send("GET", "/_sim/state").json()["pools"][0]
    assert tiles(world)["pil-001"]["phase"] == "draining"
    assert (pool["open_slots"], pool["nominal_slots"], pool["percent"]) == (4, 8, 50)


def test_a_host_that_was_retired_stays_in_the_picture_as_a_machine_that_is_off() -> None:
    world = Caller()
    host = world.path("rg-avd-pilot", f"{POOL}/sessionHosts/pil-001")
    world.send("DELETE", host, force="true")
    world.ended(world.send("POST", vm(world, "pil-001", "/deallocate")))
    tile = tiles(world)["pil-001"]
    assert (tile["registered"], tile["phase"]) == (False, "off")


def test_a_host_whose_machine_is_gone_is_shown_as_such() -> None:
    world = Caller()
    world.ended(world.send("DELETE", vm(world, "pil-001")))
    assert tiles(world)["pil-001"]["phase"] == "gone"


def test_image_versions_are_shown_with_their_role_and_replication() -> None:
    world = Caller()
    [image] = world.send("GET", "/_sim/state").json()["images"]
    [version] = image["versions"]
    assert (version["version"], version["role"], version["machines"]) == ("1.0.0", "latest", 2)
    assert [region["state"] for region in version["regions"]] == ["Completed", "Completed"]


def test_each_cloud_pc_is_told_under_its_policy_with_its_image_and_whether_somebody_works_on_it() -> None:
    world = Caller(cloud_pcs=[CloudPcs(policy="Office", count=2)])
    desks = world.cloud.cloud_pcs
    (policy,) = desks.policies.values()
    policy.image_type, policy.image_name = "custom", "office 1.1.0"
    first = next(iter(desks.all.values()))
    desks.begin_reprovision(first)
    world.wait(600)
    [shown] = world.send("GET", "/_sim/state").json()["cloud_pcs"]
    assert (shown["name"], shown["image"]) == ("Office", "office 1.1.0")
    assert [each["status"] for each in shown["desks"]] == ["provisioning", "provisioned"]
    world.wait(3 * 3600)
    [shown] = world.send("GET", "/_sim/state").json()["cloud_pcs"]
    assert [(each["user"], each["version"], each["newest"]) for each in shown["desks"]] == [
        ("cpc-user001", "1.1.0", True),
        ("cpc-user002", first.points[0].image.rpartition(" ")[2], False),
    ]


def test_looking_changes_nothing() -> None:
    world = Caller()
    assert picture(world.cloud) == picture(world.cloud)


# The page


def test_the_page_is_there_for_everybody_and_names_the_scenario() -> None:
    answer = Caller().send("GET", "/", headers={"authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "small" in answer.text
    assert "{{" not in answer.text


def test_the_page_needs_nothing_from_anywhere_else() -> None:
    text = FILE.read_text()
    assert not re.findall(r"""(?:src|href)=|url\(|@import|https?://""", text)
    assert re.findall(r"fetch\((.+?)\)", text) == ['"/_sim/state"']
