"""What simulated machines answer holds to Azure's published contracts; and the same calls at the same times meet the same world.

Uses the checker where `tests.contracts.checkers` finds it; says so where not.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.checkers import FOLDER, why_not_python
from tests.simulator.test_compute import act, put, vm_path
from tests.simulator.test_guest import join, script, send, view
from tests.support.caller import Caller

CHECKER = FOLDER / "check_traffic.py"


def a_life(world: Caller) -> list[dict[str, Any]]:
    """Everything that can be asked of a machine, once; returns the exchanges."""
    world.ended(put(world))
    world.send("GET", vm_path(world), expand="instanceView")
    world.send("PATCH", vm_path(world), {"tags": {"a": "b"}})
    world.ended(send(world, script("manifest.ps1")))
    world.wait(300)
    view(world)
    world.ended(join(world))
    world.send("GET", vm_path(world, rest="/extensions"))
    world.send("GET", vm_path(world, rest="/runCommands"))
    world.result(world.send("POST", vm_path(world, rest="/assessPatches")))
    world.send("GET", vm_path(world, rest="/instanceView"))
    world.ended(act(world, "restart"))
    world.ended(act(world, "deallocate"))
    act(world, "start")
    act(world, "generalize")
    world.send("GET", world.path("rg-images-build", "Microsoft.Compute/virtualMachines"))
    world.ended(world.send("DELETE", vm_path(world)))
    world.send("GET", vm_path(world))
    return list(world.cloud.journal.latest)


@pytest.mark.skipif(bool(why_not_python()), reason=why_not_python())
def test_what_machines_answer_holds_to_the_contract(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.jsonl"
    traffic.write_text("".join(json.dumps(exchange, default=str) + "\n" for exchange in a_life(Caller())))
    check = subprocess.run([sys.executable, str(CHECKER), str(traffic)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout


def test_the_same_calls_at_the_same_times_meet_the_same_world() -> None:
    def seen() -> list[Any]:
        return [(each["method"], each["url"], each["status"], each["response"]) for each in a_life(Caller())]

    assert seen() == seen()


def test_another_seed_is_another_world() -> None:
    ids = set()
    for seed in (1, 2):
        world = Caller(seed=seed)
        put(world)
        ids.add(world.send("GET", vm_path(world)).json()["properties"]["vmId"])
    assert len(ids) == 2
