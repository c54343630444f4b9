"""Hosts replaced in place, under their names, in the small world of two: whole, after each death, and where it is refused."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.rollout.act import act
from evergold.rollout.deferred import Deferred
from evergold.rollout.engine import RolloutHalted, Tick, roll_out
from evergold.rollout.model import Action, Frozen, Kind
from simulator.kernel.faults import Fault
from simulator.network import Nic
from simulator.news import MachineDeleted
from simulator.scenario import load
from simulator.session_hosts import Pool
from tests.storm.weather import Message
from tests.support.asgi_transport import AsgiTransport
from tests.support.rollouts import GROUP, ME, NEW, OLD, ignore, place, world
from tests.support.simulated import Simulated, dies_after, environment_of, simulated, small_image_set

IN_PLACE = {"strategy": "in_place", "capacity_floor_percent": 50, "settle_minutes": 1, "min_drain_minutes": 1}
SOAK = bool(os.environ.get("EVERGOLD_SOAK"))
# A death after each write takes a minute: two of them here (a deletion and a creation were sent), all with EVERGOLD_SOAK (make soak).
EVERY_WRITE = 25
FIRST = 11


async def rolled_out(world: Simulated, **target: Any) -> Tick:
    return await roll_out(place(world, **target), ME, ignore)


def three() -> dict[str, Any]:
    """The pool has three hosts, on which nobody is."""
    pool = load("small").host_pools[0]
    return {"host_pools": [pool.model_copy(update={"hosts": 3, "people": 0})]}


def run(body: Any, **changes: Any) -> Any:
    return simulated(body, small_image_set(rollout=IN_PLACE), **world(**changes))


def assert_replaced(world: Simulated, version: str = NEW) -> None:
    """The same two names, each on the version and open; nothing is left of what they were; nobody was harmed."""
    assert sorted((host.name, host.allow_new_session) for host in world.cloud.desktop.hosts()) == [
        ("pil-001", True),
        ("pil-002", True),
    ]
    machines = world.cloud.compute.machines()
    assert sorted(machine.name for machine in machines) == ["pil-001", "pil-002"]
    assert all(machine.image_reference["id"].endswith(version) for machine in machines)
    assert len(world.cloud.network.nics()) == 2
    # The world asks for 80 %; this image set, of two hosts of which one is away, for 50.
    assert world.cloud.truth.report()["violations"] == ["capacity of hp-pilot fell to 50 %"]


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if SOAK else EVERY_WRITE))
def test_each_host_goes_before_its_successor_comes_under_its_name_and_whenever_the_run_dies_the_end_is_the_same(
    first: int,
) -> None:
    async def writes(world: Simulated) -> int:
        most = 0

        async def report(tick: Tick) -> None:
            nonlocal most
            most = max(most, len(tick.snapshot.hosts))

        last = await roll_out(place(world), ME, report)
        assert (last.plan.done, last.plan.replaced, last.plan.total, most) == (True, 2, 2, 2)
        assert_replaced(world)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        await dies_after(world, after, partial(rolled_out, world))
        await rolled_out(world)
        assert_replaced(world)

    for after in range(1 + (first + FIRST) % EVERY_WRITE, run(writes) + 1, EVERY_WRITE):
        run(partial(killed, after=after))


def test_a_roll_back_makes_the_hosts_anew_on_the_earlier_version() -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        await roll_out(place(world, "office-1-back", OLD, rollback=True), ME, ignore)
        assert_replaced(world, OLD)

    run(body)


def personal(world: Simulated) -> Pool:
    """The world's pool as a personal one, whose first host is Ada's."""
    (pool,) = world.cloud.desktop.pools.values()
    pool.host_pool_type, pool.load_balancer = "Personal", "Persistent"
    pool.hosts["pil-001"].assigned_user = "ada@contoso.com"
    return pool


def versions(world: Simulated) -> dict[str, str]:
    """The version that each host of the pool was made from."""
    vms = {machine.id: machine for machine in world.cloud.compute.machines()}
    return {host.name: vms[host.vm].image_reference["id"].rpartition("/")[2] for host in world.cloud.desktop.hosts()}


def test_in_a_personal_pool_hosts_that_are_nobodys_are_replaced_and_those_that_people_own_stay() -> None:
    async def body(world: Simulated) -> None:
        pool = personal(world)
        last = await rolled_out(world)
        assert (last.plan.done, last.plan.replaced) == (True, 2)
        assert versions(world) == {"pil-001": OLD, "pil-002": NEW, "pil-003": NEW}
        assert all(host.allow_new_session for host in pool.hosts.values())
        assert world.cloud.desktop.sign_in(pool, "ada@contoso.com") is not None

    run(body, **three())


def test_a_host_that_becomes_somebodys_own_while_it_drains_is_opened_for_them_and_stays() -> None:
    async def body(world: Simulated) -> None:
        pool = personal(world)

        async def report(tick: Tick) -> None:
            drained = [host for host in pool.hosts.values() if not host.allow_new_session and not host.assigned_user]
            if not given and drained and tags.DRAINED_AT in world.cloud.compute.find(drained[0].vm).tags:  # type: ignore[union-attr]  # it stands
                drained[0].assigned_user = "grace@contoso.com"
                given.append(drained[0].name)

        given: list[str] = []
        await roll_out(place(world), ME, report)
        (graces,) = given
        assert {name for name, version in versions(world).items() if version == OLD} == {"pil-001", graces}
        assert world.cloud.desktop.sign_in(pool, "grace@contoso.com") is not None

    run(body, **three())


@pytest.mark.parametrize("left", ["keeps_disk", "keeps_nic"])
def test_a_host_of_which_something_would_stay_behind_is_refused_before_anything_changes(left: str) -> None:
    async def body(world: Simulated) -> None:
        setattr(world.cloud.compute.machines()[0], left, True)
        with pytest.raises(RolloutHalted, match=r"pil-001 .*would stay behind.*Nothing was changed"):
            await rolled_out(world)
        assert not any(tags.REPLACE in machine.tags for machine in world.cloud.compute.machines())

    run(body)


# Static addresses


def static(**changes: Any) -> dict[str, Any]:
    """The pool's hosts have static addresses, on cards that would go with them; nobody is on them."""
    pool = load("small").host_pools[0]
    return {"host_pools": [pool.model_copy(update={"static_addresses": True, "people": 0, **changes})]}


