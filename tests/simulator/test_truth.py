"""The world's own account: what it counts, and what it calls a violation."""

from typing import Any

import pytest

from tests.simulator.test_desktop import (
    USER,
    a_world,
    call,
    host_of,
    install_agent,
    new_machine,
    pool_of,
    sign_in,
    vm_path,
)
from tests.support.caller import Caller

MESSAGE = {"messageTitle": "Soon", "messageBody": "Save your work"}
DRAIN = {"properties": {"allowNewSession": False}}


def report(world: Caller) -> dict[str, Any]:
    world.cloud.world.catch_up()
    return world.cloud.truth.report()


def signed_out_after_warning(world: Caller, minutes: float) -> None:
    path = sign_in(world)
    call(world, "POST", path + "/sendMessage", MESSAGE)
    world.wait(minutes * 60)
    call(world, "DELETE", path)


def test_a_world_in_which_nothing_happened_has_no_violations() -> None:
    world = a_world()
    assert report(world)["violations"] == []
    assert report(world)["lowest_capacity_percent"] == {"hp-pilot": 100}


def test_a_sign_out_five_minutes_after_a_warning_is_no_violation() -> None:
    world = a_world()
    signed_out_after_warning(world, 5)
    assert (report(world)["moved"], report(world)["violations"]) == (1, [])


@pytest.mark.parametrize("minutes", [0, 4.9, 25 * 60])
def test_a_sign_out_too_soon_or_a_day_after_a_warning_is_one(minutes: float) -> None:
    world = a_world()
    signed_out_after_warning(world, minutes)
    (violation,) = report(world)["violations"]
    assert violation.startswith(f"signed out without 5 minutes' warning: {USER} on pil-001 at 2026-11-1")


def test_a_warning_counts_for_its_own_session_only() -> None:
    world = a_world()
    call(world, "POST", sign_in(world) + "/sendMessage", MESSAGE)
    world.cloud.desktop.leave(pool_of(world), USER)
    world.wait(600)
    call(world, "DELETE", sign_in(world))
    assert report(world)["moved_without_warning"] == 1


def test_somebody_who_leaves_after_a_warning_was_not_moved_and_is_counted() -> None:
    world = a_world()
    call(world, "POST", sign_in(world) + "/sendMessage", MESSAGE)
    world.cloud.desktop.leave(pool_of(world), USER)
    assert (report(world)["moved"], report(world)["left_when_warned"]) == (0, 1)


def test_to_be_moved_twice_within_a_day_is_a_violation_and_in_two_months_it_is_not() -> None:
    world = a_world()
    signed_out_after_warning(world, 6)
    world.wait(30 * 86_400)
    signed_out_after_warning(world, 6)
    assert report(world)["violations"] == []
    signed_out_after_warning(world, 6)
    (violation,) = report(world)["violations"]
    assert violation.startswith(f"moved more than once within a day: {USER}")


@pytest.mark.parametrize("action", ["/powerOff", "/deallocate", "/restart", ""])
def test_a_machine_that_goes_away_under_a_session_cuts_somebody_off(action: str) -> None:
    world = a_world(hosts=1)
    sign_in(world)
    world.send("POST" if action else "DELETE", vm_path(world, "pil-001", action))
    violations = report(world)["violations"]
    assert violations[0].startswith(f"cut off in mid-work: {USER} on pil-001")


def test_a_sign_in_that_finds_no_host_is_a_violation() -> None:
    world = a_world(hosts=1)
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    world.cloud.desktop.sign_in(pool_of(world), USER)
    assert "sign-ins to hp-pilot that found no host: 1" in report(world)["violations"]


def test_capacity_that_fell_for_a_moment_is_remembered() -> None:
    world = a_world(hosts=2)
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    call(world, "PATCH", "/sessionHosts/pil-001", {"properties": {"allowNewSession": True}})
    assert report(world)["lowest_capacity_percent"] == {"hp-pilot": 50}
    assert report(world)["violations"] == ["capacity of hp-pilot fell to 50 %"]


def test_sessions_on_draining_hosts_are_served_though_they_are_no_open_slots() -> None:
    world = a_world(hosts=2, max_sessions=4)
    for number in range(4):
        sign_in(world, f"user{number}@contoso.com")
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert report(world)["lowest_capacity_percent"] == {"hp-pilot": 50}
    assert report(world)["lowest_served_percent"] == {"hp-pilot": 75}


def test_a_new_host_counts_from_when_it_can_take_people() -> None:
    world = a_world(hosts=1, max_sessions=4)
    install_agent(world, new_machine(world))
    slots = []
    for _ in range(12):
        world.wait(60)
        slots.append(pool_of(world).open_slots)
    assert (slots[0], slots[-1]) == (4, 8)


def test_a_host_that_only_looks_available_is_no_capacity() -> None:
    world = a_world(hosts=1)
    world.send("DELETE", vm_path(world, "pil-001"))
    assert host_of(world).status == "Available"
    assert report(world)["lowest_capacity_percent"] == {"hp-pilot": 0}


def test_machines_are_counted_by_name_over_all_time() -> None:
    world = a_world(hosts=1)
    world.ended(world.send("DELETE", vm_path(world, "pil-001")))
    new_machine(world, "pil-001")
    new_machine(world, "pil-002")
    assert report(world)["machines"] == {"pil-001": 2, "pil-002": 1}


def test_the_timeline_tells_when_things_changed_and_no_more_often_than_once_a_minute() -> None:
    world = a_world(hosts=2)
    for seconds, allow in ((0, False), (10, True), (10, False), (3600, False), (60, True)):
        world.wait(seconds)
        call(world, "PATCH", "/sessionHosts/pil-001", {"properties": {"allowNewSession": allow}})
    points = world.cloud.truth.timeline()["hp-pilot"]
    after = [(point["at"] - points[0]["at"]).total_seconds() for point in points]
    assert list(zip(after, [point["open_slots"] for point in points], strict=True)) == [(0, 8), (20, 4), (3680, 8)]


def test_who_signs_in_and_out_shows_in_the_timeline_within_a_minute() -> None:
    world = a_world()
    sign_in(world)
    world.wait(61)
    world.cloud.world.catch_up()
    assert world.cloud.truth.timeline()["hp-pilot"][-1]["sessions"] == 1
