"""Between two waves: people must get in to the new hosts as they do to the old ones, before the next share is begun."""

import asyncio
from datetime import timedelta

import pytest

from evergold.rollout.engine import RolloutHalted, Tick, roll_out
from simulator.kernel.faults import Fault
from tests.support.rollouts import ME, NEW, ignore, place, world
from tests.support.simulated import Simulated, simulated, small_image_set

EARLY = timedelta(hours=13)  # from the scenario's start to the morning, before people come
LONG_BAKE = small_image_set(checks={"sign_in_min_attempts": 1}, rollout={"wave_bake_minutes": 240})
REFUSED = Fault(path="/query", times=5, status=403, code="AuthorizationFailed", message="No.")


def on_new_image(world: Simulated) -> list[str]:
    """The machines that stand on the version that is rolled out."""
    machines = world.cloud.compute.machines()
    return [each.name for each in machines if str(each.image_reference.get("id", "")).endswith(NEW)]


async def nobody_gets_in(world: Simulated) -> None:
    """New machines refuse everybody who tries, for as long as this runs."""
    while True:
        for machine in world.cloud.compute.machines():
            if machine.name in on_new_image(world):
                machine.change(defects=("sign-in",))
        await world.azure.clock.sleep(60)


def test_new_hosts_that_nobody_gets_in_to_halt_the_rollout_after_the_first_wave() -> None:
    async def body(world: Simulated) -> None:
        await world.azure.clock.sleep(EARLY.total_seconds())
        trouble = asyncio.create_task(nobody_gets_in(world))
        with pytest.raises(RolloutHalted, match=r"Sign-in fails more often on new hosts.*roll back"):
            await roll_out(place(world), ME, ignore)
        trouble.cancel()
        assert len(on_new_image(world)) == 1
        old = [host for host in world.cloud.desktop.hosts() if host.name not in on_new_image(world)]
        assert old
        assert all(host.allow_new_session for host in old)

    simulated(body, LONG_BAKE, **world())


def test_where_the_log_cannot_be_read_the_next_wave_waits_until_it_can() -> None:
    waits: list[str] = []

    async def report(tick: Tick) -> None:
        waits.append(tick.plan.waiting_for)

    async def body(world: Simulated) -> None:
        rollout = asyncio.create_task(roll_out(place(world), ME, report))
        while not any(
            host.allow_new_session for host in world.cloud.desktop.hosts() if host.name in on_new_image(world)
        ):
            await world.azure.clock.sleep(30)
        world.cloud.faults.planned.append(REFUSED)
        last = await rollout
        assert (last.plan.done, last.plan.replaced) == (True, 2)

    simulated(body, **world())
    unseen = [waiting for waiting in waits if "somebody to be able to say how sign-in goes" in waiting]
    assert "AuthorizationFailed" in unseen[0]
