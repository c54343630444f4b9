"""What a caller may not do: each breach is seen at the instant that it is done, and what nobody did is nobody's breach."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.simulator.test_compute import put
from tests.simulator.test_compute import vm_path as build_vm
from tests.simulator.test_desktop import (
    GROUP,
    POOL,
    USER,
    VERSION,
    a_world,
    call,
    host_of,
    install_agent,
    machine_of,
    new_machine,
    pool_of,
    sign_in,
    vm_path,
)
from tests.simulator.test_truth import DRAIN, MESSAGE
from tests.support.caller import Caller
from tests.support.scaling import properties_of

COMPUTE: Any = {"api-version": "2024-07-01"}
OPEN = {"properties": {"allowNewSession": True}}


def broken(world: Caller) -> list[str]:
    """The numbers of what was broken, oldest first."""
    world.cloud.world.catch_up()
    return [breach.partition(" ")[0] for breach in world.cloud.watch.broken]


def with_a_new_host(*, hosts: int = 1, max_sessions: int = 4) -> Caller:
    """A pool whose hosts are from one image, and a host from another that serves."""
    world = a_world(hosts=hosts, max_sessions=max_sessions)
    machine = new_machine(world)
    machine.image_reference = {"id": "another"}
    install_agent(world, machine)
    world.wait(3600)
    world.cloud.world.catch_up()
    call(world, "PATCH", "/sessionHosts/pil-101", OPEN)
    return world


def on_an_old_host(world: Caller) -> str:
    """Somebody signs in to an old host, which drains from then on and lets them have their notice; returns the session's path."""
    call(world, "PATCH", "/sessionHosts/pil-101", DRAIN)
    path = sign_in(world)
    call(world, "PATCH", "/sessionHosts/pil-101", OPEN)
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    call(world, "POST", path + "/sendMessage", MESSAGE)
    world.wait(300)
    return path


def test_to_drain_below_the_floor_breaks_the_first_promise_even_for_a_moment() -> None:
    world = a_world(hosts=2)
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    call(world, "PATCH", "/sessionHosts/pil-001", OPEN)
    assert broken(world) == ["I1"]


def with_a_plan(least: int, hour: int = 20) -> Caller:
    """Five hosts whose scaling plan has had its way until that hour in Berlin, and is suspended now; by day is from seven to six."""
    world = a_world(hosts=5)
    properties = properties_of(pool_of(world).id, least=least)
    path = world.path(GROUP, "Microsoft.DesktopVirtualization/scalingPlans/office-hours")
    world.send("PUT", path, {"location": "westeurope", "properties": properties}, None, **VERSION)
    now = world.cloud.world.now.astimezone(ZoneInfo("Europe/Berlin"))
    world.wait((hour - now.hour) % 24 * 3600)
    pool_of(world)
    properties["hostPoolReferences"][0]["scalingPlanEnabled"] = False
    world.send("PATCH", path, {"properties": properties}, None, **VERSION)
    return world


def wake(world: Caller, name: str) -> None:
    """A caller opens a host that sleeps, switches it on, and waits until it serves."""
    call(world, "PATCH", f"/sessionHosts/{name}", OPEN)
    world.send("POST", vm_path(world, name, "/start"), None, None, **COMPUTE)
    world.wait(900)
    pool_of(world)


def asleep(world: Caller) -> list[str]:
    return [name for name in pool_of(world).hosts if machine_of(world, name).power == "deallocated"]


