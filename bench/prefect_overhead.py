"""What Prefect costs a rollout: the seconds that its table, its progress, its record and a task run for each host take of the loop.

The rollout of `bench.makespan` is played once, and every turn of it is then shown to a real Prefect server on this machine, as
`roll-out-image` shows it. The share is of the rollout's own length, which is Azure's and the users': what Prefect takes comes on top.
"""

import asyncio
import logging
import time
from datetime import datetime

from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from bench.makespan import HOSTS, POLICY, SEED
from bench.model_world import ModelWorld, draw
from evergold.rollout.engine import Tick
from evergold.rollout.model import Plan, Snapshot
from tasks.record import Record
from tasks.rollout import Board
from tests.support.pools import target

AT_MOST_PERCENT = 2


async def shown(turns: list[Tick]) -> float:
    """Shows every turn in a flow run; returns the seconds that it took."""

    @flow(name="overhead", persist_result=False)
    async def show() -> float:
        board, record = Board("hp-bench"), Record("hp-bench", target(HOSTS))
        begun = time.perf_counter()
        for turn in turns:
            await board.show(turn)
            await record.note(turn)
        await board.close()
        await record.close()
        return time.perf_counter() - begun

    return await show()


def main() -> None:
    """Plays, shows and prints."""
    turns: list[Tick] = []

    def keep(at: datetime, snapshot: Snapshot, plan: Plan) -> None:
        turns.append(Tick(at, snapshot, plan, ()))

    minutes = ModelWorld(draw(SEED, HOSTS), POLICY, keep).run()
    logging.disable(logging.WARNING)
    with prefect_test_harness(server_startup_timeout=120):
        seconds = asyncio.run(shown(turns))
    percent = 100 * seconds / (60 * minutes)
    print(
        f"{HOSTS:,} hosts in {minutes:.0f} minutes, {len(turns)} turns: Prefect takes {seconds:.0f} s of them, {percent:.2f} %"
    )
    print(f"    {percent / AT_MOST_PERCENT:.2f} times the {AT_MOST_PERCENT} % that were set as a limit")


if __name__ == "__main__":
    main()
