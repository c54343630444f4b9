"""`evergold doctor` beside the preflight that the refresh has left among its artifacts."""

import json
import re

from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from tests.stack.killed_refresh import KilledRefresh, evergold


async def see_the_doctor(killed_refresh: KilledRefresh) -> tuple[list[str], list[str]]:
    """The names of the checks that are printed, and of those that the refresh began with."""
    printed = await evergold(killed_refresh.stack, "doctor", "office")
    async with killed_refresh.stack.prefect() as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["preflight-office"]))
        kept = (await client.read_artifacts(artifact_filter=wanted))[-1]
    rows = json.loads(str(kept.data))
    return re.findall(r"^(?:PASS|WARN) +(.+?): ", printed, re.MULTILINE), [row["check"] for row in rows]