def cards(world: Simulated) -> dict[str, tuple[str, str, bool]]:
    """Every network card: its address, the VM that has it, and whether it is static."""
    return {
        nic.name: (nic.address, (nic.vm or "").rpartition("/")[2], nic.static) for nic in world.cloud.network.nics()
    }


def noted_cards(world: Simulated) -> dict[str, str]:
    """What the pool's tags say of cards that wait for hosts."""
    (pool,) = world.cloud.desktop.pools.values()
    return {name: value for name, value in pool.tags.items() if name.startswith(tags.CARD)}


BOTH = {"pil-001-nic": ("10.20.0.4", "pil-001", True), "pil-002-nic": ("10.20.0.5", "pil-002", True)}


def assert_addresses_kept(world: Simulated) -> None:
    """Each host is replaced, and its successor has its name, its card and its address; no card is lost, and none is doubled."""
    assert_replaced(world)
    assert cards(world) == BOTH
    assert all(machine.keeps_nic for machine in world.cloud.compute.machines())
    assert noted_cards(world) == {}


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if SOAK else EVERY_WRITE))
def test_a_static_address_is_kept_whenever_the_run_dies(first: int) -> None:
    async def writes(world: Simulated) -> int:
        assert cards(world) == BOTH
        last = await rolled_out(world)
        assert (last.plan.done, last.plan.replaced, last.plan.total) == (True, 2, 2)
        assert_addresses_kept(world)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        await dies_after(world, after, partial(rolled_out, world))
        await rolled_out(world)
        assert_addresses_kept(world)

    for after in range(1 + (first + FIRST) % EVERY_WRITE, run(writes, **static()) + 1, EVERY_WRITE):
        run(partial(killed, after=after), **static())


def test_the_next_rollout_takes_hosts_whose_cards_stay_and_keeps_their_addresses_again() -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        await roll_out(place(world, "office-1-back", OLD, rollback=True), ME, ignore)
        assert_replaced(world, OLD)
        assert cards(world) == BOTH

    run(body, **static())


def test_only_the_cards_with_static_addresses_are_kept() -> None:
    async def body(world: Simulated) -> None:
        first, second = world.cloud.network.nics()
        second.static = False
        await rolled_out(world)
        assert_replaced(world)
        kept = {machine.name: machine.keeps_nic for machine in world.cloud.compute.machines()}
        assert kept == {"pil-001": True, "pil-002": False}
        assert cards(world)["pil-001-nic"] == (first.address, "pil-001", True)

    run(body, **static())


