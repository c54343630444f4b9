"""The engine moving a pool to a version: real clients, the simulated Azure, virtual time, and the world's own account at the end."""

import asyncio
import json
import os
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.ids import ResourceId
from evergold.rollout import lease
from evergold.rollout.act import act
from evergold.rollout.arrive import host_spec
from evergold.rollout.engine import TICK_S, RolloutHalted, Tick, put_back_after, roll_out
from evergold.rollout.model import Action, Kind
from evergold.rollout.retire import delete, expired, why_kept
from simulator.kernel.faults import Fault
from simulator.scenario import Version, load
from tests.support.asgi_transport import AsgiTransport
from tests.support.pools import new
from tests.support.rollouts import GROUP, ME, NEW, ignore, place, world
from tests.support.simulated import Killed, Simulated, dies_after, environment_of, simulated, small_image_set

# A death after each write of a rollout takes minutes: every sixth of them here, all of them with EVERGOLD_SOAK (make soak).
EVERY_WRITE = 6


async def rolled_out(world: Simulated, holder: str = ME) -> Tick:
    return await roll_out(place(world), holder, ignore)


def old_hosts(world: Simulated) -> dict[str, bool]:
    """The hosts that were there before the rollout and are in the pool yet, and whether they take new sessions."""
    return {h.name: h.allow_new_session for h in world.cloud.desktop.hosts() if h.name in ("pil-001", "pil-002")}


async def until_drained(world: Simulated, rollout: "asyncio.Task[Tick]") -> None:
    """Waits until the rollout has drained a host."""
    while all(old_hosts(world).values()):
        assert not rollout.done()
        await world.azure.clock.sleep(10)


def machines_of(world: Simulated) -> list[tuple[str, str, bool]]:
    """Every machine, its power, and whether it is in the pool and open."""
    hosts = {host.name: host.allow_new_session for host in world.cloud.desktop.hosts()}
    return [(each.name, each.power, hosts.get(each.name, False)) for each in world.cloud.compute.machines()]


def assert_replaced(world: Simulated) -> None:
    """Both hosts serve on the new version, the old ones are off and kept, nothing is left over, nobody was harmed."""
    hosts = {host.name: host for host in world.cloud.desktop.hosts()}
    assert len(hosts) == 2
    for name, host in hosts.items():
        machine = world.cloud.compute.find(host.vm)
        assert machine is not None
        assert machine.image_reference["id"].endswith(NEW), name
        assert host.allow_new_session
    retired = [machine for machine in world.cloud.compute.machines() if machine.name not in hosts]
    assert sorted(machine.name for machine in retired) == ["pil-001", "pil-002"]
    assert all(machine.power == "deallocated" and tags.RETAIN_UNTIL in machine.tags for machine in retired)
    assert len(world.cloud.network.nics()) == len(world.cloud.compute.machines()) == 4
    assert tags.LEASE not in next(iter(world.cloud.desktop.pools.values())).tags
    assert world.cloud.truth.report()["violations"] == []


def test_every_host_is_replaced_and_nobody_is_signed_out() -> None:
    async def body(world: Simulated) -> None:
        last = await rolled_out(world)
        assert (last.plan.done, last.plan.replaced, last.plan.total) == (True, 2, 2)
        assert_replaced(world)
        assert world.cloud.truth.report()["moved"] == 0

    simulated(body, **world())


def test_hosts_from_a_definition_whose_images_are_sold_name_its_plan() -> None:
    given = world()
    given["definitions"] = [each.model_copy(update={"plan": "contoso:desk:silver"}) for each in given["definitions"]]

    async def body(world: Simulated) -> None:
        await rolled_out(world)
        assert_replaced(world)

    simulated(body, **given)


def test_a_rollout_that_lost_its_lease_leaves_the_hosts_to_whoever_has_it() -> None:
    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(rolled_out(world))
        await until_drained(world, rollout)
        pool = next(iter(world.cloud.desktop.pools.values()))
        until = tags.format_time(world.azure.clock.now() + timedelta(hours=5))
        pool.tags[tags.LEASE] = f"office-2|another|{until}"
        drained = old_hosts(world)
        with pytest.raises(lease.LeaseHeldError):
            await rollout
        assert old_hosts(world) == drained
        assert pool.tags[tags.LEASE].startswith("office-2|another|")

    simulated(body, **world())


