"""What is kept with the runs, on a real Prefect API: the evidence, the record of a rollout, the report, and the tables of checks."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.artifacts import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from evergold.azure import Azure
from evergold.clock import RealClock, ScaledClock
from evergold.config.models import ImageSet
from evergold.images.guest import StepFailure
from evergold.images.publish import Decision
from evergold.images.refresh import Refresh
from evergold.rollout.engine import Tick
from evergold.rollout.model import Plan
from evergold.validation.verdicts import Check, Evidence
from simulator.cloud import Cloud
from simulator.kernel.clock import ScaledClock as WorldClock
from simulator.scenario import load
from tasks.record import Record, evidence_of, keep_evidence, show_failed_step, timeline_of
from tasks.report import FOLDER_VARIABLE, write_report
from tasks.validate import validate_pool
from tests.stack.killed_refresh import KilledRefresh
from tests.support.asgi_transport import AsgiTransport
from tests.support.pools import look, new, old, target
from tests.support.simulated import SECRET_VARIABLE, environment_of, small_image_set

SPEED = 2000.0
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def _prefect(killed_refresh: KilledRefresh) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: f"{killed_refresh.stack.prefect_url}/api"}):
        yield


def in_a_world(body: Callable[[Azure, ImageSet], Awaitable[None]]) -> None:
    """Run a test's body against the small world, whose time is fast and real: Prefect's API needs a real loop."""
    scenario, now = load("small"), RealClock().now()

    async def main() -> None:
        cloud = Cloud(scenario, WorldClock(SPEED, scenario.start, now))
        clock = ScaledClock(SPEED, scenario.start, now)
        async with Azure.connect(environment_of(scenario), AsgiTransport(cloud.app), clock) as azure:
            await clock.sleep(1800)
            await body(azure, small_image_set(checks={"timeout_minutes": 600}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET_VARIABLE, scenario.clients[0].secret)
        asyncio.run(main())


def evidence(**changes: Any) -> Evidence:
    check = Check(name="AVD agent", verdict="pass", measured="Available. ```", threshold="Available", remedy="")
    given = {"refresh": "r1", "image_set": "office", "version": "1.1.0", "image_version_id": "/v", "source": "a:b:c:1"}
    return Evidence.model_validate({**given, "checks": (check,), **changes})


async def artifact(key: str) -> Any:
    found = await Artifact.aget(key)
    assert found is not None, key
    return found


def test_evidence_is_kept_and_is_only_given_back_for_its_digest() -> None:
    async def body() -> None:
        await keep_evidence(evidence())
        assert await evidence_of("office", evidence().digest) == evidence()
        assert await evidence_of("office", "0" * 64) is None
        await keep_evidence(evidence(version="1.2.0"))
        assert await evidence_of("office", evidence().digest) is None, "it was another one"
        shown = str((await artifact("evidence-office")).data)
        assert "| AVD agent | pass |" in shown
        assert f'"digest": "{evidence(version="1.2.0").digest}"' in shown

    asyncio.run(body())


def tick(minutes: int, *hosts: Any, capacity: int = 100) -> Tick:
    at = datetime(2026, 11, 13, tzinfo=UTC) + timedelta(minutes=minutes)
    return Tick(at, look(*hosts), Plan(capacity_percent=capacity, total=1, users_to_move=3), ())


def test_a_record_is_gone_on_with_by_the_next_run_and_not_by_another_rollout() -> None:
    async def body() -> None:
        first = Record("HP Office", target(1))
        await first.note(tick(0, old("a")))
        await first.note(tick(1, old("a")))
        await first.note(tick(2, old("a"), new("b", registered=False), capacity=90))
        await first.close()
        second = Record("HP Office", target(1))
        await second.note(tick(9, old("a"), new("b")))
        await second.close()
        kept = await timeline_of("HP Office", target(1).refresh)
        assert [(sample.at.minute, dict(sample.phases)) for sample in kept] == [
            (0, {"a": "old serving"}),
            (2, {"b": "created"}),
            (9, {"b": "joined"}),
        ]
        assert await timeline_of("HP Office", "another") == ()
        rows = json.loads(str((await artifact("timeline-hp-office")).data))
        assert rows[1]["capacity %"] == 90
        assert rows[1]["hosts"] == "b: created"

    asyncio.run(body())


def test_a_report_is_written_for_the_ui_as_a_page_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))

    async def body(azure: Azure, image_set: ImageSet) -> None:
        await keep_evidence(evidence())
        refresh = Refresh("office-20261112-2000", "1.0.0", "a:b:c:1", "office")
        decision = Decision(True, "Ada", azure.clock.now(), evidence().digest, "Patch Tuesday")
        text = await write_report.fn(azure, image_set, refresh, decision)
        assert "2 of 2 hosts on the new version" in text
        page = (tmp_path / "office-20261112-2000.html").read_text()
        assert "It went well" in page
        assert "approved by Ada" in page
        document = json.loads((tmp_path / "office-20261112-2000.json").read_text())
        assert document["digest"] in text
        assert document["report"]["evidence"]["version"] == "1.1.0"
        shown = str((await artifact("refresh-office")).data)
        assert base64.b64decode(shown.partition("base64,")[2].partition(")")[0]).startswith(b"<svg ")
        stopped = await write_report.fn(azure, image_set, refresh, decision, "hp-pilot halted.")
        assert "**It stopped.** hp-pilot halted." in stopped
        assert "It stopped" in (tmp_path / "office-20261112-2000.html").read_text()

    in_a_world(body)


def test_a_step_that_failed_is_shown_with_what_to_do_and_the_end_of_its_log() -> None:
    async def body() -> None:
        log = "setuperr.log:\n2026-11-12, Error SYSPRP ```Package```"
        failure = StepFailure("sysprep", "evg-1", "An app is installed for one user only.", "Remove it.", log)
        await show_failed_step(small_image_set(), failure)
        shown = await artifact("failed-step-office")
        assert shown.description == "sysprep failed on evg-1"
        assert "**What to do:** Remove it." in str(shown.data)
        assert f"````text\n{log}\n````" in str(shown.data)

    asyncio.run(body())


def test_a_pool_in_use_is_looked_at_and_shown_the_worst_first() -> None:
    async def body(azure: Azure, image_set: ImageSet) -> None:
        bad = await validate_pool.fn(azure, image_set, image_set.rings[0].pools[0])
        assert len(bad) == 2
        assert all("KB5103388" in line and "What to do: " in line for line in bad)
        shown = await artifact("checks-hp-pilot")
        assert "2 hosts: 2 fail" in shown.description
        rows = json.loads(str(shown.data))
        assert [row["verdict"] for row in rows[:2]] == ["fail", "fail"]
        assert {row["check"] for row in rows} >= {"AVD agent", "Windows build", "data collection rule", "sign-in"}

    in_a_world(body)
