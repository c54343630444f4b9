"""Campaigns on bad days of Graph, by seed: throttling, faults, lost answers, lists that lag, and deaths on top. A seed is a whole campaign.

A sample runs here; many with EVERGOLD_SOAK (`make soak`).
"""

import os
from random import Random
from typing import Any

import pytest

from evergold.azure import AzureFailure
from evergold.cloudpc.model import Plan
from simulator.kernel.faults import Fault
from tests.support.cloud_pcs import image_set_of, reprovisioned, with_cloud_pcs
from tests.support.simulated import Killed, Simulated, simulated

SEEDS = 300 if os.environ.get("EVERGOLD_SOAK") else 5
CLOUD_PCS = 3
# Starts of the run in a row that may fail before a person would look into it.
STARTS = 8
READS = (
    "/cloudPCs$",
    "/cloudPCs/[^/]+$",
    "retrieveSnapshots",
    "getRealTime",
    "provisioningPolicies",
    "bulkActions",
    "transitive",
    "deviceImages",
)
WRITES = (
    "POST .*bulkActions",
    "POST .*bulkActions",
    "POST .*/reprovision",
    "PATCH .*provisioningPolicies",
    "POST .*deviceImages",
    "PATCH .*images/office",
)


def weather(dice: Random) -> list[Fault]:
    """Faults that last for a while and then end, as they do."""
    faults = []
    for _ in range(dice.randint(3, 9)):
        calls = {"skip": dice.randint(0, 25), "times": dice.choice((1, 2, 5, 12))}
        if dice.random() < 0.5:
            status = dice.choice((429, 429, 500, 502, 503, 504))
            wait = dice.choice((1, 10, 60)) if status == 429 else None
            faults.append(Fault(method="GET", path=dice.choice(READS), status=status, retry_after_s=wait, **calls))
            continue
        method, _, path = dice.choice(WRITES).partition(" .*")
        calls["skip"] //= 5
        lost = {"status": 504, "code": "GatewayTimeout", "after": True}
        trouble: dict[str, Any] = dice.choice((lost, lost, lost, {"status": 429, "retry_after_s": 20}, {"status": 503}))
        faults.append(Fault(method=method, path=path, **calls, **trouble))
    return faults


async def started_until_done(world: Simulated, deaths: list[int]) -> Plan:
    """The run, started again whenever it died or failed, as the automation and a person would."""
    for _ in range(STARTS + len(deaths)):
        world.wire.dead = False
        world.wire.dies_after_writes, world.wire.dies_for_good = (deaths.pop() if deaths else None), True
        try:
            return await reprovisioned(world)
        except (Killed, AzureFailure):
            world.wire.dead = False
            await world.azure.clock.sleep(300)
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_the_weather_everybody_gets_the_image_once_and_nothing_is_lost(seed: int) -> None:
    dice = Random(seed)

    async def body(world: Simulated) -> None:
        last = await started_until_done(world, [dice.randint(1, 12) for _ in range(dice.randint(0, 3))])
        assert {verdict.fate for verdict in last.verdicts} == {"done"}
        report = world.cloud.truth.report()
        assert report["violations"] == []
        assert report["cloud_pcs_reprovisioned"] == CLOUD_PCS

    image_set = image_set_of(api=dice.choice(("bulk", "bulk", "single")), give_up_days=30, failure_budget=0)
    lag = dice.choice((0, 0, 90, 700, 1500))
    simulated(body, image_set, **with_cloud_pcs(count=CLOUD_PCS, faults=weather(dice), graph_lags_s=lag))