def test_at_night_the_scaling_plans_share_is_the_floor_of_what_is_open() -> None:
    world = with_a_plan(least=60)
    assert asleep(world) == ["pil-004", "pil-005"]
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(world) == ["I1"]
    smaller = with_a_plan(least=20)
    assert asleep(smaller) == ["pil-002", "pil-003", "pil-004", "pil-005"]
    wake(smaller, "pil-002")
    call(smaller, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(smaller) == []


def test_at_night_the_floor_of_the_day_is_there_to_be_woken() -> None:
    world = with_a_plan(least=20)
    call(world, "PATCH", "/sessionHosts/pil-002", DRAIN)
    assert broken(world) == []
    call(world, "PATCH", "/sessionHosts/pil-003", DRAIN)
    assert broken(world) == ["I1"]
    assert "12 slots for the day of 16, asleep or open, and 16 is its floor" in world.cloud.watch.broken[0]


def test_the_last_open_host_is_not_taken_at_night_whatever_the_plan_says() -> None:
    world = with_a_plan(least=0)
    wake(world, "pil-001")
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(world) == ["I1"]


def test_by_day_the_whole_floor_is_open_though_the_pool_has_a_plan() -> None:
    world = with_a_plan(least=20, hour=10)
    assert asleep(world) == []
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(world) == []
    call(world, "PATCH", "/sessionHosts/pil-002", DRAIN)
    assert set(broken(world)) == {"I1"}


def test_a_host_that_dies_by_itself_is_nobodys_breach() -> None:
    world = a_world(hosts=1)
    sign_in(world)
    machine = machine_of(world)
    world.cloud.compute.switches.go_down(machine, "stopped", clean=False)
    world.wait(3600)
    assert broken(world) == []


def test_a_host_that_has_long_been_silent_is_no_room_for_those_of_another() -> None:
    world = a_world(hosts=5)
    world.cloud.compute.switches.go_down(machine_of(world, "pil-001"), "stopped", clean=False)
    world.wait(600)
    call(world, "PATCH", "/sessionHosts/pil-002", DRAIN)
    assert broken(world) == ["I1"]


def test_to_drain_a_host_that_has_gone_off_takes_nothing_from_its_pool() -> None:
    world = a_world(hosts=2)
    world.cloud.compute.switches.go_down(machine_of(world, "pil-001"), "stopped", clean=False)
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(world) == []


@pytest.mark.parametrize(("minutes", "breaches"), [(4.5, []), (3.5, ["I1"])])
def test_to_drain_a_host_whose_silence_may_be_known_by_then_takes_nothing_from_its_pool(
    minutes: float, breaches: list[str]
) -> None:
    world = a_world(hosts=2)
    world.cloud.desktop.fall_silent(host_of(world, "pil-001"))
    world.wait(minutes * 60)
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(world) == breaches


def test_a_silence_that_nobody_can_know_of_yet_is_held_against_nobody() -> None:
    world = a_world(hosts=5)
    world.cloud.compute.switches.go_down(machine_of(world, "pil-001"), "stopped", clean=False)
    world.wait(200)
    call(world, "PATCH", "/sessionHosts/pil-002", DRAIN)
    assert broken(world) == []


@pytest.mark.parametrize("action", ["/powerOff", "/deallocate", "/restart", ""])
def test_to_stop_a_machine_under_somebody_breaks_the_second(action: str) -> None:
    world = with_a_new_host(hosts=5)
    call(world, "PATCH", "/sessionHosts/pil-101", DRAIN)
    sign_in(world)
    call(world, "PATCH", "/sessionHosts/pil-101", OPEN)
    world.send("POST" if action else "DELETE", vm_path(world, "pil-001", action))
    assert broken(world) == ["I2"]


def test_to_take_a_host_out_of_its_pool_with_somebody_on_it_breaks_the_second() -> None:
    world = a_world(hosts=5)
    sign_in(world)
    call(world, "DELETE", "/sessionHosts/pil-001", force="true")
    assert broken(world) == ["I2"]


def test_a_sign_out_after_its_notice_into_a_free_slot_is_none() -> None:
    world = with_a_new_host()
    call(world, "DELETE", on_an_old_host(world))
    assert broken(world) == []


def test_a_sign_out_without_notice_is_one() -> None:
    world = with_a_new_host()
    path = on_an_old_host(world)
    call(world, "DELETE", path)
    again = sign_in(world)
    call(world, "PATCH", "/sessionHosts/pil-101", DRAIN)
    call(world, "DELETE", again)
    assert "I2" in broken(world)


def test_a_sign_out_without_a_free_slot_elsewhere_is_one() -> None:
    world = with_a_new_host(max_sessions=1)
    path = on_an_old_host(world)
    sign_in(world, "berta@contoso.com")
    world.wait(300)
    call(world, "DELETE", path)
    assert broken(world) == ["I2"]


def test_a_sign_out_while_hosts_of_that_image_take_people_breaks_the_third() -> None:
    world = with_a_new_host(hosts=5)
    call(world, "DELETE", on_an_old_host(world))
    assert broken(world) == ["I3"]


def test_to_sign_somebody_out_twice_breaks_the_third() -> None:
    world = with_a_new_host()
    call(world, "DELETE", on_an_old_host(world))
    call(world, "PATCH", "/sessionHosts/pil-001", OPEN)
    call(world, "DELETE", on_an_old_host(world))
    assert broken(world) == ["I3"]


def test_whoever_had_to_come_back_since_every_new_host_died_may_be_moved_again() -> None:
    world = with_a_new_host()
    call(world, "DELETE", on_an_old_host(world))
    call(world, "PATCH", "/sessionHosts/pil-001", OPEN)
    machine, new = machine_of(world, "pil-101"), host_of(world, "pil-101")
    world.cloud.compute.switches.go_down(machine, "stopped", clean=False)
    world.wait(600)
    sign_in(world)
    world.cloud.world.catch_up()
    world.cloud.compute.switches.boot(machine, agent_after=20)
    world.wait(600)
    world.cloud.world.catch_up()
    assert new.alive
    call(world, "DELETE", on_an_old_host(world))
    assert broken(world) == []


def test_to_drain_a_host_that_nobody_can_have_heard_of_again_takes_nothing_from_its_pool() -> None:
    world = a_world(hosts=2)
    world.cloud.compute.switches.go_down(machine_of(world, "pil-001"), "stopped", clean=False)
    world.wait(600)
    world.cloud.world.catch_up()
    world.cloud.compute.switches.boot(machine_of(world, "pil-001"), agent_after=20)
    world.wait(120)
    world.cloud.world.catch_up()
    assert host_of(world, "pil-001").alive
    call(world, "PATCH", "/sessionHosts/pil-001", DRAIN)
    assert broken(world) == []


@pytest.mark.parametrize("what", ["machine", "tags", "record", "session"])
def test_nobody_touches_a_machine_that_is_protected(what: str) -> None:
    world = a_world(hosts=5)
    path = sign_in(world)
    world.cloud.watch.protected.add(host_of(world).vm_id)
    if what == "machine":
        world.send("POST", vm_path(world, "pil-001", "/runCommand"), {"commandId": "RunPowerShellScript"})
    elif what == "tags":
        world.send("PATCH", vm_path(world, "pil-001"), {"tags": {}})
    elif what == "record":
        call(world, "PATCH", "/sessionHosts/pil-001", OPEN)
    else:
        call(world, "POST", path + "/sendMessage", MESSAGE)
    assert broken(world) == ["I5"]


def test_a_name_that_another_machine_had_is_not_given_again() -> None:
    world = Caller()
    world.ended(put(world))
    world.ended(world.send("DELETE", build_vm(world)))
    assert broken(world) == []
    put(world)
    assert broken(world) == ["I6"]


def test_while_somebody_has_the_pool_nobody_else_changes_its_hosts() -> None:
    world = a_world(hosts=5)
    tokens = {name: world.cloud.entra.token_for(name) for name in ("ada", "bob")}

    def change(caller: str, path: str, tags: dict[str, str]) -> None:
        world.send("PATCH", path, {"tags": tags}, {"authorization": f"Bearer {tokens[caller]}"})

    pool, machine = world.path(GROUP, POOL), vm_path(world, "pil-001")
    change("ada", pool, {"evergold-lease": "ada's"})
    change("ada", machine, {})
    assert broken(world) == []
    change("bob", machine, {})
    assert broken(world) == ["I7"]
    change("bob", pool, {"evergold-lease": "bob's"})
    change("bob", machine, {})
    change("bob", pool, {})
    change("ada", machine, {})
    assert broken(world) == ["I7"]


def test_what_was_shut_before_is_not_opened_and_what_was_open_is_told_until_it_is_again() -> None:
    world = a_world(hosts=5)
    host_of(world, "pil-001").allow_new_session = False
    world.cloud.watch.populate()
    call(world, "PATCH", "/sessionHosts/pil-001", OPEN)
    call(world, "PATCH", "/sessionHosts/pil-002", DRAIN)
    assert (broken(world), world.cloud.watch.suspended()) == (["I8"], ["pil-002"])
    call(world, "PATCH", "/sessionHosts/pil-002", OPEN)
    assert world.cloud.watch.suspended() == []
    assert pool_of(world).open_slots == 20


def test_what_was_refused_breaks_nothing() -> None:
    world = a_world(hosts=1)
    sign_in(world, USER)
    world.cloud.watch.protected.add(host_of(world).vm_id)
    call(world, "DELETE", "/sessionHosts/pil-001")
    assert broken(world) == []