@pytest.mark.parametrize("why", ["1:AllocationFailed", "1:OSProvisioningClientError"])
def test_the_host_that_is_tried_after_one_that_failed_has_the_address_of_the_one_that_went(why: str) -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        machines = world.cloud.compute.machines()
        assert all(machine.image_reference["id"].endswith(NEW) for machine in machines)
        assert len({machine.name for machine in machines} & {"pil-001", "pil-002"}) == 1
        (failed,) = {"pil-001", "pil-002"} - {machine.name for machine in machines}
        found = cards(world)
        assert found.keys() == BOTH.keys()
        assert {address for address, _, _ in found.values()} == {"10.20.0.4", "10.20.0.5"}
        assert found[f"{failed}-nic"][1] == "pil-003"
        assert noted_cards(world) == {}

    run(body, **static(), guest_failures={"create": why})


def test_whenever_the_run_dies_the_card_of_a_host_that_failed_goes_to_the_next() -> None:
    async def writes(world: Simulated) -> int:
        await rolled_out(world)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        await dies_after(world, after, partial(rolled_out, world))
        await rolled_out(world)
        found = cards(world)
        assert found.keys() == BOTH.keys()
        assert {vm for _, vm, _ in found.values()} == {machine.name for machine in world.cloud.compute.machines()}
        assert len(world.cloud.compute.machines()) == 2

    failing = {**static(), "guest_failures": {"create": "1:OSProvisioningClientError"}}
    for after in range(1 if SOAK else 18, run(writes, **failing) + 1, 1 if SOAK else 9):
        run(partial(killed, after=after), **failing)


def test_a_rollout_that_halts_says_which_cards_are_kept_for_which_hosts_and_gives_them_away_when_it_goes_on() -> None:
    no_room = Fault(method="PUT", path="virtualMachines/[^/]+$", status=409, code="AllocationFailed")

    async def body(world: Simulated) -> None:
        strict = replace(world, image_set=small_image_set(rollout={**IN_PLACE, "failure_budget": 0}))
        with pytest.raises(RolloutHalted, match="Azure has no room for it") as halted:
            await rolled_out(strict)
        (left,) = (nic for nic in world.cloud.network.nics() if nic.vm is None)
        host = left.name.removesuffix("-nic")
        assert f"wait for the hosts that are to have them: {left.name} ({left.address}, of {host})" in str(halted.value)
        await rolled_out(world)
        found = cards(world)
        assert found == {**BOTH, left.name: (left.address, "pil-003", True)}
        assert noted_cards(world) == {}

    run(body, **static(), faults=[no_room])


def when_a_card_is_left(world: Simulated, do: Callable[[Nic], None]) -> None:
    """Somebody does something to the first card that an outdated host leaves behind."""
    done: list[str] = []

    def left(_: MachineDeleted) -> None:
        for nic in world.cloud.network.nics():
            if nic.vm is None and not done:
                done.append(nic.id)
                do(nic)

    world.cloud.world.listen(MachineDeleted, left)


def test_a_card_that_somebody_gives_to_another_machine_is_waited_for_and_nobody_fights_over_it() -> None:
    async def body(world: Simulated) -> None:
        freed: list[datetime] = []

        def take(nic: Nic) -> None:
            nic.vm = "theirs"
            world.cloud.world.after(1800, partial(give_back, nic))

        def give_back(nic: Nic) -> None:
            nic.vm = None
            freed.append(world.cloud.world.now)

        when_a_card_is_left(world, take)
        last = await rolled_out(world)
        assert freed
        assert last.at > freed[0]
        assert_addresses_kept(world)

    run(body, **static())


def test_a_card_that_somebody_deletes_stops_the_rollout_which_says_what_to_do_and_goes_on_after_that() -> None:
    async def body(world: Simulated) -> None:
        when_a_card_is_left(world, lambda nic: world.cloud.network.leave(nic.id))
        told = r"was deleted by somebody.*Make a network card of that name.*or remove the tag evergold-card-pil-00"
        with pytest.raises(AzureFailure, match=told):
            await rolled_out(world)
        (tag,) = noted_cards(world)
        (pool,) = world.cloud.desktop.pools.values()
        del pool.tags[tag]
        await rolled_out(world)
        assert_replaced(world)

    run(body, **static())


def test_the_canary_beside_the_pool_goes_before_the_first_host_so_that_every_address_has_a_host() -> None:
    async def body(world: Simulated) -> None:
        await roll_out(place(world, canary_only=True), ME, ignore)
        assert cards(world) == {**BOTH, "pil-003-nic": ("10.20.0.6", "pil-003", False)}
        await rolled_out(world)
        assert_addresses_kept(world)

    run(body, **static())


