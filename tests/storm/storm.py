"""One storm: a world, its weather, its people and its misfortunes, all from one seed, and a rollout in the middle of it.

The rollout is started again whenever it dies or gives up, as Prefect and its operators would, until it is done or has halted. Then
the world says what was broken, and what was left behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.ids import image_version_id
from evergold.clock import LoopClock, run_virtual
from evergold.config.models import ImageSet
from evergold.rollout.act import Place
from evergold.rollout.engine import RolloutHalted, Tick, policy_for, roll_out
from evergold.rollout.lease import LeaseHeldError
from evergold.rollout.model import Target
from simulator.cloud import Cloud
from simulator.kernel.clock import LoopClock as WorldClock
from simulator.machines import Machine
from simulator.scaling import ScalingPlan
from simulator.scenario import Client, Promises, Scenario, Subnet, Version, load
from tests.storm.crowd import Crowd, Misfortune, Opener
from tests.storm.weather import Climate, Weather
from tests.support.asgi_transport import AsgiTransport
from tests.support.rollouts import QUICK
from tests.support.scaling import PLAN, TAG, properties_of
from tests.support.simulated import NETWORKS, SECRET_VARIABLE, Killed, Wire, environment_of, small_image_set

NEW, REFRESH = "1.1.0", "office-1"
RIVAL = Client(client_id="55555555-5555-4555-8555-555555555555", secret="simulated-secret")
LONG_ONES = 10  # one storm of so many rages for an hour, over more hosts
IN_PLACE = 0.15  # share of the storms in which hosts are replaced in place
SCALING = 0.3  # ... in which the pool has a scaling plan, and it is night at first
STATIC = 0.5  # ... and share of those in which they have static addresses
FAILURES_IN_CALM = 3
CALM_WITHIN = timedelta(hours=8)  # after the last fault; a rollout that is not over by then does not end


class TooLongError(Exception):
    """The rollout goes on though all has long been well; says what it waits for."""


@dataclass(frozen=True)
class Plan:
    """What a seed stands for."""

    seed: int
    hosts: int
    limit: int
    people: int
    staying: float
    balancer: str
    rollout: dict[str, Any]
    minutes: float
    climate: Climate
    create: str
    deaths: int
    mute: float
    kept: int
    was_drained: int
    deaths_of_ours: tuple[tuple[int, float], ...]  # after so many writes, for so many minutes
    rival_after: float | None
    real_logs: bool
    openings: int  # how often somebody opens a host that the rollout has drained
    night: tuple[int, int] | None = (
        None  # the share of hosts that a scaling plan keeps on, and after how many minutes it ramps up
    )
    static: bool = False  # the hosts have static addresses

    @property
    def in_place(self) -> bool:
        """Whether an outdated host is deleted before its successor is made."""
        return "strategy" in self.rollout


@dataclass(frozen=True)
class Outcome:
    """How it went. `ended` is "done", "halted: ..." or why it did not end; `digest` is of every call, its time and its answer."""

    plan: Plan
    ended: str
    broken: tuple[str, ...]
    left: tuple[str, ...]
    digest: str
    calls: int
    minutes: float


def plan_of(seed: int) -> Plan:
    """Throws a seed's dice. Each kind of trouble is there in some storms and absent in others, so that none hides another."""
    dice = random.Random(f"storm:{seed}")

    def sometimes(chance: float, most: float) -> float:
        return dice.uniform(most / 5, most) if dice.random() < chance else 0.0

    long = seed % LONG_ONES == 0
    hosts, limit = dice.choice((1, 2, 2, 3, 3, 4) if long else (1, 2, 2)), dice.choice((2, 3, 5))
    minutes = dice.uniform(*((25, 70) if long else (5, 20)))
    spells = []
    for _ in range(dice.choice((0, 0, 1, 2))):
        start = dice.uniform(0, minutes * 60)
        spells.append((start, start + dice.choice((20, 120, 600, 1500))))
    create = dice.choice(("", "", "", "1:AllocationFailed", "2:OSProvisioningTimedOut", "1:OSProvisioningClientError"))
    plan = Plan(
        seed=seed,
        hosts=hosts,
        limit=limit,
        people=round(hosts * limit * dice.uniform(0, 0.7)),
        staying=dice.choice((0, 0, 0.2, 0.6)),
        balancer=dice.choice(("BreadthFirst", "DepthFirst")),
        rollout={
            "release_method": dice.choice(("opportunistic", "immediate", "immediate", "scheduled")),
            "max_surge": dice.choice((1, 1, 2, "50%", "100%")),
            "capacity_floor_percent": dice.choice((50, 66, 80, 100)),
            "warn_minutes": dice.choice((2, 5) if long else (2,)),
            "settle_minutes": dice.choice((2, 5) if long else (1, 2)),
            "min_drain_minutes": dice.choice((2, 5, 15) if long else (1, 2, 5)),
            "join_timeout_minutes": 25,
            "failure_budget": dice.choice((0, 1, 2, 4)),
        },
        minutes=minutes,
        climate=Climate(
            error=sometimes(0.5, 0.12),
            lost=sometimes(0.4, 0.06),
            lost_after=sometimes(0.5, 0.08),
            timeout=sometimes(0.3, 0.04),
            slow=sometimes(0.3, 0.08),
            stale=sometimes(0.5, 0.5),
            partial=sometimes(0.4, 0.15),
            no_quota=sometimes(0.1, 1.0),
            throttled=tuple(spells),
        ),
        create=create,
        deaths=dice.choice((0, 0, 0, 1, 2)),
        mute=sometimes(0.25, 0.5),
        kept=dice.choice((0, 0, 0, 1)),
        was_drained=dice.choice((0, 0, 0, 1)),
        deaths_of_ours=tuple(
            (dice.randint(1, 40), dice.choice((0.1, 3, 15))) for _ in range(dice.choice((0, 0, 1, 2)))
        ),
        rival_after=dice.uniform(1, minutes) if dice.random() < 0.2 else None,
        real_logs=seed % (2 * LONG_ONES) == 0,
        openings=0,
    )
    # Thrown last, so that what was there before is as it was.
    later = {
        "warn_again_minutes": dice.choice((0, 0, 1)),
        "wave_bake_minutes": dice.choice((0, 5, 15) if long else (0, 0, 5)),
    }
    openings = dice.choice((0, 0, 1, 4)) if plan.rollout["release_method"] == "opportunistic" else 0
    rollout = {**plan.rollout, **later}
    if hosts > 1 and dice.random() < IN_PLACE:
        # Of two hosts one goes first, so that half of them have to be enough.
        rollout |= {"strategy": "in_place", "capacity_floor_percent": 50}
        del rollout["max_surge"]
    night = None
    if hosts > 1 and dice.random() < SCALING:
        night = dice.choice((0, 25, 50)), dice.choice((20, 60, 120, 240))
    # A scaling plan opens what somebody had drained, by itself.
    was_drained = 0 if night else plan.was_drained
    static = "strategy" in rollout and dice.random() < STATIC
    return replace(plan, rollout=rollout, openings=openings, night=night, was_drained=was_drained, static=static)


