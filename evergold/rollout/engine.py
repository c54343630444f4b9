"""The rollout of one pool: observe, plan, act, again, until nothing is left to do.

The engine decides nothing. It holds the pool's lease, asks the planner at every tick, does what the plan says and reports it.
Killed at any instant and started again it goes on where it was, because everything it would have to remember stands in Azure. It
returns when the plan is done, and raises `RolloutHalted` when the plan says that a person must look. On every way out but a
finished rollout, drain mode is put back on outdated hosts that still stand; on every one, the pool's scaling plan is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any

from evergold import tags
from evergold.azure import AzureFailure
from evergold.clock import no_less_than
from evergold.config.models import ImageSet, MaintenanceWindow, Pool, ReleaseMethod
from evergold.images.guest import StepFailure
from evergold.images.refresh import definition_of
from evergold.rollout import frozen as frozen_set
from evergold.rollout import lease, scaling
from evergold.rollout.act import Place, act, count_taken, marks_of, tag_host
from evergold.rollout.addresses import forget_used, free_cards
from evergold.rollout.arrive import advance_host
from evergold.rollout.beside import Beside, beside
from evergold.rollout.deferred import Deferred
from evergold.rollout.hands import Hands
from evergold.rollout.hosts import is_asleep, is_back, is_new, why_failed
from evergold.rollout.in_place import clear_canary, why_not_in_place
from evergold.rollout.lease import Holding
from evergold.rollout.model import CHECKS, Action, Host, Kind, Plan, Policy, Snapshot, Target
from evergold.rollout.observe import PoolWatch
from evergold.rollout.plan import plan, put_back, why_unfit
from evergold.rollout.wave_gate import judge_wave
from evergold.rollout.windows import Window

log = logging.getLogger("evergold.rollout")

TICK_S = 60
SHORTEST_TICK_S = 10
# What the looks at one pool list in a minute, however much goes on there: a third of what Azure lets a subscription list, which is 300
# pages (learn.microsoft.com, "Compute throttling limits"), of 100 machines as the simulator has it, each machine being listed twice.
HOSTS_A_MINUTE = 5_000
LOOK_TAKES_S = 1.0  # in real time, where the clock runs so fast that a look takes minutes by it
CONFIRM_AFTER_S = 25
LOOKS_THAT_AGREE = 4  # before the hosts to replace are frozen: the last cannot be what the first one was answered
# What Azure says of a host that is gone.
NOT_FOUND = ("ResourceNotFound", "NotFound", "ParentResourceNotFound", "Http404")
# A look that comes so late after the one before it is a break: the machine slept, or Azure could not be reached.
BREAK = timedelta(minutes=15)
# What a rollout notes of a host that it replaces, until that is out of the pool.
PROGRESS = frozenset(
    {
        *(tags.WAS_DRAINED, tags.DRAINED_AT, tags.REOPENED_AT, tags.WARNED_AT, tags.REMINDED_AT),
        *(tags.WARNED_SESSIONS, tags.WARNED_USERS, tags.MOVED_USERS, tags.EMPTY_SINCE),
    }
)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class RolloutHalted(Exception):  # noqa: N818  (what happened, in the operator's word)
    """The rollout stopped by itself and waits for a person; says the cause and what to do."""


@dataclass(frozen=True)
class Tick:
    """One turn of the loop: what was seen, what was decided, what was done of it, and what other hands have done since it began."""

    at: datetime
    snapshot: Snapshot
    plan: Plan
    done: tuple[Action, ...]
    by_others: tuple[str, ...] = ()


Report = Callable[[Tick], Awaitable[None]]
# Why a person holds the pool, asked at every tick; None while nobody does.
Held = Callable[[], Awaitable[str | None]]


async def nobody_holds() -> str | None:
    """There is no hold."""
    return None


def policy_for(image_set: ImageSet, pool_hosts: int, release_method: ReleaseMethod | None) -> Policy:
    """The image set's policy in the planner's numbers, for a pool of this many hosts."""
    given = image_set.rollout
    return Policy(
        release_method=release_method or given.release_method,
        strategy=given.strategy,
        surge=given.surge_hosts(max(pool_hosts, 1)) if given.strategy == "surge" else 0,
        floor_percent=given.capacity_floor_percent,
        warn_minutes=given.warn_minutes,
        warn_again_minutes=given.warn_again_minutes,
        settle_minutes=given.settle_minutes,
        min_drain_minutes=given.min_drain_minutes,
        min_ready_minutes=given.min_ready_minutes,
        heartbeat_max_age_minutes=given.heartbeat_max_age_minutes,
        join_timeout_minutes=given.join_timeout_minutes,
        check_timeout_minutes=image_set.checks.settle_timeout_minutes,
        failure_budget=given.failure_budget,
        retry_minutes=given.retry_minutes,
        waves=given.waves,
        wave_bake_minutes=given.wave_bake_minutes,
        scheduled_start=given.scheduled_start,
        windows=tuple(window_of(each) for each in given.windows),
        allowed_failing_health_checks=image_set.checks.allowed_failing_health_checks,
    )


def window_of(given: MaintenanceWindow) -> Window:
    """A maintenance window of the configuration in the planners' terms."""
    days = frozenset(WEEKDAYS.index(day) for day in given.days)
    return Window(days, time.fromisoformat(given.start), given.minutes, given.time_zone)


