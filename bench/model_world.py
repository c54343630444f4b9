"""A pool of any size in memory, for the planner alone: what Azure, agents and people take their time for, and nothing else.

Durations are drawn from the simulator's ranges, and people by its habits: a late worker in ten, gone between eight and eleven in the
evening. Steps that the engine takes begin at one of its ticks, as they really do, and checks go on beside them.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from evergold import tags
from evergold.rollout.engine import Tick, pause_s
from evergold.rollout.model import Action, Host, Kind, Plan, Policy, Pool, Session, Snapshot, Target
from evergold.rollout.plan import plan
from simulator.desktop import HANDSHAKE_S
from simulator.scenario import Durations
from simulator.switches import AGENT_AFTER_BOOT_S

START = datetime(2026, 11, 12, 20, tzinfo=UTC)
REFRESH, OLD, NEW = "r1", "/images/office/versions/1.0.0", "/images/office/versions/1.1.0"
LIMIT, PEOPLE_PER_HOST, LATE = 8, 3, 0.1
LEAVE_AFTER_MINUTES = (0.0, 180.0)
CHECK_S = 5.0  # some questions to the broker and to Log Analytics, which are answered in seconds


@dataclass(frozen=True)
class Times:
    """How long things take for one host and the one that takes its place, in seconds."""

    arrival: tuple[float, ...]  # one step after the other until it is healthy
    assess: float  # what an assessment of updates takes, which the canary alone goes through
    deallocate: float
    users_until: tuple[float, ...]  # when those who are on the outdated host leave, from the start


def draw(seed: int, hosts: int) -> list[Times]:
    """The world of a seed."""
    dice, ranges = random.Random(seed), Durations()

    def one() -> Times:
        boot = dice.uniform(*ranges.vm_create) + dice.uniform(*AGENT_AFTER_BOOT_S)
        agent = sum(dice.uniform(*each) for each in (ranges.agent_install, HANDSHAKE_S, ranges.agent_first_update))
        return Times(
            (boot, dice.uniform(*ranges.extension), dice.uniform(*ranges.script) + agent),
            dice.uniform(*ranges.assess_patches),
            dice.uniform(*ranges.vm_deallocate),
            tuple(60 * dice.uniform(*LEAVE_AFTER_MINUTES) for _ in range(PEOPLE_PER_HOST) if dice.random() < LATE),
        )

    return [one() for _ in range(hosts)]


@dataclass
class Machine:
    """A host, outdated or new; times are seconds from the start."""

    name: str
    times: Times
    is_new: bool
    created: float = 0.0
    stages: int = 0  # of its arrival that are over or under way
    stage_ends: float = 0.0
    open: bool = True
    registered: bool = True
    off_at: float | None = None
    checked_at: float = math.inf  # when the check that is under way will be over
    tags: dict[str, str] = field(default_factory=dict)


class ModelWorld:
    """The pool, moved by the planner."""

    def __init__(
        self, times: list[Times], policy: Policy, watch: Callable[[datetime, Snapshot, Plan], None] | None = None
    ) -> None:
        """`watch` is shown every turn."""
        self.policy, self._watch = policy, watch
        self.now = 0.0
        self._new_times = list(reversed(times))
        self.target = Target(REFRESH, NEW, len(times), "new")
        self.machines = {name: self._outdated(name, each) for name, each in _named(times)}

    def _outdated(self, name: str, times: Times) -> Machine:
        return Machine(name, times, False, tags={tags.REPLACE: tags.frozen_value(REFRESH, f"id-{name}")})

    def run(self) -> float:
        """Rolls out; returns the minutes that it took."""
        while True:
            moment = self._moment(self.now)
            seen = self.look()
            decided = plan(seen, self.target, self.policy, moment)
            if self._watch is not None:
                self._watch(moment, seen, decided)
            if decided.done:
                return self.now / 60
            assert not decided.halted, decided.halted
            for action in decided.actions:
                self._do(action)
            self._bring_up()
            if decided.to_judge:  # everybody gets in everywhere
                self.target = replace(self.target, sign_in_seen=frozenset(decided.to_judge))
            self.now += pause_s(Tick(moment, seen, decided, decided.actions))

    def look(self) -> Snapshot:
        """What Azure shows."""
        pool = Pool("/pools/model", LIMIT, "BreadthFirst", "Pooled")
        return Snapshot(self._moment(self.now), pool, tuple(map(self._host, self.machines.values())))

    def _moment(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    def _host(self, machine: Machine) -> Host:
        users = self._users(machine)
        off = machine.off_at is not None
        healthy = not machine.is_new or self._arrived(machine)
        registered = machine.registered and healthy
        if machine.checked_at <= self.now:
            machine.tags[tags.CHECKED_AT] = tags.format_time(self._moment(machine.checked_at))
        power = "running" if not off else "deallocated" if (machine.off_at or 0) <= self.now else "deallocating"
        return Host(
            machine.name,
            f"/vms/{machine.name}",
            f"id-{machine.name}",
            NEW if machine.is_new else OLD,
            power,
            "Succeeded",
            self._moment(machine.created),
            machine.tags,
            registered,
            machine.name,
            "Available" if registered else None,
            machine.open,
            len(users),
            self._moment(self.now),
            sessions=tuple(Session(str(n), str(n), "Active", START) for n in range(len(users))),
        )

    def _users(self, machine: Machine) -> list[float]:
        """Those who are on a host, by when they leave."""
        return [] if machine.is_new else [each for each in machine.times.users_until if each > self.now]

    def _arrived(self, machine: Machine) -> bool:
        return machine.stages == len(machine.times.arrival) and machine.stage_ends <= self.now

    def _bring_up(self) -> None:
        """The engine's own part: each new host one step further a tick."""
        for machine in self.machines.values():
            if machine.is_new and machine.stages < len(machine.times.arrival) and machine.stage_ends <= self.now:
                machine.stage_ends = self.now + machine.times.arrival[machine.stages]
                machine.stages += 1

    def _do(self, action: Action) -> None:
        """Does what the plan says."""
        if action.kind is Kind.CREATE:
            times = self._new_times.pop()
            marks = {tags.REFRESH: REFRESH}
            self.machines[action.host] = Machine(
                action.host, times, True, self.now, 1, self.now + times.arrival[0], tags=marks
            )
            return
        machine, moment = self.machines[action.host], tags.format_time(self._moment(self.now))
        match action.kind:
            case Kind.CHECK | Kind.CHECK_CANARY as kind:
                takes = machine.times.assess if kind is Kind.CHECK_CANARY else CHECK_S
                machine.checked_at = min(machine.checked_at, self.now + takes)
            case Kind.ALLOW_SESSIONS:
                machine.open = True
            case Kind.SHUT:
                machine.open = False
            case Kind.DRAIN:
                machine.open = False
                noted = (tags.DRAINED_AT,) if self._users(machine) else (tags.DRAINED_AT, tags.EMPTY_SINCE)
                machine.tags.update(dict.fromkeys(noted, moment))
            case Kind.NOTE_EMPTY:
                machine.tags[tags.EMPTY_SINCE] = moment
            case Kind.REMOVE_FROM_POOL:
                machine.registered = False
            case Kind.DEALLOCATE:
                machine.off_at = self.now + machine.times.deallocate
            case Kind.MARK_RETIRED:
                machine.tags[tags.RETIRED_AT] = moment
            case _:
                raise AssertionError(f"The model does not play {action}.")


def _named(times: list[Times]) -> list[tuple[str, Times]]:
    return [(f"old-{number:05d}", each) for number, each in enumerate(times)]