def test_a_canary_that_somebody_is_on_stays_and_the_card_that_is_left_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: Simulated) -> None:
        await roll_out(place(world, canary_only=True), ME, ignore)
        (pool,) = world.cloud.desktop.pools.values()
        for host in pool.hosts.values():
            host.allow_new_session = host.name == "pil-003"
        assert world.cloud.desktop.sign_in(pool, "ada@contoso.com") is not None
        for host in pool.hosts.values():
            host.allow_new_session = host.name != "pil-003"
        await rolled_out(world)
        assert {host.name for host in pool.hosts.values()} > {"pil-003"}
        (left,) = (nic for nic in world.cloud.network.nics() if nic.vm is None)
        assert "the canary stays" in caplog.text
        assert f"wait for the hosts that are to have them: {left.name} ({left.address}" in caplog.text

    run(body, **static())


def test_a_host_whose_card_finds_no_room_among_the_pools_tags_stays_until_there_is_room() -> None:
    async def body(world: Simulated) -> None:
        (pool,) = world.cloud.desktop.pools.values()
        own = {f"theirs-{number}": "1" for number in range(40)}
        pool.tags |= own
        rollout = asyncio.create_task(rolled_out(world))
        await world.azure.clock.sleep(2 * 3600)
        assert {machine.name for machine in world.cloud.compute.machines()} == {"pil-001", "pil-002"}
        assert all(machine.image_reference["id"].endswith(OLD) for machine in world.cloud.compute.machines())
        for name in own:
            del pool.tags[name]
        await rollout
        assert_addresses_kept(world)

    run(body, **static())


async def asked_for_a_third(world: Simulated, azure: Azure) -> str:
    """Two frozen hosts stand, and somebody who saw but one asks for a third. Returns why it is not made."""
    youngest = max(machine.created for machine in world.cloud.compute.machines())
    frozen = Frozen(youngest, frozenset({"pil-001", "pil-002"}))
    third = Action(Kind.CREATE, "pil-003", "it takes the place of an outdated host")
    there = place(world)
    there = replace(there, azure=azure, target=replace(there.target, size=2, frozen=frozen))
    with pytest.raises(Deferred) as reason:
        await act(there, None, third)
    assert {machine.name for machine in world.cloud.compute.machines()} == {"pil-001", "pil-002"}
    return str(reason.value)


def test_a_host_that_has_nobodys_name_and_nobodys_card_is_not_made_where_a_second_look_does_not_ask_for_it() -> None:
    async def body(world: Simulated) -> None:
        assert await asked_for_a_third(world, world.azure) == "pil-003: a second look does not ask for it"

    run(body, **static())


def test_nor_where_every_look_lacks_a_dead_host_that_stands() -> None:
    async def body(world: Simulated) -> None:
        (pool,) = world.cloud.desktop.pools.values()
        world.cloud.desktop.fall_silent(pool.hosts["pil-001"])
        await world.azure.clock.sleep(600)

        async def cut_short(scope: Any, receive: Any, send: Any) -> None:
            answer = Message(0)
            await world.wire(scope, receive, answer.take)
            if scope["path"].endswith("/virtualMachines"):
                listed = json.loads(answer.body)
                listed["value"] = [each for each in listed["value"] if not each["name"].endswith("pil-001")]
                answer.headers, answer.body = [], json.dumps(listed).encode()
            await answer.send(send)

        environment = environment_of(world.cloud.scenario)
        async with Azure.connect(environment, AsgiTransport(cut_short), world.azure.clock) as azure:
            assert len(await azure.compute.list_vms(GROUP)) == 1
            assert await asked_for_a_third(world, azure) == "pil-003: a second look does not ask for it"

    run(body, **static())


def refused(world: Simulated, text: str) -> Any:
    """The rollout is refused with this in what it says, before anything changes."""

    async def refuse() -> None:
        with pytest.raises(RolloutHalted, match=rf"{text}.*Nothing was changed"):
            await rolled_out(world)
        assert not any(tags.REPLACE in machine.tags for machine in world.cloud.compute.machines())

    return refuse()


def test_a_static_address_in_another_subnet_than_new_hosts_have_is_refused() -> None:
    async def body(world: Simulated) -> None:
        world.cloud.network.nics()[0].subnet += "-2"
        await refused(world, "pil-001 .*not in the subnet that hosts.subnet_id names for the pool hp-pilot")

    run(body, **static())


def test_a_card_with_a_static_address_in_another_region_is_refused() -> None:
    async def body(world: Simulated) -> None:
        world.cloud.network.nics()[0].location = "northeurope"
        await refused(world, "pil-001 .*in northeurope, not in the image set's location")

    run(body, **static())