def watch_of(place: Place) -> PoolWatch:
    """The pool's one watch."""
    return PoolWatch(place.azure, place.pool.resource_group, place.pool.name, place.hosts_group)


def ring_of(image_set: ImageSet, pool_name: str) -> tuple[ReleaseMethod | None, Pool]:
    """The pool of this name in the image set, and its ring's own release method. Raises KeyError."""
    for ring in image_set.rings:
        for pool in ring.pools:
            if pool.name == pool_name:
                return ring.release_method, pool
    raise KeyError(pool_name)


async def roll_out(place: Place, holder: str, report: Report, hold: Held = nobody_holds) -> Tick:
    """Brings the pool to the target and returns the last tick. Raises RolloutHalted, LeaseHeldError or AzureFailure."""
    asked_at = place.azure.clock.now()
    taken = await lease.take(place.azure, place.pool_id, place.target.refresh, holder)
    holding = Holding(place.azure, place.pool_id, taken)
    try:
        # What a run that died a moment ago has done under this lease is in every look by then.
        waited_s = (place.azure.clock.now() - asked_at).total_seconds()
        await place.azure.clock.sleep(max(lease.OLDEST_READ_S - waited_s, 0))
        sold_under = await place.azure.galleries.purchase_plan(definition_of(place.image_set))
        tag = await scaling.exclusion_tag(place)
        patience_s = no_less_than(place.azure.clock, LOOK_TAKES_S, place.policy.look_max_age_s)
        policy = replace(place.policy, look_max_age_s=patience_s)
        place = replace(place, policy=policy, exclusion_tag=tag, purchase_plan=sold_under, has_lease=holding.lasts)
        if not place.target.canary_only:
            place = place.quiet_by(await holding.do(partial(scaling.suspend, place)))
        begun = await _begin(place, holding)
        try:
            async with beside() as checks:
                return await _loop(begun, holding, report, hold, checks)
        except BaseException:
            # A rollout that lost its lease (Azure did not answer for so long) leaves the hosts to whoever has it now.
            await holding.do_on_the_way_out(partial(_put_back, begun))
            raise
    finally:
        await _give_pool_back(place, holding)


async def _give_pool_back(place: Place, holding: Holding) -> None:
    """The pool's scaling plan looks after it again, and its lease is free, whatever becomes of the plan."""
    await holding.do_on_the_way_out(partial(scaling.put_back, place))
    await holding.do_on_the_way_out(partial(lease.release, place.azure, place.pool_id, holding.lease))


