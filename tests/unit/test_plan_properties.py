"""What must always hold, on pools, policies and misfortunes that nobody thought of.

`PoolLives` lets hypothesis run a rollout of a small pool while users come and go, hosts die, sleep and come back, lists come back cut
short, people keep, hold and re-open hosts, the engine's clock is set back, and the engine crashes between two actions. Every action is
checked against the truth by `tests/support/model_pool.py`. When it has had its way the faults end, and the rollout must end too.
"""

import os
from dataclasses import replace
from datetime import time, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evergold import tags
from evergold.rollout.model import Kind, Plan, Policy, Snapshot
from evergold.rollout.plan import plan
from evergold.rollout.quiet import Schedule
from evergold.rollout.windows import Window
from tests.support.model_pool import Machine, ModelPool, old_machine, retained_machine
from tests.support.moments import EPOCH

SOAK = "EVERGOLD_SOAK" in os.environ  # then the stories are others each time, and there are more of them
TICK = 5
PATIENCE = 2000  # ticks: a week, of which some rollouts may use but four hours a day
DESTRUCTIVE = {
    *(Kind.DRAIN, Kind.SIGN_OUT, Kind.REMOVE_FROM_POOL, Kind.DEALLOCATE, Kind.DELETE_OUTDATED),
    *(Kind.DELETE_FAILED, Kind.CREATE),
}

policies = st.builds(
    Policy,
    release_method=st.sampled_from(["opportunistic", "immediate", "scheduled"]),
    surge=st.integers(1, 3),
    floor_percent=st.sampled_from([0, 50, 80, 100]),
    warn_minutes=st.sampled_from([0, 5, 15]),
    warn_again_minutes=st.sampled_from([0, 4]),
    settle_minutes=st.sampled_from([0, 5]),
    min_drain_minutes=st.sampled_from([0, 15]),
    min_ready_minutes=st.sampled_from([0, 2, 15]),
    failure_budget=st.integers(0, 2),
    retry_minutes=st.sampled_from([0, 5, 20]),
    waves=st.sampled_from([(20, 60, 100), (100,), (1, 50, 100)]),
    wave_bake_minutes=st.sampled_from([0, 15]),
    scheduled_start=st.just(EPOCH + timedelta(hours=2)),
    windows=st.sampled_from([(), (Window(frozenset(range(7)), EPOCH.time(), 240, "UTC"),)]),
)
QUIET = [
    Schedule(frozenset(range(7)), time(6), EPOCH.time(), least, 100, "UTC") for least in (0, 20, 50)
]  # from the beginning of each of the tests' days until ten hours later
policies = st.builds(
    lambda policy, schedules: replace(policy, schedules=schedules),
    policies,
    st.sampled_from([(), (), (), *((each,) for each in QUIET)]),
)
policies |= policies.map(lambda policy: replace(policy, strategy="in_place", surge=0))
fates = st.lists(st.sampled_from(["good", "good", "good", "stillborn", "mute", "faulty"]), max_size=4)
any_machine = st.integers(0, 20)


def run_to_the_end(pool: ModelPool) -> Plan:
    """Ticks until the rollout is done or has halted and nothing is left to do; fails if it never is."""
    for _ in range(PATIENCE):
        result = pool.plan()
        pool.apply(result)
        if result.done or (result.halted and not result.actions):
            return result
        pool.pass_time(TICK)
    raise AssertionError(f"the rollout never ends: it waits for {result.waiting_for}, {dict(result.notes)}")


