"""How the planner's time grows with the pool: one plan for 10,000 hosts against one for 1,000.

The pool is in the middle of its rollout, with hosts in every state. Prints both times and their ratio; 10 is linear.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from evergold import tags
from evergold.rollout.model import Host, Policy, Pool, Session, Snapshot, Target
from evergold.rollout.plan import plan

NOW = datetime(2026, 11, 12, 20, tzinfo=UTC)
EARLIER = tags.format_time(NOW - timedelta(hours=1))
LIMIT, ROUNDS = 10, 5
OLD, NEW = "/images/pilot/versions/1.0.0", "/images/pilot/versions/1.1.0"


def _host(number: int) -> Host:
    """The host of that number, in one of ten states that a rollout brings about."""
    name, state = f"pil-{number:05d}", number % 10
    host = Host(name, f"/vms/{name}", f"id-{name}", OLD, "running", "Succeeded", NOW - timedelta(minutes=30))
    if state == 0:
        marks = {tags.RETIRED_AT: EARLIER, tags.REPLACE: tags.frozen_value("r1", host.vm_id)}
        return replace(host, power="deallocated", tags=marks)
    users = tuple(Session(f"{name}-{n}", f"user{n}", "Active", NOW - timedelta(hours=2)) for n in range(state))
    host = replace(
        host,
        registered=True,
        session_host_name=name,
        status="Available",
        allow_new_session=state not in (1, 2),
        last_heartbeat=NOW,
        sessions=users,
        session_count=len(users),
    )
    if state > 5:
        return replace(host, image_version_id=NEW, tags={tags.REFRESH: "r1", tags.CHECKED_AT: EARLIER})
    marks = {tags.REPLACE: tags.frozen_value("r1", host.vm_id)}
    if not host.allow_new_session:
        marks |= {tags.DRAINED_AT: EARLIER}
    return replace(host, tags=marks)


def _best(work: Callable[[], object]) -> float:
    """The shortest of a few rounds, in seconds."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def measure(hosts: int) -> float:
    """Seconds that one plan for so many hosts takes."""
    pool = Pool("/pools/pilot", LIMIT, "BreadthFirst", "Pooled")
    snapshot = Snapshot(NOW, pool, tuple(_host(number) for number in range(hosts)))
    target = Target("r1", NEW, hosts * 9 // 10, "new")
    policy = Policy(release_method="immediate", surge=hosts // 10)
    return _best(lambda: plan(snapshot, target, policy, NOW))


def main() -> None:
    """Measures and prints."""
    small, large = measure(1_000), measure(10_000)
    print(f"plan(): {small * 1000:.1f} ms for 1,000 hosts, {large * 1000:.1f} ms for 10,000: {large / small:.1f} times")


if __name__ == "__main__":
    main()