def test_a_host_that_somebody_keeps_opening_is_drained_twice_and_then_waited_for() -> None:
    waits: list[str] = []

    async def report(tick: Tick) -> None:
        waits.append(tick.plan.waiting_for)

    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(roll_out(place(world), ME, report))
        while not any("a person to decide about" in waiting for waiting in waits):
            for host in world.cloud.desktop.hosts():
                machine = world.cloud.compute.find(host.vm)
                if machine is not None and tags.DRAINED_AT in machine.tags and not host.allow_new_session:
                    host.allow_new_session = True
            await world.azure.clock.sleep(300)
        await world.azure.clock.sleep(3600)
        assert old_hosts(world) == {"pil-001": True, "pil-002": True}, "nobody fights over them"
        for host in world.cloud.desktop.hosts():
            if host.name in ("pil-001", "pil-002"):
                host.allow_new_session = False
        await asyncio.wait_for(rollout, 24 * 3600)
        assert old_hosts(world) == {}

    simulated(body, small_image_set(rollout={"capacity_floor_percent": 50}), **world())


def test_a_host_that_somebody_deletes_in_the_midst_of_it_is_told_and_replaced() -> None:
    told: list[tuple[str, ...]] = []

    async def report(tick: Tick) -> None:
        told.append(tick.by_others)

    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(roll_out(place(world), ME, report))
        await until_drained(world, rollout)
        (drained,) = (name for name, is_open in old_hosts(world).items() if not is_open)
        pool = next(iter(world.cloud.desktop.pools.values()))
        await world.azure.desktops.delete_session_host(GROUP, pool.name, drained)
        await world.azure.compute.delete_vm(GROUP, drained)
        last = await rollout
        assert last.plan.done
        assert f"{drained} is gone" in " ".join(last.by_others)
        assert len(world.cloud.desktop.hosts()) == 2

    simulated(body, **world())


def test_what_another_tool_writes_on_hosts_is_told_with_the_time_and_changes_nothing() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.update_vm_tags(GROUP, "pil-002", {"IncludeInAutoReplace": "true"})
        ticks: list[Tick] = []

        async def report(tick: Tick) -> None:
            ticks.append(tick)

        rollout = asyncio.create_task(roll_out(place(world), ME, report))
        await until_drained(world, rollout)
        await world.azure.compute.update_vm_tags(GROUP, "pil-001", {"owner": "Ada"})
        set_at = world.azure.clock.now()
        last = await rollout
        at_first, later = last.by_others
        assert ticks[0].by_others == (at_first,)
        assert (
            "UTC: pil-002 has the tag IncludeInAutoReplace: AVD Session Host Replacer replaces such a host" in at_first
        )
        assert later[:5] in {f"{set_at + timedelta(minutes=passed):%H:%M}" for passed in range(4)}
        assert later[5:] == " UTC: pil-001 has the tag owner: Ada"
        assert_replaced(world)
        retired = next(machine for machine in world.cloud.compute.machines() if machine.name == "pil-001")
        assert retired.tags["owner"] == "Ada"

    simulated(body, **world())


def test_a_rollout_is_not_over_while_lists_lack_a_host_that_is_there() -> None:
    async def body(world: Simulated) -> None:
        async def cut_short(tick: Tick) -> None:
            off = [action.host for action in tick.done if action.kind is Kind.DEALLOCATE]
            if off and tick.plan.replaced == 1:
                lacking = Fault(method="GET", path="/virtualMachines$", lacks=f"^{off[0]}$", times=8)
                world.cloud.gate.faults.planned = [lacking]

        await roll_out(place(world), ME, cut_short)
        assert_replaced(world)

    simulated(body, **world())


