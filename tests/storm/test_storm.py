"""Whatever Azure, hosts and people do: no promise is broken, every rollout ends once the faults have ended, and leaves nothing behind.

A seed is a whole storm (see `tests.storm.storm.Plan`). Five hundred run here; ten thousand with EVERGOLD_SOAK (`make soak`).
EVERGOLD_SEED=123 plays one again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.storm.storm import Outcome, run

IN_ONE_TEST = 10
SEEDS = 10_000 if os.environ.get("EVERGOLD_SOAK") else 500
ONE = os.environ.get("EVERGOLD_SEED")
BLOCKS = [[int(ONE)]] if ONE else [range(first, first + IN_ONE_TEST) for first in range(1, SEEDS + 1, IN_ONE_TEST)]
REPOSITORY = Path(__file__).parents[2]


def faults_of(outcome: Outcome) -> list[str]:
    """What was not as it should be."""
    ends = outcome.ended == "done" or outcome.ended.startswith("halted: ")
    return [*([] if ends else [outcome.ended]), *outcome.broken, *outcome.left]


@pytest.mark.parametrize("seeds", BLOCKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_a_rollout_in_a_storm_breaks_no_promise_and_ends(seeds: list[int]) -> None:
    found = {seed: faults for seed in seeds if (faults := faults_of(run(seed)))}
    told = [
        f"\nseed {seed}: "
        + "\n  ".join(faults)
        + f"\n  again: EVERGOLD_SEED={seed} .venv/bin/pytest tests/storm -k storm"
        for seed, faults in found.items()
    ]
    assert not found, "".join(told)


def test_the_same_seed_is_the_same_storm_call_for_call_in_another_process_too() -> None:
    here = run(8)
    again = "from tests.storm.storm import run; print(run(8).digest)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "4711"}
    there = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True, env=environment)
    assert (here.digest, here.calls > 100) == (there.stdout.strip(), True)