def run(seed: int) -> Outcome:
    """Plays a seed's storm to its end, in virtual time."""
    plan = plan_of(seed)
    scenario = _scenario(plan)

    async def main(clock: LoopClock) -> Outcome:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SECRET_VARIABLE, scenario.clients[0].secret)
            return await _Storm(plan, scenario, clock).play()

    return run_virtual(main, scenario.start)


@cache
def _small() -> Scenario:
    """The small world, read once for all storms."""
    return load("small")


def _scenario(plan: Plan) -> Scenario:
    small = _small()
    definition = small.definitions[0]
    versions = [*definition.versions, Version(version=NEW, os_build="26200.9231")]
    pool = small.host_pools[0].model_copy(
        update={
            "hosts": plan.hosts,
            "max_sessions": plan.limit,
            "people": 0,
            "load_balancer": plan.balancer,
            "subnet": "vnet-avd/snet-storm",
            "static_addresses": plan.static,
        }
    )
    promises = Promises(
        floor_percent=plan.rollout["capacity_floor_percent"],
        warn_minutes=plan.rollout["warn_minutes"],
        names_are_used_again=plan.in_place,
    )
    return small.model_copy(
        deep=True,
        update={
            "seed": plan.seed,
            "clients": [*small.clients, RIVAL],
            "subnets": [
                *small.subnets,
                Subnet(resource_group="rg-network", network="vnet-avd", name="snet-storm", prefix="10.30.0.0/24"),
            ],
            "definitions": [definition.model_copy(update={"versions": versions})],
            "host_pools": [pool],
            "durations": QUICK,
            "promises": promises,
            "guest_failures": {"create": plan.create} if plan.create else {},
        },
    )


