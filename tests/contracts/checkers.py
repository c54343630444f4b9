"""Two checkers of recorded traffic against what Azure publishes, each where it can be found.

- `check_traffic.py`: bodies against the resource types that Azure publishes for Bicep, at the very api-versions of the clients.
- `oav-check.js`: Microsoft's own validator (npm `oav`), against Azure's OpenAPI files: POST actions, status codes, Log Analytics.

They stand in the folder $EVERGOLD_CONTRACTS, or in ../shared/contracts beside the repository. The second needs Node and the folder
$EVERGOLD_OAV, into which somebody has run `npm install --prefix "$EVERGOLD_OAV" oav@4.0.3`. What is not there is said, not hidden.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(os.environ.get("EVERGOLD_CONTRACTS") or Path(__file__).parents[3] / "shared" / "contracts")
OAV = os.environ.get("EVERGOLD_OAV", "")
COUNTS = re.compile(r"(\d+) exchanges, (\d+) covered, (\d+) violations")
# Neither checker knows these: polls of operations have no published body, and the first covers no POST but list functions.
POLL = re.compile(r"/(operations|DiskOperations|capsOperations)/", re.IGNORECASE)
ACTION = re.compile(r"/(?!list|retrieve)[^/?]+(\?|$)")

# Names that oav may call unknown or missing, and why each is right.
ALLOWED = {
    "isArmResource": "live Azure returns it in 202 answers of disks and snapshots",
    "blockDeletionBeforeEndOfLife": "a property of gallery versions that is younger than the OpenAPI file",
    "tags": "of a network card that is made with its VM: younger than the OpenAPI file",
    "sizeInGb": "live Azure returns it in marketplace images",
}


@dataclass(frozen=True)
class Found:
    """What a checker found: how many exchanges it was given and knew, and its whole output."""

    seen: int
    covered: int
    violations: int
    output: str


def why_not_python() -> str:
    """Why the first checker cannot run; "" where it can."""
    return "" if (FOLDER / "check_traffic.py").exists() else f"Azure's published contracts are not in {FOLDER.name}/"


def why_not_oav() -> str:
    """Why the second checker cannot run; "" where it can."""
    if not (FOLDER / "oav-check.js").exists():
        return f"Azure's published contracts are not in {FOLDER.name}/"
    if shutil.which("node") is None:
        return "Node is not installed"
    if not (Path(OAV) / "node_modules" / "oav").is_dir() or not OAV:
        return "EVERGOLD_OAV names no folder with oav in it: npm install --prefix FOLDER oav@4.0.3"
    return ""


def check_bodies(traffic: Path) -> Found:
    """What the first checker says of a recording, of the exchanges that it can know."""
    known = traffic.with_suffix(".known.jsonl")
    lines = [line for line in traffic.read_text().splitlines() if _can_be_known(json.loads(line))]
    known.write_text("\n".join(lines) + "\n")
    return _run([sys.executable, str(FOLDER / "check_traffic.py"), str(known)])


def check_with_oav(traffic: Path) -> Found:
    """What Microsoft's validator says of a recording."""
    command = ["node", str(FOLDER / "oav-check.js"), str(traffic), "--allow", ",".join(ALLOWED)]
    return _run(command, NODE_PATH=str(Path(OAV) / "node_modules"))


def _can_be_known(exchange: dict[str, str]) -> bool:
    url = exchange["url"]
    if POLL.search(url) or "/subscriptions/" not in url:
        return False
    return exchange["method"] != "POST" or not ACTION.search(url)


def _run(command: list[str], **environment: str) -> Found:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    counts = COUNTS.search(ended.stdout)
    assert counts, f"{command[1]} did not come to an end:\n{ended.stdout}{ended.stderr}"
    seen, covered, violations = map(int, counts.groups())
    return Found(seen, covered, violations, ended.stdout)