def test_a_new_host_that_somebody_deletes_while_it_is_checked_does_not_end_the_rollout() -> None:
    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(rolled_out(world))
        while not world.wire.sent("POST", "/assessPatches"):
            assert not rollout.done()
            await world.azure.clock.sleep(1)
        pool = next(iter(world.cloud.desktop.pools.values()))
        (fresh,) = (host.name for host in world.cloud.desktop.hosts() if host.name not in ("pil-001", "pil-002"))
        await world.azure.desktops.delete_session_host(GROUP, pool.name, fresh)
        await world.azure.compute.delete_vm(GROUP, fresh)
        assert (await rollout).plan.done
        assert len(world.cloud.desktop.hosts()) == 2

    simulated(body, **world())


def test_a_tool_that_deletes_every_new_host_is_not_fought_for_ever() -> None:
    made: list[str] = []

    async def report(tick: Tick) -> None:
        made.extend(action.host for action in tick.done if action.kind is Kind.CREATE)

    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(roll_out(place(world), ME, report))
        pool = next(iter(world.cloud.desktop.pools.values()))
        deadline = world.azure.clock.now() + timedelta(hours=12)
        while not rollout.done() and world.azure.clock.now() < deadline:
            await world.azure.clock.sleep(300)
            for host in list(world.cloud.desktop.hosts()):
                if host.name not in ("pil-001", "pil-002"):
                    await world.azure.desktops.delete_session_host(GROUP, pool.name, host.name)
                    await world.azure.compute.delete_vm(GROUP, host.name)
        assert made == ["pil-003", "pil-004"], "as many as the failure budget of 1 bears, each under a name of its own"
        with pytest.raises(
            RolloutHalted, match=r"2 new hosts failed.* pil-004: it was deleted, and not by this rollout"
        ):
            await rollout
        assert pool.tags[tags.FAILURES] == "office-1|pil-003,pil-004"
        assert old_hosts(world) == {"pil-001": True, "pil-002": True}

    simulated(body, **world())


def test_under_immediate_release_users_are_warned_and_then_moved() -> None:
    image_set = small_image_set(rollout={"release_method": "immediate", "max_surge": "100%"})

    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(timedelta(hours=16).total_seconds())  # until people are at work
        assert world.cloud.people.signed_in() > 0
        await rolled_out(world)
        assert_replaced(world)
        report = world.cloud.truth.report()
        assert report["moved"] + report["left_when_warned"] > 0
        assert report["moved_without_warning"] == 0

    simulated(body, image_set, **world())


def test_those_who_stay_are_warned_again_with_the_minutes_that_are_left() -> None:
    policy = {"release_method": "immediate", "max_surge": "100%", "warn_minutes": 15, "warn_again_minutes": 5}

    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(timedelta(hours=16).total_seconds())  # until people are at work
        await rolled_out(world)
        assert_replaced(world)
        said = [text for text in world.wire.written if "messageBody" in text]
        minutes = Counter(int(found[1]) for text in said if (found := re.search(r"in (\d+) minutes", text)))
        assert set(minutes) >= {15, 10}
        assert minutes[10] <= minutes[15]

    simulated(body, small_image_set(rollout=policy), **world())


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else EVERY_WRITE))
def test_a_rollout_that_dies_after_any_of_its_writes_comes_to_the_same_end(first: int) -> None:
    async def writes(world: Simulated) -> int:
        await rolled_out(world)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        await dies_after(world, after, partial(rolled_out, world))
        await rolled_out(world)
        assert_replaced(world)

    for after in range(1 + first, simulated(writes, **world()) + 1, EVERY_WRITE):
        simulated(partial(killed, after=after), **world())


