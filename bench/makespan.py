"""How long a rollout of 1,000 hosts takes: against the least that any schedule could take in the same world, and against other schedules.

The world: 1,000 hosts with eight session slots, 100 hosts of surge, a capacity floor of 80 %, release by opportunity from eight in the
evening. The least: hosts that stand and do not serve are bounded by surge and floor together (300 at a time), and every replacement
spends its arrival and its leaving among them; the canary comes before all, and the last user leaves when they leave. That bound is for a
schedule that knows ahead how long each host will take, and has all of them arrive at the same moment in the end; nobody knows it. What
can be done without: the same rules as the planner's, each step taken at the very moment at which it may be, and no look in between.

The other schedules are the published ones of other tools, in the same world and under the same bounds:

- fixed batches, removed and made again one batch after the other (Azure Virtual Desktop's session host update)
- fixed batches with surge, each made, waited for, and only then drained
- a timer, every 30 minutes (FederalAVD's session host replacer) or every hour (AVDSessionHostReplacer), that opens, drains, removes and
  creates what is due at that moment
"""

import math
from collections.abc import Callable
from heapq import heappop, heappush

from bench.model_world import CHECK_S, ModelWorld, Times, draw
from evergold.rollout.model import Policy

HOSTS, SURGE, FLOOR_PERCENT, SEED = 1_000, 100, 80, 1
POLICY = Policy(surge=SURGE, floor_percent=FLOOR_PERCENT, waves=(100,))
IN_TRANSITION = SURGE + HOSTS * (100 - FLOOR_PERCENT) // 100


def arrival_s(times: Times) -> float:
    """From creation to serving, with no moment lost; the canary's updates are assessed beside that."""
    return sum(times.arrival) + CHECK_S + 60 * POLICY.min_ready_minutes


def canary_s(times: Times) -> float:
    """The same of the canary."""
    return arrival_s(times) - CHECK_S + times.assess


def leaving_s(times: Times) -> float:
    """From drain mode to switched off, for a host that is empty by then."""
    return 60 * max(POLICY.min_drain_minutes, POLICY.settle_minutes) + times.deallocate


def least(world: list[Times]) -> float:
    """Minutes below which no schedule can come that keeps surge, floor and canary, and signs nobody out."""
    work = sum(arrival_s(each) + leaving_s(each) for each in world) / IN_TRANSITION
    last_user = max(max(each.users_until, default=0.0) + 60 * POLICY.settle_minutes + each.deallocate for each in world)
    return max(canary_s(world[0]) + work, last_user) / 60


def without_delay(world: list[Times]) -> float:
    """The planner's rules, followed at every moment: floor and surge are used whole, and nothing waits for a look. Minutes."""
    by_users = sorted(world, key=lambda each: len(each.users_until))
    created, served, drained, removed, now = 1, 0, 0, 0, 0.0
    events = [(canary_s(world[0]), True)]
    while events:
        now, is_arrival = heappop(events)
        served, removed = served + is_arrival, removed + (not is_arrival)
        while served and drained < HOSTS and HOSTS - drained - 1 + served >= HOSTS * FLOOR_PERCENT / 100:
            left = by_users[drained]
            heappush(events, (_empty_by(left, now) + left.deallocate, False))
            drained += 1
        while served and created < min(HOSTS, SURGE + removed):
            heappush(events, (now + arrival_s(world[created]), True))
            created += 1
    return now / 60


def _empty_by(times: Times, drained_at: float) -> float:
    """When a host that was drained then has drained and settled."""
    settled = max([*times.users_until, drained_at]) + 60 * POLICY.settle_minutes
    return max(settled, drained_at + 60 * POLICY.min_drain_minutes)


def batches(world: list[Times], *, surge: bool) -> float:
    """Fixed batches: as many hosts as the floor spares, or with surge as many as the surge allows. Minutes."""
    size = SURGE if surge else HOSTS * (100 - FLOOR_PERCENT) // 100
    now = 0.0
    for first in [None, *range(1, HOSTS, size)]:
        batch = world[:1] if first is None else world[first : first + size]
        if surge:
            now += max(map(arrival_s, batch))
            now = max(_empty_by(each, now) + each.deallocate for each in batch)
        else:
            begun = now
            now = max(_empty_by(each, begun) + each.deallocate + arrival_s(each) for each in batch)
    return now / 60


def timer(world: list[Times], every_minutes: float) -> float:
    """A function that wakes up and does what is due, and sleeps again. Minutes."""
    now, created, served, drained, removed = 0.0, 0, 0, 0, 0
    arrivals: list[float] = []
    leaving: list[float] = []
    while removed < HOSTS or served < HOSTS:
        served += sum(each <= now for each in arrivals)
        arrivals = [each for each in arrivals if each > now]
        removed += sum(each <= now for each in leaving)
        leaving = [each for each in leaving if each > now]
        capacity = HOSTS - drained + served
        for _ in range(min(capacity - math.ceil(HOSTS * FLOOR_PERCENT / 100), HOSTS - drained) if served else 0):
            leaving.append(_empty_by(world[drained], now) + world[drained].deallocate)
            drained += 1
        room = HOSTS + SURGE - (HOSTS - removed) - created
        for _ in range(min(room, HOSTS - created) if served else 1 - created):
            arrivals.append(now + arrival_s(world[created]))
            created += 1
        now += 60 * every_minutes
    return now / 60 - every_minutes


def main() -> None:
    """Runs every schedule in one world and prints how they compare."""
    world = draw(SEED, HOSTS)
    bound = least(world)
    waves = Policy(surge=SURGE, floor_percent=FLOOR_PERCENT)
    instant = without_delay(world)
    schedules: list[tuple[str, Callable[[], float]]] = [
        ("Evergold, after the canary all at once", lambda: ModelWorld(world, POLICY).run()),
        ("Evergold, in waves of 20, 60 and 100 %", lambda: ModelWorld(world, waves).run()),
        ("fixed batches with surge", lambda: batches(world, surge=True)),
        ("fixed batches, removed first", lambda: batches(world, surge=False)),
        ("a timer every 30 minutes", lambda: timer(world, 30)),
        ("a timer every 60 minutes", lambda: timer(world, 60)),
    ]
    print(f"{HOSTS:,} hosts, surge {SURGE}, floor {FLOOR_PERCENT} %: no schedule takes less than {bound:.0f} minutes")
    print(f"  its rules without a moment's delay: {instant:.0f} minutes, {instant / bound:.2f} times that")
    for name, run in schedules:
        minutes = run()
        print(
            f"  {name}: {minutes:.0f} minutes, {minutes / bound:.2f} times that, {minutes / instant:.2f} times without delay"
        )


if __name__ == "__main__":
    main()