async def _begin(place: Place, holding: Holding) -> Place:
    """Freezes what this rollout replaces, once: the size of the pool and the hosts. Later starts find it done."""
    snapshot = await _fit_look(place, holding)
    target = _known_of(place.target, snapshot)
    if not target.canary_only and target.size == 0:
        snapshot = await _confirmed(place, holding, snapshot)
        target = _known_of(place.target, snapshot)
    if target.canary_only or target.size > 0:
        size = target.size or frozen_set.pool_size(snapshot, target)
        return place.aiming_at(replace(target, size=size))
    size = frozen_set.pool_size(snapshot, target)
    names = frozen_set.hosts_to_freeze(snapshot, target)
    if place.policy.strategy == "in_place":
        reason, keeps_addresses = await why_not_in_place(place, names)
        if reason:
            raise RolloutHalted(reason)
        if keeps_addresses:
            await holding.do(partial(clear_canary, place, snapshot))
    frozen = [host for host in snapshot.hosts if host.name in names]
    noted = frozen_set.noted(target.refresh, frozen)
    for host in frozen:
        if host.name in noted.left_out or _was_drained(host) or not PROGRESS.isdisjoint(host.tags):
            await holding.do(partial(_freeze, place, host))
    # Written last, and at once: as long as it is absent, nothing is frozen, and it is done again from the start.
    rollout = {tags.ROLLOUT: f"{target.refresh}|{size}", **noted.tags}
    past = frozen_set.outlived(snapshot.pool.tags, noted.tags)
    tag_pool = place.azure.desktops.update_host_pool_tags
    await holding.do(partial(tag_pool, place.pool.resource_group, place.pool.name, rollout, past))
    log.info("%s: %d of %d hosts are to be replaced", place.pool.name, len(names), size)
    return place.aiming_at(replace(target, size=size, frozen=frozen_set.frozen_into(noted.tags, target.refresh)))


def _was_drained(host: Host) -> bool:
    """Whether somebody had it in drain mode before the rollout came: not a scaling plan, which switched it off too, and no rollout."""
    by_rollout = tags.DRAINED_AT in host.tags and tags.WAS_DRAINED not in host.tags
    return not host.allow_new_session and not is_asleep(host) and not by_rollout


async def _freeze(place: Place, host: Host) -> None:
    """Marks one host itself: what it was before stands nowhere else.

    Of an earlier rollout that did not end there is left that it has drained the host: what that one told users is long ago.
    """
    marks, kept = marks_of(place, host), set()
    if _was_drained(host):
        marks[tags.WAS_DRAINED] = place.target.refresh
    elif not host.allow_new_session:
        kept = {tags.DRAINED_AT}
    await tag_host(place, host, marks, remove=tuple(sorted(PROGRESS - kept - marks.keys())))


async def _fit_look(place: Place, holding: Holding) -> Snapshot:
    """A look from which something may follow; looks again until there is one."""
    watch = watch_of(place)
    while True:
        await holding.keep()
        snapshot = await watch.look()
        reason = why_unfit(snapshot, replace(place.target, size=0), place.policy, place.azure.clock.now())
        if not reason:
            return snapshot
        log.warning("%s: waiting for %s", place.pool.name, reason)
        await place.azure.clock.sleep(TICK_S)


async def _confirmed(place: Place, holding: Holding, snapshot: Snapshot) -> Snapshot:
    """A look that shows the same pool as those before it: what is frozen stays so, and a list can be cut short or old."""
    agreeing = 1
    while agreeing < LOOKS_THAT_AGREE:
        await place.azure.clock.sleep(CONFIRM_AFTER_S)
        again = await _fit_look(place, holding)
        if _who_is_there(again) == _who_is_there(snapshot):
            agreeing += 1
        else:
            log.warning("%s: two looks at it do not show the same hosts; it is looked at again", place.pool.name)
            agreeing = 1
        snapshot = again
    return snapshot