@pytest.mark.parametrize("first", range(0, EVERY_WRITE, 1 if os.environ.get("EVERGOLD_SOAK") else EVERY_WRITE))
def test_the_rollout_after_one_that_died_after_any_of_its_writes_leaves_nothing_of_either(first: int) -> None:
    given = world()
    newest = Version(version="1.2.0", os_build="26200.9900")
    given["definitions"] = [
        each.model_copy(update={"versions": [*each.versions, newest]}) for each in given["definitions"]
    ]

    async def writes(world: Simulated) -> int:
        await rolled_out(world)
        return world.wire.writes

    async def killed(world: Simulated, after: int) -> None:
        await dies_after(world, after, partial(rolled_out, world))
        await roll_out(place(world, "office-2", "1.2.0"), ME, ignore)
        hosts = world.cloud.desktop.hosts()
        machines = {host.name: world.cloud.compute.find(host.vm) for host in hosts}
        assert [host.allow_new_session for host in hosts] == [True, True], f"after {after} writes"
        assert all(machine and machine.image_reference["id"].endswith("1.2.0") for machine in machines.values())
        running = {each.name for each in world.cloud.compute.machines() if each.power != "deallocated"}
        assert running == machines.keys(), f"after {after} writes"
        assert world.cloud.truth.report()["violations"] == []

    for after in range(1 + first, simulated(writes, **given) + 1, EVERY_WRITE):
        simulated(partial(killed, after=after), **given)


@pytest.mark.parametrize("held", [False, True], ids=["no run", "a hold"])
def test_a_host_that_came_up_while_nobody_looked_after_it_is_checked_and_not_failed(held: bool) -> None:
    async def body(world: Simulated) -> None:
        reasons: list[str] = []

        async def hold() -> str | None:
            return reasons[0] if reasons else None

        rollout = asyncio.create_task(roll_out(place(world), ME, ignore, hold))
        while len(world.cloud.desktop.hosts()) < 3:
            await world.azure.clock.sleep(60)
        if held:
            reasons.append("exam week")
        else:
            rollout.cancel()
        await world.azure.clock.sleep(timedelta(hours=6).total_seconds())
        reasons.clear()
        await (rollout if held else rolled_out(world))
        assert_replaced(world)
        assert "pil-003" in {machine.name for machine in world.cloud.compute.machines()}

    simulated(body, **world())


def test_a_failed_host_is_deleted_and_another_takes_its_place_under_another_name() -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        assert_replaced(world)
        noted = next(iter(world.cloud.desktop.pools.values())).tags
        assert noted[tags.FAILURES] == "office-1|pil-003"
        assert "could not provision it: AllocationFailed" in noted[tags.LAST_FAILURE]
        assert "pil-003" not in {machine.name for machine in world.cloud.compute.machines()}

    simulated(body, **world(guest_failures={"create": "1:AllocationFailed"}))


def test_a_creation_that_azure_has_no_room_for_is_a_failure_and_is_tried_again_later() -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        names = {machine.name for machine in world.cloud.compute.machines()}
        assert names == {"pil-001", "pil-002", "pil-004", "pil-005"}
        failed_at, _, cause = (
            next(iter(world.cloud.desktop.pools.values())).tags[tags.LAST_FAILURE].split("|", 1)[1].partition("|")
        )
        assert cause == "pil-003: Azure has no room for it (ZonalAllocationFailed)"
        made = min(
            vm.created_at for vm in await world.azure.compute.list_vms(GROUP) if vm.name == "pil-004" and vm.created_at
        )
        assert made - datetime.fromisoformat(failed_at) >= timedelta(minutes=5), "the image set's retry_minutes"

    full = Fault(method="PUT", path=r"/virtualMachines/pil-\d+$", status=409, code="ZonalAllocationFailed")
    simulated(body, faults=[full], **world())


def test_a_name_that_anybodys_machine_bears_in_the_resource_group_is_passed_over() -> None:
    async def body(world: Simulated) -> None:
        spec = host_spec(
            world.azure, world.image_set, place(world).pool, "pil-003", place(world).target.image_version_id, ""
        )
        await world.azure.compute.create_vm(replace(spec, tags={"owner": "Ada"}))
        await asyncio.wait_for(rolled_out(world), 24 * 3600)
        assert {host.name for host in world.cloud.desktop.hosts()} == {"pil-004", "pil-005"}
        theirs = next(machine for machine in world.cloud.compute.machines() if machine.name == "pil-003")
        assert (theirs.power, theirs.tags) == ("running", {"owner": "Ada"})
        assert world.cloud.truth.report()["violations"] == []

    simulated(body, **world())


