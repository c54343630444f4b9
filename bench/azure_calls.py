"""How many calls to Azure a replaced host costs, by kind: a rollout of 12 hosts without users, on the simulated Azure.

Writes belong to a host each. Reads are of two sorts: those about one host, and the few lists of each tick, which serve every host of the
pool and cost the less per host the more hosts it has.
"""

import re
from collections import Counter

from bench.big_world import policy_place, with_hosts
from evergold.rollout.engine import Tick, roll_out
from tests.support.simulated import Simulated, simulated, small_image_set

HOSTS, AT_MOST_WRITES = 100, 9
LISTS = re.compile(r"/(virtualMachines|sessionHosts|userSessions|hostPools/[^/]+)$", re.IGNORECASE)
ABOUT = (
    ("the machine", re.compile(r"/virtualMachines/[^/]+$", re.IGNORECASE)),
    ("its joining and registering", re.compile(r"/(extensions|runCommands)/", re.IGNORECASE)),
    ("switching it off", re.compile(r"/deallocate$", re.IGNORECASE)),
    ("its checks", re.compile(r"/assessPatches$|^/v1/", re.IGNORECASE)),
    ("its record in the pool", re.compile(r"/sessionHosts/[^/]+$", re.IGNORECASE)),
    ("polling", re.compile(r"/operations/", re.IGNORECASE)),
)


def kind_of(method: str, path: str) -> tuple[str, str]:
    """Whether a call reads, lists or writes, and what it is about."""
    query = path.startswith("/v1/") or path.endswith("RegistrationToken")
    if method == "GET" or query:
        if method == "GET" and LISTS.search(path):
            return "list", "the pool, its hosts, sessions and machines"
        return "read", next((name for name, pattern in ABOUT if pattern.search(path)), "other")
    return "write", next((name for name, pattern in ABOUT if pattern.search(path)), "the pool")


async def _measure(world: Simulated) -> tuple[Counter[tuple[str, str]], int]:
    ticks = []

    async def count(tick: Tick) -> None:
        ticks.append(tick.at)

    world.wire.calls.clear()
    await roll_out(policy_place(world, HOSTS), "bench", count)
    return Counter(kind_of(*call) for call in world.wire.calls if "oauth2" not in call[1]), len(ticks)


def main() -> None:
    """Rolls out and prints."""
    image_set = small_image_set(rollout={"max_surge": "10%", "waves": [100]})
    calls, ticks = simulated(_measure, image_set, **with_hosts(HOSTS))
    for what in ("write", "read", "list"):
        whole = sum(count for (kind, _), count in calls.items() if kind == what)
        print(
            f"{whole / HOSTS:.1f} {what}s for each of {HOSTS} hosts" + (f", in {ticks} ticks" if what == "list" else "")
        )
        for (kind, about), count in sorted(calls.items(), key=lambda each: -each[1]):
            if kind == what:
                print(f"    {count / HOSTS:.1f} about {about}")
    writes = sum(count for (kind, _), count in calls.items() if kind == "write") / HOSTS
    print(f"writes: {writes / AT_MOST_WRITES:.2f} times the {AT_MOST_WRITES} that were set as a goal")


if __name__ == "__main__":
    main()