def _who_is_there(snapshot: Snapshot) -> set[tuple[str, str, str | None, bool, bool, bool]]:
    """What freezing goes by, of each host: whether somebody had drained it too, which no list that is cut short may tell."""
    return {
        (host.name, host.vm_id, host.image_version_id, host.registered, tags.KEEP in host.tags, _was_drained(host))
        for host in snapshot.hosts
    }


def _known_of(target: Target, snapshot: Snapshot) -> Target:
    """The target with what the pool's tags say of it by now."""
    pool_tags = snapshot.pool.tags
    spent = tags.names_of(pool_tags, tags.FAILURES, target.refresh)
    size = tags.of_refresh(pool_tags.get(tags.ROLLOUT), target.refresh)
    failed_at, _, cause = (tags.of_refresh(pool_tags.get(tags.LAST_FAILURE), target.refresh) or "").partition("|")
    return replace(
        target,
        failures_before=len(spent),
        spent_names=spent,
        vacant_names=tags.names_of(pool_tags, tags.VACATED, target.refresh),
        last_failure=tags.parse_time(failed_at),
        last_cause=cause,
        size=int(size) if size else target.size,
        frozen=frozen_set.frozen_into(pool_tags, target.refresh),
    )


async def _loop(place: Place, holding: Holding, report: Report, hold: Held, checks: Beside) -> Tick:
    watch, clock = watch_of(place), place.azure.clock
    watched_since = looked_at = clock.now()
    hands = Hands(place.exclusion_tag)
    # The end is believed when two looks in a row show it, of which one is not the other's answer again: a list that was cut short may lack
    # what is left to do.
    was_done = False
    while True:
        if await holding.keep() and not place.target.canary_only:
            # As often as the lease is renewed: a rollout that shares the plan may have undone it, or somebody changed its schedules.
            place = place.quiet_by(await holding.do(partial(scaling.suspend, place)))
        snapshot = await watch.look()
        if snapshot.complete:
            lease.refuse_another(snapshot.pool.tags.get(tags.LEASE), holding.lease, clock.now(), place.pool_id)
            place = place.aiming_at(_known_of(place.target, snapshot))
            snapshot = await _heeding(hands, place, holding, snapshot)
        why_held, now = await hold(), clock.now()
        if why_held or now - looked_at > BREAK:
            watched_since = now
        looked_at = now
        place = place.aiming_at(replace(place.target, hold=why_held, watched_since=watched_since))
        decided = plan(snapshot, place.target, place.policy, now)
        if decided.to_judge:
            place = place.aiming_at(await judge_wave(place, decided.to_judge))
            decided = plan(snapshot, place.target, place.policy, now)
        done = await _do_in_time(holding, partial(_turn, place, snapshot, decided, checks))
        tick = Tick(clock.now(), snapshot, decided, done, hands.told)
        await report(tick)
        if decided.done and was_done and await _lacks_nothing(place, snapshot):
            await holding.do(partial(forget_used, place))
            _tell_of_failed(place, decided)
            return tick
        was_done = decided.done
        if decided.halted and not decided.actions:
            raise RolloutHalted(f"{decided.halted} {await free_cards(place)}".rstrip())
        await clock.sleep(lease.OLDEST_READ_S if was_done else pause_s(tick))


async def _lacks_nothing(place: Place, snapshot: Snapshot) -> bool:
    """Whether every host that is to be replaced and that a look lacks is really gone, asked for by name: lists may be cut short twice."""
    frozen = place.target.frozen
    for name in frozen_set.lacking(snapshot, place.target):
        try:
            vm = await place.azure.compute.get_vm(place.hosts_group, name, instance_view=False)
        except AzureFailure as failure:
            if not failure.retryable:
                raise
            return False
        made = vm.properties.time_created if vm is not None and vm.properties is not None else None
        if vm is not None and frozen is not None and (made is None or made <= frozen.youngest):
            log.warning(
                "%s: the list of machines lacks %s, which is there; it is looked at again", place.pool.name, name
            )
            return False
    return True