@pytest.mark.parametrize(
    ("left", "cause"),
    [
        ("disk", "pil-003: a disk of its name is there already (ConflictingUserInput)"),
        ("card", "pil-003: a network card of its name is there already (NicInUse)"),
    ],
)
def test_a_name_whose_disk_or_card_was_left_behind_is_a_failure_and_another_is_tried(left: str, cause: str) -> None:
    async def body(world: Simulated) -> None:
        leave_behind(world, left)
        await asyncio.wait_for(rolled_out(world), 24 * 3600)
        assert {host.name for host in world.cloud.desktop.hosts()} == {"pil-004", "pil-005"}
        assert tags_of_pool(world)[tags.FAILURES] == "office-1|pil-003"
        assert tags_of_pool(world)[tags.LAST_FAILURE].endswith(f"|{cause}")

    simulated(body, **world())


def leave_behind(world: Simulated, what: str) -> None:
    """What stays of pil-003 where its VM alone was deleted."""
    machine = next(machine for machine in world.cloud.compute.machines() if machine.name == "pil-001")
    subscription = world.cloud.scenario.subscription_id
    if what == "disk":
        world.cloud.disks.add(
            subscription, GROUP, "pil-003-os", machine.location, machine.contents, creation={}, tags={}
        )
    else:
        card = ResourceId(subscription, GROUP, "Microsoft.Network/networkInterfaces", ("pil-003-nic",))
        subnet = place(world).pool.hosts.subnet_id
        world.cloud.network.join(subnet, str(card), machine.location, "", {})
        world.cloud.network.detach(str(card))


def tags_of_pool(world: Simulated) -> dict[str, str]:
    return dict(next(iter(world.cloud.desktop.pools.values())).tags)


def test_over_the_failure_budget_it_halts_and_opens_what_it_has_drained() -> None:
    async def body(world: Simulated) -> None:
        with pytest.raises(RolloutHalted, match="failure budget is 1"):
            await rolled_out(world)
        old = [host for host in world.cloud.desktop.hosts() if host.name in ("pil-001", "pil-002")]
        assert [host.allow_new_session for host in old] == [True, True]
        assert world.cloud.truth.report()["violations"] == []

    simulated(body, **world(guest_failures={"extension": "AADLoginForWindows"}))


def test_a_host_that_somebody_keeps_is_never_touched() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.compute.update_vm_tags(GROUP, "pil-001", {tags.KEEP: "Ada is debugging"})
        kept = next(machine for machine in world.cloud.compute.machines() if machine.name == "pil-001")
        await rolled_out(world)
        assert kept.power == "running"
        assert kept.tags == {tags.KEEP: "Ada is debugging"}
        assert all(host.allow_new_session for host in world.cloud.desktop.hosts() if host.name == "pil-001")

    simulated(body, **world())


def test_the_canary_alone_is_checked_in_drain_mode_and_nothing_else_changes() -> None:
    async def body(world: Simulated) -> None:
        await roll_out(place(world, canary_only=True), ME, ignore)
        states = {host.name: host.allow_new_session for host in world.cloud.desktop.hosts()}
        assert states == {"pil-001": True, "pil-002": True, "pil-003": False}
        old = [machine for machine in world.cloud.compute.machines() if machine.name != "pil-003"]
        assert all(machine.tags == {} for machine in old)

    simulated(body, **world())


def test_a_hold_is_obeyed_within_a_tick_and_the_rollout_goes_on_when_it_is_lifted() -> None:
    async def body(world: Simulated) -> None:
        held: list[str] = []
        ticks: list[Tick] = []

        async def look(tick: Tick) -> None:
            ticks.append(tick)

        async def hold() -> str | None:
            return held[0] if held else None

        rollout = asyncio.create_task(roll_out(place(world), ME, look, hold))
        await until_drained(world, rollout)
        held.append("exam week")
        await world.azure.clock.sleep(TICK_S)
        before = machines_of(world)
        await world.azure.clock.sleep(timedelta(hours=2).total_seconds())
        assert machines_of(world) == before
        assert ticks[-1].plan.waiting_for == "the hold to be lifted: exam week"
        held.clear()
        await rollout
        assert_replaced(world)

    simulated(body, **world())