class _Storm:
    """A storm that rages."""

    def __init__(self, plan: Plan, scenario: Scenario, clock: LoopClock) -> None:
        self.plan, self.scenario, self.clock = plan, scenario, clock
        self.cloud = Cloud(scenario, WorldClock(scenario.start))
        (self.pool,) = self.cloud.desktop.pools.values()
        self.until = clock.now() + timedelta(minutes=plan.minutes)
        self.first = {machine.vm_id: machine for machine in self.cloud.compute.machines()}
        self.static = [nic.id for nic in self.cloud.network.nics() if nic.static]
        self._prepare()
        self.wire = Wire(self.cloud)
        self.ended = ""
        self.failures_in_calm = 0

    def _prepare(self) -> None:
        """What the rollout finds: hosts that somebody keeps or has drained, people, and what is to befall the hosts."""
        hosts = list(self.pool.hosts.values())
        for host in hosts[: self.plan.kept]:
            self.first[host.vm_id].tags[tags.KEEP] = "Ada is debugging"
            self.cloud.watch.protected.add(host.vm_id)
        shut = hosts[1 : 1 + self.plan.was_drained]
        for host in shut:
            host.allow_new_session = False
        self.cloud.watch.populate()
        self._fall_asleep()
        Crowd(self.cloud, self.pool, self.plan.people, self.plan.staying, self.until)
        Misfortune(self.cloud, self.pool, deaths=self.plan.deaths, mute=self.plan.mute, until=self.until)
        Opener(self.cloud, self.pool, {host.vm_id for host in shut}, times=self.plan.openings, until=self.until)

    def _fall_asleep(self) -> None:
        """The pool's scaling plan, if it has one, has switched its hosts off for the night."""
        if self.plan.night is None:
            return
        least, minutes = self.plan.night
        properties = properties_of(self.pool.id, least=least)
        begun, morning = self.scenario.start - timedelta(hours=2), self.scenario.start + timedelta(minutes=minutes)
        moments = {"rampDownStartTime": begun, "rampUpStartTime": morning}
        properties["schedules"][0] |= {name: {"hour": at.hour, "minute": at.minute} for name, at in moments.items()}
        plan = ScalingPlan(f"{self.pool.id.partition('/hostPools/')[0]}/scalingPlans/{PLAN}", PLAN, "westeurope")
        plan.properties = properties | {"timeZone": "UTC"}
        for vm_id in self.cloud.watch.protected:  # nobody else may wake what somebody keeps
            self.first[vm_id].tags[TAG] = "Ada is debugging"
        self.cloud.scaling.add(plan)
        self.cloud.scaling.look()

    @property
    def image_set(self) -> ImageSet:
        """The pool's image set, with the plan's rollout policy."""
        changes = dict(self.plan.rollout)
        if changes["release_method"] == "scheduled":
            later = timedelta(minutes=self.plan.minutes / 3)
            changes["scheduled_start"] = (self.scenario.start + later).isoformat()
        return small_image_set(rollout=changes, checks={"settle_timeout_minutes": 15})

    def place(self, azure: Azure) -> Place:
        """The rollout."""
        image_set = self.image_set
        pool = image_set.rings[0].pools[0]
        hosts = pool.hosts.model_copy(update={"subnet_id": f"{NETWORKS}/vnet-avd/subnets/snet-storm"})
        version = image_version_id(self.scenario.subscription_id, "rg-images", "gal_evergold", "office", NEW)
        policy = policy_for(image_set, self.plan.hosts, None)
        target = Target(REFRESH, version, 0, "pil")
        return Place(azure, image_set, pool.model_copy(update={"hosts": hosts}), policy, target)

    async def play(self) -> Outcome:
        """Rolls out until it is over, and looks at what came of it."""
        weather = self._weather(0)
        runs = [self._run(self.scenario.clients[0], "flow-run-1", weather, self.plan.deaths_of_ours)]
        if self.plan.rival_after is not None:
            runs.append(self._come_between(self._weather(1)))
        await asyncio.gather(*runs)
        ended_at = self.clock.now()
        await self.clock.sleep(300)
        if self.plan.night is not None:  # what the plan has switched off in the meantime is on by day
            morning = self.scenario.start + timedelta(minutes=self.plan.night[1] + 20)
            await self.clock.sleep(max((morning - self.clock.now()).total_seconds(), 600))
        self.cloud.world.catch_up()
        return Outcome(
            self.plan,
            self.ended,
            tuple(self.cloud.watch.broken),
            tuple(self._left()),
            weather.digest,
            len(self.wire.calls),
            (ended_at - self.scenario.start).total_seconds() / 60,
        )

    def _weather(self, number: int) -> Weather:
        plan = self.plan
        seed = f"{plan.seed}:{number}"
        return Weather(self.wire, plan.climate, seed, self.clock.now, self.until, logs=plan.real_logs)

    async def _come_between(self, weather: Weather) -> None:
        """Somebody starts the same rollout once more while it is under way."""
        assert self.plan.rival_after is not None
        await self.clock.sleep(60 * self.plan.rival_after)
        await self._run(RIVAL, "flow-run-2", weather, ())

    async def _run(self, client: Client, holder: str, weather: Weather, deaths: Sequence[tuple[int, float]]) -> None:
        environment = environment_of(self.scenario)
        credential = environment.credential.model_copy(update={"client_id": UUID(client.client_id)})
        environment = environment.model_copy(update={"credential": credential})
        deaths = list(deaths)
        async with Azure.connect(environment, AsgiTransport(weather), self.clock) as azure:
            while not self.ended:
                weather.dead, weather.writes_until_death = False, deaths[0][0] if deaths else None
                try:
                    self.ended = await self._try(azure, holder)
                except Killed:
                    await self.clock.sleep(60 * deaths.pop(0)[1])

    async def _try(self, azure: Azure, holder: str) -> str:
        """Starts the rollout once. Returns how it ended, or nothing where it is to be started again."""
        try:
            await roll_out(self.place(azure), holder, self._look)
        except RolloutHalted as halted:
            if self.clock.now() >= self.until:
                return f"halted: {halted}"
            # Whoever looks at it waits for better weather, and starts it again.
            await self.clock.sleep((self.until - self.clock.now()).total_seconds() + 60)
        except LeaseHeldError:
            await self.clock.sleep(150)
        except AzureFailure as failure:
            self.failures_in_calm += self.clock.now() >= self.until + timedelta(hours=1)
            if self.failures_in_calm > FAILURES_IN_CALM:
                return f"fails in good weather: {failure}"
            await self.clock.sleep(90)
        except TooLongError as waiting:
            return f"does not end: it waits for {waiting}"
        else:
            return "done"
        return ""

    async def _look(self, tick: Tick) -> None:
        if tick.at > self.until + CALM_WITHIN:
            raise TooLongError(tick.plan.waiting_for)

    def _left(self) -> Iterator[str]:
        """What should not be as it is, now that the rollout is over."""
        if self.plan.rollout["release_method"] == "opportunistic" and self.cloud.truth.report()["moved"]:
            yield "people were signed out, though release is opportunistic"
        yield from self._not_put_back()
        machines = {machine.vm_id: machine for machine in self.cloud.compute.machines()}
        for vm_id in self.first.keys() - machines.keys():
            if not self.plan.in_place or vm_id in self.cloud.watch.protected:
                yield f"{self.first[vm_id].name} is gone, and was to be kept"
        for card in self.static:
            if self.cloud.network.find(card) is None:
                yield f"the network card {card.rpartition('/')[2]} with a static address is gone"
        if self.ended == "done":
            yield from self._unfinished(list(machines.values()))

    def _not_put_back(self) -> Iterator[str]:
        """What a rollout suspends while it goes on."""
        if tags.LEASE in self.pool.tags:
            yield f"the lease {self.pool.tags[tags.LEASE]}"
        for plan in self.cloud.scaling.plans.values():
            if tags.SCALING in self.pool.tags or not plan.is_enabled_for(self.pool):
                yield "the scaling plan is suspended"
        for name in self.cloud.watch.suspended():
            yield f"{name} in drain mode, which served before"

    def _unfinished(self, machines: list[Machine]) -> Iterator[str]:
        """What is not as a rollout that is done should leave it."""
        registered = {host.vm_id: host for host in self.pool.hosts.values()}
        if len(registered) < self.plan.hosts:
            yield f"{len(registered)} hosts are in the pool, and there were {self.plan.hosts}"
        for machine in machines:
            host = registered.get(machine.vm_id)
            if machine.vm_id in self.cloud.watch.protected:
                continue
            died_under_somebody = host is not None and host.sessions and not host.alive
            closed = host is None or not host.allow_new_session
            if machine.vm_id not in self.first and closed and not died_under_somebody:
                yield f"{machine.name}, which was made and does not serve"
            if machine.vm_id in self.first and (host is not None or tags.RETIRED_AT not in machine.tags):
                yield f"{machine.name}, which was to be replaced"
        if len(self.cloud.network.nics()) != len(machines):
            yield "network cards without a machine"