def check_the_end(pool: ModelPool, result: Plan) -> None:
    """What a rollout leaves behind: all replaced when it is done, all given back when it has halted."""
    if result.halted:
        awake = [m for m in pool.of_pool_outdated() if not pool.has_plan or m.power == "running"]
        shut = [m.name for m in awake if not m.open and m.name not in pool.was_drained]
        assert not shut, f"I8: the rollout halted and left {shut} in drain mode"
        return
    assert not pool.of_pool_outdated(), "it is done, and outdated hosts are in the pool"
    for machine in pool.machines.values():
        left_alone = bool(machine.owner) or tags.KEEP in machine.tags
        over = not pool.is_frozen(machine) or left_alone or machine.power == "deallocated"
        assert over, f"it is done, and {machine.name} runs"
        shut_out = machine.owner and machine.registered and not machine.open and machine.name not in pool.was_drained
        assert not shut_out, f"{machine.owner} has no other host than {machine.name}, and it is in drain mode"
    assert sum(1 for machine in pool.machines.values() if machine.registered) >= pool.size, "the pool has shrunk"


class PoolLives(RuleBasedStateMachine):
    """A rollout, and everything that can happen to it."""

    pool: ModelPool

    @initialize(
        size=st.integers(1, 5),
        limit=st.integers(1, 3),
        policy=policies,
        kept=st.booleans(),
        drained=st.booleans(),
        fates=fates,
        users=st.integers(0, 8),
        retained=st.one_of(st.none(), st.integers(0, 4)),
        personal=st.sampled_from([False, False, False, True]),
        sleeping=st.integers(0, 4),
    )
    def begin(
        self,
        size: int,
        limit: int,
        policy: Policy,
        kept: bool,
        drained: bool,
        fates: list[str],
        users: int,
        retained: int | None,
        personal: bool,
        sleeping: int,
    ) -> None:
        """Two in every three are rollouts to a new version; the others go back to one that hosts are retained on."""
        machines = [
            old_machine(n, kept=kept and n == 0, is_open=not (drained and n == size - 1 and n > 0)) for n in range(size)
        ]
        machines += [retained_machine(n, fate) for n, fate in enumerate([*fates, *["good"] * 4][: retained or 0])]
        personal = personal and policy.strategy == "in_place" and not policy.schedules
        for machine in machines[1 : 1 + sleeping if policy.schedules else 1]:
            if machine.registered and tags.KEEP not in machine.tags:
                machine.power, machine.open = "deallocated", False
        limit = 1 if personal else limit
        self.pool = ModelPool(machines, limit, policy, rollback=retained is not None, personal=personal)
        self.pool.next_fates = fates
        self.users = 0
        for n in range(users):
            self.somebody_signs_in(n)

    def _any(self, pick: int) -> Machine:
        machines = list(self.pool.machines.values())
        return machines[pick % len(machines)]

    @rule(ticks=st.integers(1, 4))
    def the_engine_ticks(self, ticks: int) -> None:
        for _ in range(ticks):
            self.pool.apply(self.pool.plan())
            self.pool.pass_time(TICK)

    @rule(ticks=st.integers(10, 30))
    def the_engine_has_its_way(self, ticks: int) -> None:
        self.the_engine_ticks(ticks)

    @rule(actions=st.integers(0, 3))
    def the_engine_dies_between_two_actions(self, actions: int) -> None:
        self.pool.apply(self.pool.plan(), at_most=actions)

    @rule(minutes=st.sampled_from([1, 7, 120]))
    def time_passes_without_the_engine(self, minutes: int) -> None:
        self.pool.pass_time(minutes)

    @rule(minutes=st.sampled_from([1, 20, 90]))
    def the_engines_clock_is_set_back(self, minutes: int) -> None:
        self.pool.set_back(timedelta(minutes=minutes))

    @rule(pick=any_machine)
    def somebody_signs_in(self, pick: int) -> None:
        open_hosts = [m for m in self.pool.machines.values() if m.serves]
        if open_hosts:
            self.users += 1
            self.pool.sign_in(f"user-{self.users}", open_hosts[pick % len(open_hosts)])

    @rule(count=st.integers(1, 6))
    def a_shift_begins(self, count: int) -> None:
        for pick in range(count):
            self.somebody_signs_in(pick)

    @rule(pick=any_machine)
    def those_who_were_signed_out_come_back(self, pick: int) -> None:
        for name in sorted(self.pool.homeless):
            self.pool.sign_in(name, self._any(pick))

    @rule(pick=any_machine)
    def somebody_leaves(self, pick: int) -> None:
        self.pool.sign_out(self._any(pick))

    @rule(pick=any_machine)
    def a_host_dies(self, pick: int) -> None:
        self._any(pick).alive = False

    @rule(pick=any_machine)
    def a_host_comes_back(self, pick: int) -> None:
        self._any(pick).alive = True

    @rule(pick=any_machine)
    def a_scaling_plan_switches_an_empty_host_off(self, pick: int) -> None:
        machine = self._any(pick)
        if machine.registered and not machine.users:
            self.pool.fall_asleep(machine)

    @rule(pick=any_machine)
    def a_scaling_plan_switches_a_host_on(self, pick: int) -> None:
        machine = self._any(pick)
        if machine.registered and machine.power == "deallocated":
            self.pool.wake_by_hand(machine)

    @rule(pick=any_machine)
    def another_tool_opens_a_host(self, pick: int) -> None:
        machine = self._any(pick)
        if machine.registered and self.pool.is_frozen(machine):
            machine.open = True
            self.pool.was_drained.discard(machine.name)

    @rule(pick=any_machine)
    def somebody_keeps_a_serving_host(self, pick: int) -> None:
        machine = self._any(pick)
        if machine.open and self.pool.is_frozen(machine):
            machine.tags[tags.KEEP] = "yes"

    @rule(pick=any_machine)
    def somebody_is_given_a_host(self, pick: int) -> None:
        machine = self._any(pick)
        if self.pool.personal and machine.registered and not machine.owner:
            self.users += 1
            machine.owner = f"user-{self.users}"

    @rule(pick=any_machine)
    def somebody_takes_an_empty_host_out_of_the_pool(self, pick: int) -> None:
        machine = self._any(pick)
        # Not the last one: a pool that shows no host at all is not believed.
        others = [m for m in self.pool.machines.values() if m.registered and m is not machine]
        if machine.registered and self.pool.is_frozen(machine) and not machine.users and others:
            machine.registered = machine.open = False
            machine.owner = ""

    @rule(pick=any_machine)
    def somebody_makes_a_host_anew_under_its_name(self, pick: int) -> None:
        machine = self._any(pick)
        if machine.registered and machine.open and self.pool.is_frozen(machine):
            self.pool.make_anew(machine)

    @rule(held=st.booleans())
    def somebody_sets_or_lifts_a_hold(self, held: bool) -> None:
        self.pool.hold = "Ann" if held else None

    @precondition(lambda self: hasattr(self, "pool"))
    @invariant()
    def a_look_that_cannot_be_relied_on_leads_to_nothing(self) -> None:
        """I4."""
        whole = self.pool.look()
        for unfit in (
            replace(whole, complete=False),
            replace(whole, hosts=()),
            replace(whole, taken_at=self.pool.clock - timedelta(minutes=6)),
        ):
            answer = self.pool.plan(unfit)
            assert not answer.actions, f"I4: {answer.actions}"
            assert not answer.done
            assert answer.waiting_for

    @precondition(lambda self: hasattr(self, "pool"))
    @invariant()
    def a_list_that_was_cut_short_takes_no_host_from_its_users(self) -> None:
        """I4, where nobody can tell that the list was cut short."""
        occupied = frozenset(m.name for m in self.pool.machines.values() if m.users)
        answer = self.pool.plan(self.pool.look(missing=occupied))
        taken = {a.host for a in answer.actions if a.kind in (Kind.REMOVE_FROM_POOL, Kind.SIGN_OUT)} & occupied
        assert not taken, f"I4: {taken} have users, and were only missing from a list"
        serving = {m.name for m in self.pool.machines.values() if m.open and tags.EMPTY_SINCE not in m.tags}
        stopped = {a.host for a in answer.actions if a.kind == Kind.DEALLOCATE} & serving
        assert not stopped, f"I4: {stopped} serve, and were only missing from a list"

    @precondition(lambda self: hasattr(self, "pool"))
    @invariant()
    def a_plan_is_the_same_twice_and_says_something_of_everything(self) -> None:
        look = self.pool.look()
        answer = self.pool.plan(look)
        assert answer == self.pool.plan(look)
        if self.pool.behind or not any(m.registered for m in self.pool.machines.values()):
            return
        assert set(answer.notes) == set(self.pool.machines)
        assert all(note.state and note.reason for note in answer.notes.values())
        assert all(action.reason for action in answer.actions)
        assert answer.actions or answer.done or answer.halted or answer.waiting_for
        assert answer.until is None or answer.until > self.pool.clock

    @precondition(lambda self: hasattr(self, "pool"))
    @invariant()
    def a_hold_leads_to_nothing_destructive(self) -> None:
        held = plan(self.pool.look(), replace(self.pool.target, hold="Ann"), self.pool.policy, self.pool.clock)
        frozen = {machine.name for machine in self.pool.machines.values() if self.pool.is_frozen(machine)}
        outdated = {a.host for a in held.actions if a.kind in DESTRUCTIVE} & frozen
        assert held.halted or not outdated
        assert not held.done

    def teardown(self) -> None:
        """Liveness: with the faults ended, every rollout ends."""
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        pool.hold, pool.next_fates, pool.behind = None, [], timedelta(0)
        for machine in pool.machines.values():
            machine.alive = True
            while machine.users:
                pool.sign_out(machine)
            if machine.registered and (not pool.has_plan or tags.KEEP in machine.tags):
                pool.wake_by_hand(machine)  # the others are the rollout's to wake, in its time
        pool.pass_time(1)
        check_the_end(pool, run_to_the_end(pool))