def _tell_of_failed(place: Place, decided: Plan) -> None:
    """New hosts that died under somebody, and are there still when all others serve: nobody waits for those who cannot leave them."""
    for name, note in decided.notes.items():
        if note.state == "failed":
            log.warning(
                "%s: %s is left: %s. What to do: sign its users out in the portal, and start the rollout again, which deletes it.",
                *(place.pool.name, name, note.reason),
            )


async def _heeding(hands: Hands, place: Place, holding: Holding, snapshot: Snapshot) -> Snapshot:
    """The look; an incomplete one while new hosts are missing from it that others may have deleted: nothing is made in their place yet.

    Those that are really gone are counted as failed, and their names are not used again.
    """
    hands.look(snapshot, place.target, place.azure.clock.now())
    taken = hands.taken
    try:
        for host in taken:
            await holding.do(partial(count_taken, place, host))
        hands.taken = ()
    except AzureFailure as failure:
        if not failure.retryable:
            raise
        log.warning("%s: will be looked at again: %s", place.pool.name, failure)
    missing = [*hands.missing, *(host.name for host in taken)]
    if not missing:
        return snapshot
    return replace(snapshot, complete=False, problem=f"{', '.join(missing)} of this rollout is not in it any more")


async def _do_in_time(
    holding: Holding, turn: Callable[[], Coroutine[Any, Any, tuple[Action, ...]]]
) -> tuple[Action, ...]:
    """What a turn has done; nothing that is known of where Azure held it up for as long as the lease lasts."""
    try:
        return await holding.try_once(turn)
    except TimeoutError:
        log.warning(
            "%s: Azure takes so long that the lease is all but over; it is renewed, and looked at again",
            holding.pool.name,
        )
        return ()


async def _turn(place: Place, snapshot: Snapshot, decided: Plan, checks: Beside) -> tuple[Action, ...]:
    """Everything of a tick that changes something in Azure. Returns what was done of the plan."""
    await scaling.wake(place, snapshot, decided.to_wake)
    done = await _act_on(place, snapshot, decided, checks)
    await _bring_up(place, snapshot)
    await _note_capacity(place, snapshot, decided)
    return done


def pause_s(tick: Tick) -> float:
    """Until the next tick; shorter where others can go on with what was done, or time alone will have changed something before that.

    After a host was drained it is so long that no look can be older than that: it would show room that is not there any more.
    """
    shortest = max(SHORTEST_TICK_S, 60 * len(tick.snapshot.hosts) / HOSTS_A_MINUTE)
    wanted: float = TICK_S
    if any(action.kind is Kind.ALLOW_SESSIONS for action in tick.done):
        wanted = shortest
    elif tick.plan.until is not None:
        wanted = (tick.plan.until - tick.at).total_seconds()
    pause = min(TICK_S, max(shortest, wanted))
    return max(pause, lease.OLDEST_READ_S) if any(action.kind is Kind.DRAIN for action in tick.done) else pause


async def _act_on(place: Place, snapshot: Snapshot, decided: Plan, checks: Beside) -> tuple[Action, ...]:
    """Does what the plan says: all hosts at once, since it was planned to hold together, and one host's actions in their order.

    Checks take minutes. They are begun and not waited for: what they have found stands in the host's tags at a later look.
    Returns what was done, with the checks that were passed since the last time.
    """
    hosts = {host.name: host for host in snapshot.hosts}
    now: dict[str, list[Action]] = {}
    for action in decided.actions:
        if action.kind not in CHECKS:
            now.setdefault(action.host, []).append(action)
    await checks.stop(now)
    outcomes = await asyncio.gather(
        *(_try_in_turn(place, hosts.get(name), actions) for name, actions in now.items()), return_exceptions=True
    )
    done: list[Action] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        done += outcome
    for action in decided.actions:
        if action.kind in CHECKS:
            checks.begin(action, partial(_try, place, hosts.get(action.host), action))
    return (*checks.passed(), *done)


