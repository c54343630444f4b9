"""Files that a build puts on its machine: the script that does it, with the list of files in it.

Small files of the repository travel inside the script, packed, since Azure's run commands carry text and nothing else. Azure documents no
limit for a script's length; a request to Azure Resource Manager may have 4 MB (learn.microsoft.com, "Azure Resource Manager request
limits"), and what the configuration lets through (`LARGEST_STEP` in config/load.py) stays far below that. Larger files the machine
fetches by itself.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json

from evergold.config.load import script_file
from evergold.config.models import FilesStep, PlacedFile

SCRIPT = "guest/files.ps1"
LIST = "$List = '[]'"


def script_for(step: FilesStep) -> str:
    """guest/files.ps1 with the step's files in it."""
    listed = json.dumps([_entry(each) for each in step.files]).replace("'", "''")
    return script_file(SCRIPT).read_text(encoding="utf-8").replace(LIST, f"$List = '{listed}'", 1)


def _entry(placed: PlacedFile) -> dict[str, str]:
    if placed.source is None:
        return {
            "destination": placed.destination,
            "sha256": (placed.sha256 or "").lower(),
            "url": placed.url or "",
            "content": "",
        }
    content = script_file(placed.source).read_bytes()
    return {
        "destination": placed.destination,
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": "",
        "content": base64.b64encode(gzip.compress(content, 9, mtime=0)).decode(),
    }