PoolLives.TestCase.settings = settings(
    max_examples=3000 if SOAK else 150,
    # A shorter story of the same failure takes minutes to find: only where there is time.
    phases=tuple(Phase) if SOAK else (Phase.explicit, Phase.generate),
    stateful_step_count=30,
    deadline=None,
    derandomize=not SOAK,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestPoolLives: Any = PoolLives.TestCase


@settings(max_examples=60, deadline=None, derandomize=not SOAK)
@given(size=st.integers(1, 6), limit=st.integers(1, 4), floor=st.sampled_from([0, 50, 100]), data=st.data())
def test_immediate_release_ends_though_no_user_ever_leaves(
    size: int, limit: int, floor: int, data: st.DataObject
) -> None:
    """With a surge as large as the pool there is room for everybody: each is moved once, and none is lost."""
    policy = Policy(release_method="immediate", surge=size, floor_percent=floor)
    pool = ModelPool([old_machine(n) for n in range(size)], limit, policy)
    everybody = data.draw(st.integers(0, size * limit))
    for number in range(everybody):
        pool.sign_in(f"user-{number}", pool.machines[f"old-{number % size}"])
    for _ in range(PATIENCE):
        result = pool.plan()
        pool.apply(result)
        if result.done:
            break
        for name in sorted(pool.homeless):
            new = [m for m in pool.machines.values() if m.serves and len(m.users) < limit]
            assert new, "a user who was signed out finds no slot"
            pool.sign_in(name, new[0])
        pool.pass_time(TICK)
    assert result.done, result.waiting_for
    assert len(pool.moved) == everybody == sum(len(m.users) for m in pool.machines.values())


@settings(max_examples=60, deadline=None, derandomize=not SOAK)
@given(policy=policies, size=st.integers(1, 5))
def test_a_rollout_without_faults_or_users_replaces_every_host(policy: Policy, size: int) -> None:
    pool = ModelPool([old_machine(n) for n in range(size)], 2, policy)
    result = run_to_the_end(pool)
    check_the_end(pool, result)
    cannot_spare_one = size == 1 or -(-size * 2 * policy.floor_percent // 100) > (size - 1) * 2
    if policy.strategy == "in_place" and cannot_spare_one:
        assert (result.halted is not None, pool.made, pool.vacant) == (True, 0, [])
        return
    assert (result.done, result.replaced, pool.made) == (True, size, size)
    assert {machine.name for machine in pool.machines.values() if machine.registered} >= set(pool.vacant)


@settings(max_examples=60, deadline=None, derandomize=not SOAK)
@given(policy=policies, budget=st.integers(0, 3))
def test_a_bad_image_costs_as_many_hosts_as_the_budget_and_one_more(policy: Policy, budget: int) -> None:
    """Every host fails: the rollout halts, no user has noticed, and no outdated host was touched but the one that went first in place."""
    in_place = policy.strategy == "in_place"
    floor = min(policy.floor_percent, 50) if in_place else policy.floor_percent
    pool = ModelPool([old_machine(n) for n in range(3)], 2, replace(policy, failure_budget=budget, floor_percent=floor))
    pool.next_fates = ["faulty", "mute", "stillborn", "faulty", "mute"]
    result = run_to_the_end(pool)
    assert result.halted
    assert pool.made == budget + 1
    assert [machine.open for machine in pool.of_pool_outdated()] == [True] * (2 if in_place else 3)


@settings(max_examples=30, deadline=None, derandomize=not SOAK)
@given(policy=policies, size=st.integers(1, 5))
def test_retained_hosts_are_all_back_in_one_boot_time_and_none_is_made(policy: Policy, size: int) -> None:
    machines = [old_machine(n) for n in range(size)] + [retained_machine(n) for n in range(size)]
    pool = ModelPool(machines, 2, replace(policy, release_method="immediate"), rollback=True)
    for _ in range(4 + -(-policy.min_ready_minutes // TICK)):
        pool.apply(pool.plan())
        pool.pass_time(TICK)
    pool.apply(pool.plan())
    assert all(pool.machines[f"kept-{n}"].serves for n in range(size))
    result = run_to_the_end(pool)
    assert (result.done, pool.made) == (True, 0)


odd_texts = st.sampled_from(
    ["", "0", "-1", "yesterday", "2026-11-12T20:00:00Z", "2026-11-12", "9999-12-31T23:59:59+14:00"]
)
odd_tags = st.dictionaries(
    st.sampled_from(sorted(value for name, value in vars(tags).items() if name.isupper() and isinstance(value, str))),
    odd_texts,
    max_size=5,
)
odd_hosts = st.fixed_dictionaries(
    {
        "power": st.sampled_from(["running", "stopped", "deallocated", "unknown", ""]),
        "provisioning_state": st.sampled_from(["Succeeded", "Failed", "Deleting", "Unknown", ""]),
        "created_at": st.sampled_from([None, EPOCH, EPOCH + timedelta(days=1)]),
        "registered": st.booleans(),
        "status": st.sampled_from([None, "Available", "NeedsAssistance", "SomethingNew"]),
        "session_count": st.integers(0, 3),
        "last_heartbeat": st.sampled_from([None, EPOCH, EPOCH + timedelta(days=1)]),
    }
)


@settings(max_examples=200, deadline=None, derandomize=not SOAK)
@given(policy=policies, changes=st.lists(st.tuples(odd_hosts, odd_tags), max_size=4), size=st.integers(0, 4))
def test_every_look_however_odd_has_a_plan(
    policy: Policy, changes: list[tuple[dict[str, Any], dict[str, str]]], size: int
) -> None:
    pool = ModelPool([old_machine(n) for n in range(len(changes))], 2, policy)
    whole = pool.look()
    hosts = tuple(
        replace(host, tags={**host.tags, **marks}, **odd)
        for host, (odd, marks) in zip(whole.hosts, changes, strict=True)
    )
    answer = plan(Snapshot(EPOCH, whole.pool, hosts), replace(pool.target, size=size), policy, EPOCH)
    assert answer.actions or answer.done or answer.halted or answer.waiting_for
