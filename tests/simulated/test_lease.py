"""What is done to a pool under a lease, where Azure holds calls up for as long as it lasts, or somebody else has the pool by then."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError

from evergold import tags
from evergold.azure import Azure
from evergold.clock import LoopClock
from evergold.rollout import lease
from evergold.rollout.engine import roll_out
from evergold.rollout.lease import LEASE_MINUTES, Holding, LeaseHeldError
from tests.support.asgi_transport import AsgiTransport
from tests.support.rollouts import ME, ignore, place, world
from tests.support.simulated import Simulated, Wire, environment_of, simulated

REFRESH = "office-1"


async def held(world: Simulated) -> Holding:
    """The pool, whose lease was taken a moment ago."""
    pool = place(world).pool_id
    return Holding(world.azure, pool, await lease.take(world.azure, pool, REFRESH, ME))


def lease_of(world: Simulated) -> str:
    """The tag."""
    (pool,) = world.cloud.desktop.pools.values()
    return pool.tags.get(tags.LEASE, "")


def give_to_another(world: Simulated) -> None:
    """Somebody else takes the pool."""
    (pool,) = world.cloud.desktop.pools.values()
    until = world.azure.clock.now() + timedelta(hours=5)
    pool.tags[tags.LEASE] = f"office-2|another|{tags.format_time(until)}"


def test_what_azure_holds_up_is_given_up_before_the_lease_ends_and_done_again_under_a_renewed_one() -> None:
    begun: list[bool] = []

    async def body(world: Simulated) -> None:
        holding = await held(world)

        async def work() -> str:
            begun.append(holding.lasts())
            if len(begun) == 1:
                await world.azure.clock.sleep(3600)
            return "done"

        began = world.azure.clock.now()
        assert await holding.do(work) == "done"
        assert begun == [True, True]
        assert world.azure.clock.now() - began < timedelta(minutes=LEASE_MINUTES)
        assert holding.lease.until > began + timedelta(minutes=LEASE_MINUTES)

    simulated(body, **world())


def test_nothing_is_begun_in_the_last_minutes_of_a_lease() -> None:
    async def body(world: Simulated) -> None:
        holding = await held(world)
        left = (holding.lease.until - world.azure.clock.now()).total_seconds()
        await world.azure.clock.sleep(left - 60)

        async def work() -> None:
            pytest.fail("it was begun")

        with pytest.raises(TimeoutError):
            await holding.try_once(work)

    simulated(body, **world())


@pytest.mark.parametrize("on_the_way_out", [False, True])
def test_nothing_is_done_to_a_pool_that_another_has_by_now(on_the_way_out: bool) -> None:
    async def body(world: Simulated) -> None:
        holding = await held(world)

        async def work() -> None:
            pytest.fail("it was done")

        give_to_another(world)
        if on_the_way_out:
            await holding.do_on_the_way_out(work)
            return
        await world.azure.clock.sleep(LEASE_MINUTES * 60)
        with pytest.raises(LeaseHeldError, match="office-2"):
            await holding.do(work)

    simulated(body, **world())


def test_where_time_runs_fast_a_lease_lasts_as_long_as_calls_take() -> None:
    """In the demo a call of a tenth of a second takes more than a minute of the world's time."""

    async def body(world: Simulated) -> None:
        class Fast(LoopClock):
            speed = 800.0

        slow = TakesLong(world.wire, seconds=80)
        async with Azure.connect(
            environment_of(world.cloud.scenario), AsgiTransport(slow), Fast(world.cloud.scenario.start)
        ) as azure:
            pool = place(world).pool_id
            holding = Holding(azure, pool, await lease.take(azure, pool, REFRESH, ME))
            assert holding.lasts()

    simulated(body, **world())


class TakesLong:
    """Each call takes so many seconds of the world's time."""

    def __init__(self, wire: Wire, seconds: float) -> None:
        self._wire, self._seconds = wire, seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one call."""
        await asyncio.sleep(self._seconds)
        await self._wire(scope, receive, send)


class LosesAnAnswer:
    """The first write to the pool is not done, and not answered."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self.lost = wire, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one call, or loses it."""
        if scope["method"] == "PATCH" and not self.lost:
            self.lost += 1
            raise ServiceResponseError("connection lost")
        await self._wire(scope, receive, send)


def test_the_lease_is_given_back_though_an_answer_is_lost_on_the_way_out() -> None:
    async def body(world: Simulated) -> None:
        holding = await held(world)
        lossy = LosesAnAnswer(world.wire)
        async with Azure.connect(
            environment_of(world.cloud.scenario), AsgiTransport(lossy), world.azure.clock
        ) as azure:
            await holding.do_on_the_way_out(partial(lease.release, azure, holding.pool, holding.lease))
        assert (lossy.lost, lease_of(world)) == (1, "")

    simulated(body, **world())


class HoldsUp:
    """Lets nothing through that matches until somebody says so."""

    def __init__(self, wire: Wire, what: str) -> None:
        self._wire, self._what, self.free = wire, re.compile(what), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one call, later."""
        if self._what.search(scope["path"]):
            await self.free.wait()
        await self._wire(scope, receive, send)


def test_a_rollout_that_azure_holds_up_before_it_has_begun_marks_no_host_of_a_pool_that_another_has() -> None:
    async def body(world: Simulated) -> None:
        slow = HoldsUp(world.wire, "/userSessions$")
        async with Azure.connect(environment_of(world.cloud.scenario), AsgiTransport(slow), world.azure.clock) as azure:
            rollout = asyncio.create_task(roll_out(replace(place(world), azure=azure), ME, ignore))
            await world.azure.clock.sleep(3600)
            give_to_another(world)
            slow.free.set()
            with pytest.raises(LeaseHeldError, match="office-2"):
                await rollout
        assert not any(tags.REPLACE in machine.tags for machine in world.cloud.compute.machines())
        assert lease_of(world).startswith("office-2|another|")

    simulated(body, **world())