async def _try_in_turn(place: Place, host: Host | None, actions: Sequence[Action]) -> list[Action]:
    """Does one host's actions, each once the one before it is done. Returns those that were."""
    done: list[Action] = []
    for action in actions:
        if not await _try(place, host, action):
            break
        done.append(action)
    return done


async def _try(place: Place, host: Host | None, action: Action) -> bool:
    """Does one action; False where it is to be planned again. A refusal that waiting cannot mend is raised."""
    try:
        await act(place, host, action)
    except Deferred as reason:
        log.info("%s: not done (%s): %s", action.host, action.kind, reason)
        return False
    except AzureFailure as failure:
        # A host that somebody has deleted meanwhile is not there at the next look, which is then planned for.
        if not failure.retryable and (host is None or failure.code not in NOT_FOUND):
            raise
        log.warning("%s: will be tried again (%s): %s", action.host, action.kind, failure)
        return False
    return True


async def _bring_up(place: Place, snapshot: Snapshot) -> None:
    """Helps every new host one step further on its way into the pool."""
    now = place.azure.clock.now()
    coming = [
        host
        for host in snapshot.hosts
        if is_new(host, place.target)
        and not is_back(host, place.target)
        and not host.registered
        and why_failed(host, place.target, place.policy, now) is None
    ]
    await asyncio.gather(*(_advance(place, host) for host in coming))


async def _advance(place: Place, host: Host) -> None:
    """One step: Entra join, then registration. One that fails for good is noted on the VM, for the planner to see."""
    try:
        await advance_host(place.azure, place.image_set, place.pool, host, place.target.refresh)
    except StepFailure as failure:
        log.warning("%s: did not come up: %s", host.name, failure)
        reason = {tags.FAILED: f"{failure.step}: {failure.problem}"[: tags.LONGEST_VALUE]}
        await tag_host(place, host, reason)
    except AzureFailure as failure:
        log.warning("%s: will be tried again: %s", host.name, failure)


async def _note_capacity(place: Place, snapshot: Snapshot, decided: Plan) -> None:
    """Keeps the lowest capacity of this rollout by day on the pool, for the report: in quiet time it is the plan's own to be low."""
    if not snapshot.complete or place.target.canary_only or decided.quiet_until is not None:
        return
    known = tags.of_refresh(snapshot.pool.tags.get(tags.LOWEST_CAPACITY), place.target.refresh)
    if known is None or decided.capacity_percent < int(known):
        value = f"{place.target.refresh}|{decided.capacity_percent}"
        pool = place.pool
        await place.azure.desktops.update_host_pool_tags(pool.resource_group, pool.name, {tags.LOWEST_CAPACITY: value})


async def put_back_after(place: Place, holder: str) -> None:
    """What a rollout that was killed has suspended is put back, under its own name, and its lease is given up.

    Raises LeaseHeldError where somebody else has the pool by now: then it is theirs to put back.
    """
    holding = Holding(
        place.azure, place.pool_id, await lease.take(place.azure, place.pool_id, place.target.refresh, holder)
    )
    await holding.do(partial(_put_back, place))
    await _give_pool_back(place, holding)


async def _put_back(place: Place) -> None:
    """Drain mode off on outdated hosts that still stand: for every way out but success."""
    try:
        snapshot = await watch_of(place).look()
        hosts = {host.name: host for host in snapshot.hosts}
        actions = put_back(snapshot, place.target) if snapshot.complete else ()
        await asyncio.gather(*(_try(place, hosts.get(action.host), action) for action in actions))
        if free := await free_cards(place):
            log.warning("%s: %s", place.pool.name, free)
    except AzureFailure as failure:
        log.error(
            "%s: drain mode could not be put back on the hosts that this rollout drained: %s Start the rollout again, or set it by hand.",
            place.pool.name,
            failure,
        )
