"""What one turn of the engine costs: a look at the pool with the real clients and a plan, in seconds of one processor and in memory.

On the simulated Azure in the same process, whose own work is measured apart and taken off. The share is of the minute between two looks.
Then it looks once a minute, and counts how often Azure refuses: the simulator's buckets are those that Microsoft documents.
"""

import time
import tracemalloc

from bench.big_world import policy_place, with_hosts
from evergold.rollout.engine import TICK_S, watch_of
from evergold.rollout.plan import plan
from tests.support.simulated import Simulated, simulated

FEW, MANY = 500, 5000
LOOKS = 5


class Stopwatch:
    """Adds up what a wire takes to answer, and counts what it refuses as too much."""

    def __init__(self, world: Simulated) -> None:
        self.seconds, self.refused = 0.0, 0
        self._answer = world.cloud.gate._answer
        world.cloud.gate._answer = self._timed  # type: ignore[assignment,method-assign]  # the simulator's work is not the engine's

    def _timed(self, *asked: object) -> object:
        begun = time.process_time()
        reply = self._answer(*asked)  # type: ignore[arg-type]  # passed through as it came
        self.seconds += time.process_time() - begun
        self.refused += reply.status == 429
        return reply


async def _measure(world: Simulated) -> tuple[float, float, int]:
    hosts = len(world.cloud.desktop.hosts())
    place = policy_place(world, hosts)
    watch, stopwatch = watch_of(place), Stopwatch(world)
    await watch.look()  # the first one signs in
    stopwatch.seconds, begun = 0.0, time.process_time()
    snapshot = await watch.look()
    plan(snapshot, place.target, place.policy, world.azure.clock.now())
    seconds = time.process_time() - begun - stopwatch.seconds
    tracemalloc.start()
    kept = await watch.look()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert len(kept.hosts) == len(snapshot.hosts) == hosts
    for _ in range(LOOKS):
        await world.azure.clock.sleep(TICK_S)
        await watch.look()
    return seconds, peak, stopwatch.refused


def main() -> None:
    """Measures two pools and prints both and their ratio."""
    measured = [simulated(_measure, **with_hosts(hosts)) for hosts in (FEW, MANY)]
    (small, small_memory, _), (large, large_memory, refused) = measured
    print(f"one look and plan: {small:.2f} s for {FEW:,} hosts, {large:.2f} s for {MANY:,}: {large / small:.1f} times")
    print(f"    at most {small_memory:.0f} MB and {large_memory:.0f} MB: {large_memory / small_memory:.1f} times")
    print(f"    for {MANY:,} hosts that is {100 * large / TICK_S:.1f} % of the time between two looks")
    print(f"    of {LOOKS} looks at {MANY:,} hosts, one a minute, Azure refused {refused} calls (429)")


if __name__ == "__main__":
    main()