def test_cancelled_it_ends_within_a_minute_with_drain_mode_and_lease_put_back() -> None:
    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(rolled_out(world))
        await until_drained(world, rollout)
        before = world.azure.clock.now()
        rollout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rollout
        assert world.azure.clock.now() - before < timedelta(minutes=1)
        assert old_hosts(world) == {"pil-001": True, "pil-002": True}
        assert tags.LEASE not in next(iter(world.cloud.desktop.pools.values())).tags
        await rolled_out(world)
        assert_replaced(world)

    simulated(body, **world())


def test_what_a_killed_rollout_left_in_drain_mode_is_put_back_by_its_hook() -> None:
    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(rolled_out(world))
        await until_drained(world, rollout)
        world.wire.dies_after_writes = 1
        rollout.cancel()
        with pytest.raises(Killed):
            await rollout
        await put_back_after(place(world), ME)
        assert old_hosts(world) == {"pil-001": True, "pil-002": True}
        assert tags.LEASE not in next(iter(world.cloud.desktop.pools.values())).tags

    simulated(body, **world())


class HidesSessions:
    """A wire on which the lists of one host's sessions are empty for a while, as a list that was cut short is."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire
        self.lists_left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def hide(message: Any) -> None:
            if message["type"] == "http.response.body" and is_list and self.lists_left > 0:
                self.lists_left -= 1
                message = message | {"body": json.dumps({"value": []}).encode()}
            await send(message)

        is_list = scope["path"].casefold().endswith("/sessionhosts/pil-001/usersessions")
        await self._wire(scope, receive, hide)


def test_whoever_is_missing_from_the_list_at_the_warning_is_told_all_the_same() -> None:
    image_set = small_image_set(rollout={"release_method": "immediate", "max_surge": "100%"})

    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(timedelta(hours=16).total_seconds())  # until people are at work
        hides = HidesSessions(world.wire)
        hides.lists_left = 2
        async with Azure.connect(
            environment_of(world.cloud.scenario), AsgiTransport(hides), world.azure.clock
        ) as azure:
            await roll_out(replace(place(world), azure=azure), ME, ignore)
        assert hides.lists_left == 0
        report = world.cloud.truth.report()
        assert report["moved"] + report["left_when_warned"] > 0
        assert report["moved_without_warning"] == 0

    simulated(body, image_set, **world())


class CutsShort:
    """A wire on which chosen looks at a resource group's machines and at a pool's hosts lack one name."""

    def __init__(self, wire: Any, looks: range, name: str) -> None:
        self._wire, self._looks, self._name = wire, looks, name
        self._seen: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def cut(message: Any) -> None:
            ending = scope["path"].rpartition("/")[2]
            if message["type"] == "http.response.body" and ending in ("virtualMachines", "sessionHosts"):
                self._seen[scope["path"]] += 1
                if self._seen[scope["path"]] in self._looks:
                    body = json.loads(message["body"])
                    body["value"] = [each for each in body["value"] if not each["name"].endswith(self._name)]
                    message = message | {"body": json.dumps(body).encode()}
            await send(message)

        await self._wire(scope, receive, cut)


@pytest.mark.parametrize("first", [1, 2, 9, 20])
def test_a_list_that_was_cut_short_leaves_no_host_out(first: int) -> None:
    """Neither when the hosts to replace are frozen, nor when nothing seems to be left to do."""

    async def body(world: Simulated) -> None:
        scenario = world.cloud.scenario
        short = AsgiTransport(CutsShort(world.wire, range(first, first + 1), "pil-001"))
        async with Azure.connect(environment_of(scenario), short, world.azure.clock) as azure:
            await roll_out(replace(place(world), azure=azure), ME, ignore)
        assert_replaced(world)

    simulated(body, **world())


def test_a_second_rollout_of_the_pool_is_refused_and_changes_nothing() -> None:
    async def body(world: Simulated) -> None:
        await lease.take(world.azure, place(world).pool_id, "office-0", "somebody else")
        before = len([1 for method, _ in world.wire.calls if method != "GET"])
        with pytest.raises(lease.LeaseHeldError, match="office-0"):
            await rolled_out(world)
        assert len([1 for method, _ in world.wire.calls if method != "GET"]) == before

    simulated(body, **world())


def test_the_lease_of_a_holder_that_died_ends_by_itself() -> None:
    async def body(world: Simulated) -> None:
        await lease.take(world.azure, place(world).pool_id, "office-0", "somebody who dies")
        await world.azure.clock.sleep(lease.LEASE_MINUTES * 60 + 1)
        await rolled_out(world)
        assert_replaced(world)

    simulated(body, **world())


def test_retained_hosts_are_deleted_once_their_time_is_up_and_not_before() -> None:
    async def body(world: Simulated) -> None:
        last = await rolled_out(world)
        now = world.azure.clock.now()
        assert expired(last.snapshot, now) == ()
        later = now + timedelta(days=4)
        over = expired(last.snapshot, later)
        assert [host.name for host in over] == ["pil-001", "pil-002"]
        assert "it is kept until" in (await delete(world.azure, GROUP, over[0]) or ""), "the VM is asked again"
        await world.azure.clock.sleep(timedelta(days=4).total_seconds())
        for host in over:
            assert await delete(world.azure, GROUP, host) is None
        assert len(world.cloud.compute.machines()) == len(world.cloud.network.nics()) == 2

    simulated(body, **world())


def test_a_deleted_host_leaves_no_device_in_the_directory() -> None:
    async def body(world: Simulated) -> None:
        await rolled_out(world)
        left = {device.name for device in world.cloud.devices.devices.values()}
        assert {host.name for host in world.cloud.desktop.hosts()} | {"pil-001", "pil-002"} == left, (
            "the failed one's is gone"
        )

    simulated(body, **world(guest_failures={"register-host": "once:exit:1"}))


def test_hosts_that_fail_at_the_same_time_are_counted_one_by_one() -> None:
    async def body(world: Simulated) -> None:
        rollout = place(world)
        failed = [new("pil-003", registered=False), new("pil-004", registered=False)]
        deletions = (act(rollout, host, Action(Kind.DELETE_FAILED, host.name, "it is mute")) for host in failed)
        await asyncio.gather(*deletions)
        spent = next(iter(world.cloud.desktop.pools.values())).tags[tags.FAILURES]
        assert sorted(spent.removeprefix("office-1|").split(",")) == ["pil-003", "pil-004"]

    simulated(body, **world())


def test_a_failed_host_stays_as_long_as_its_session_host_cannot_be_removed() -> None:
    async def body(world: Simulated) -> None:
        last = await roll_out(place(world, canary_only=True), ME, ignore)
        canary = next(host for host in last.snapshot.hosts if host.name == "pil-003")
        world.cloud.faults.planned.append(Fault(path="/sessionHosts/pil-003", method="DELETE", status=403, code="403"))
        with pytest.raises(AzureFailure):
            await act(place(world), canary, Action(Kind.DELETE_FAILED, "pil-003", "its checks did not pass"))
        assert "pil-003" in {machine.name for machine in world.cloud.compute.machines()}
        await act(place(world), canary, Action(Kind.DELETE_FAILED, "pil-003", "its checks did not pass"))
        assert "pil-003" not in {host.name for host in world.cloud.desktop.hosts()}

    simulated(body, **world())


def test_a_retained_host_that_runs_again_is_not_deleted() -> None:
    over = {tags.RETIRED_AT: "2026-11-01T00:00:00Z", tags.RETAIN_UNTIL: "2026-11-04T00:00:00Z"}
    now = load("small").start
    assert why_kept(over, "deallocated", now) is None
    assert why_kept(over, "running", now) == "it is running: somebody may be using it"
    assert why_kept({**over, tags.KEEP: "yes"}, "deallocated", now) == f"somebody has tagged it {tags.KEEP}"
    assert why_kept({}, "deallocated", now) == "it was not retired by a rollout"
