"""What one turn of the engine costs: a look at the pool with the real clients and a plan, in seconds of one processor and in memory.

On the simulated Azure in the same process, whose own work is measured apart and taken off. The share is of the minute between two looks.
"""

import time
import tracemalloc

from bench.big_world import policy_place, with_hosts
from evergold.rollout.engine import TICK_S, watch_of
from evergold.rollout.plan import plan
from tests.support.simulated import Simulated, simulated


class Stopwatch:
    """Adds up what a wire takes to answer."""

    def __init__(self, world: Simulated) -> None:
        self.seconds = 0.0
        self._answer = world.cloud.gate._answer
        world.cloud.gate._answer = self._timed  # type: ignore[assignment,method-assign]  # the simulator's work is not the engine's

    def _timed(self, *asked: object) -> object:
        begun = time.process_time()
        try:
            return self._answer(*asked)  # type: ignore[arg-type]  # passed through as it came
        finally:
            self.seconds += time.process_time() - begun


async def _measure(world: Simulated) -> tuple[float, float]:
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
    return seconds, peak


def main() -> None:
    """Measures two pools and prints both and their ratio."""
    (small, small_memory), (large, large_memory) = (simulated(_measure, **with_hosts(hosts)) for hosts in (100, 500))
    print(f"one look and plan: {small:.2f} s for 100 hosts, {large:.2f} s for 500: {large / small:.1f} times")
    print(f"    at most {small_memory:.0f} MB and {large_memory:.0f} MB: {large_memory / small_memory:.1f} times")
    print(f"    for 500 hosts that is {100 * large / TICK_S:.1f} % of the time between two looks")


if __name__ == "__main__":
    main()
