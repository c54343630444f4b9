"""The simulator as a process of its own and the product's clients as they are in production: real sockets, real TLS, real time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from evergold.azure import Azure, AzureFailure
from evergold.config.models import Environment
from simulator.scenario import load
from tests.support.simulated import SECRET_VARIABLE

REPOSITORY = Path(__file__).parents[2]
COMES_UP_S, GOES_DOWN_S = 30, 10


@dataclass(frozen=True)
class Running:
    """A simulator that listens, and what it announced."""

    process: subprocess.Popen[bytes]
    state: Path
    told: dict[str, Any]

    def environment(self, *, ca_file: str | None) -> Environment:
        """An environment that points at it."""
        scenario, url = load("small"), self.told["url"]
        return Environment.model_validate(
            {
                "name": "over-tls",
                "cloud": "custom",
                "endpoints": {
                    "resource_manager": url,
                    "resource_manager_scope": f"{url}/.default",
                    "authority": url,
                    "log_analytics": url,
                    "graph": url,
                    "ca_file": ca_file,
                },
                "credential": {
                    "kind": "client_secret",
                    "tenant_id": scenario.tenant_id,
                    "client_id": scenario.clients[0].client_id,
                    "secret_variable": SECRET_VARIABLE,
                },
                "subscription_id": scenario.subscription_id,
                "log_analytics_workspace_id": scenario.workspace_id,
            }
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The small world on a free port."""
    state = tmp_path_factory.mktemp("simulator")
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--scenario", "small", "--port", "0", "--state", str(state)], cwd=REPOSITORY
    )
    announcement, until = state / "simulator.json", time.monotonic() + COMES_UP_S
    try:
        while not announcement.exists():
            assert process.poll() is None, f"The simulator ended with {process.returncode}."
            assert time.monotonic() < until, "The simulator does not come up."
            time.sleep(0.05)
        yield Running(process, state, json.loads(announcement.read_text()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def hosts_seen(environment: Environment) -> list[str]:
    async with Azure.connect(environment) as azure:
        listed = await azure.desktops.list_session_hosts("rg-avd-pilot", "hp-pilot")
    return sorted(str(host.name) for host in listed)


def test_the_clients_work_over_tls_with_the_simulators_authority(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, load("small").clients[0].secret)
    seen = asyncio.run(hosts_seen(running.environment(ca_file=running.told["ca_file"])))
    assert seen == ["hp-pilot/pil-001", "hp-pilot/pil-002"]


def test_a_client_that_does_not_know_its_authority_refuses_it_at_once(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, load("small").clients[0].secret)
    begun = time.monotonic()
    with pytest.raises(AzureFailure, match=r"(?i)certificate") as refused:
        asyncio.run(hosts_seen(running.environment(ca_file=None)))
    assert not refused.value.retryable
    assert time.monotonic() - begun < 5, "a certificate does not become good by trying again"


def test_told_to_stop_it_ends_cleanly_and_leaves_only_its_certificate(running: Running) -> None:
    children = psutil.Process(running.process.pid).children(recursive=True)
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.process.wait(GOES_DOWN_S) == 0
    assert [child.pid for child in children if child.is_running()] == []
    assert [path.name for path in running.state.iterdir()] == ["ca.pem"]
