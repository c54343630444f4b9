"""Everything a refresh needs on one machine: simulator, Prefect server, work pool, worker and deployments, as child processes.

`Stack` starts them in a state directory of its own and on free ports, and promises that none of them, nor any process they
started, is left when it is closed, however that comes about. The demo runs on it, and so do the tests of whole refreshes.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import httpx
import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.process import ProcessWorker
from ruamel.yaml import YAML

from evergold.clock import RealClock, ScaledClock

REPOSITORY = Path(__file__).resolve().parent.parent
WORK_POOL = "evergold"
# Made by `make`, beside the Prefect that it belongs to. Without it the server makes its own, in ten seconds.
EMPTY_DATABASE = Path(sys.prefix) / "prefect.db"
SIMULATED_SECRET = "simulated-secret"  # opens nothing but the simulator, which listens on this machine only
START_LIMIT_S = 90
BETWEEN_LOOKS = timedelta(seconds=2)
# A worker of its own on the same machine need not be gentle with the server: look for runs each second.
PREFECT_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "evergold",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
}


class StackError(Exception):
    """A part of the stack did not start; says which, and shows the end of its log."""


@dataclass
class Stack:
    """The processes. Use it with `with`; `start()` brings everything up and returns when runs can be started."""

    state: Path
    scenario: str = "demo"
    speed: float = 600
    journal: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _seen: set[psutil.Process] = field(default_factory=set)
    _looked_at: datetime | None = None
    simulator_url: str = ""
    prefect_url: str = ""

    def __enter__(self) -> "Stack":
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of every process of the stack, and of whoever wants to talk to it."""
        return (
            {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
            | PREFECT_SETTINGS
            | {
                "PREFECT_HOME": str(self.state / "prefect"),
                "PREFECT_API_URL": f"{self.prefect_url}/api",
                "EVERGOLD_DEPLOYMENTS": str(self.state / "deployments"),
                "EVERGOLD_REPOSITORY": str(REPOSITORY),
                "EVERGOLD_REPORTS": str(self.state / "reports"),
                "EVERGOLD_CLIENT_SECRET": SIMULATED_SECRET,
            }
            | self.settings
        )

    async def start(self) -> None:
        """Starts simulator and server, then deploys and starts the worker. Raises StackError."""
        self.prefect_url = f"http://127.0.0.1:{_free_port()}"
        self.simulator_url = f"https://localhost:{_free_port()}"
        shutil.copytree(REPOSITORY / "deployments", self.state / "deployments")
        port = self.prefect_url.rpartition(":")[2]
        if EMPTY_DATABASE.exists():
            (self.state / "prefect").mkdir()
            shutil.copy(EMPTY_DATABASE, self.state / "prefect" / "prefect.db")
        self._run("prefect-server", _prefect("server", "start", "--host", "127.0.0.1", "--port", port))
        await self._until("prefect-server", self._server_is_up)
        await self._make_work_pool()
        self.start_worker()
        await self._deploy()
        # Last, because its time begins to run at once.
        await self.start_simulator()

    async def start_simulator(self) -> None:
        """Starts the simulated Azure, and lets the environment `simulator` point at it."""
        port = self.simulator_url.rpartition(":")[2]
        more = ["--journal", str(self.journal_path)] if self.journal else []
        self._run(
            "simulator",
            [
                *(sys.executable, "-m", "simulator", "--scenario", self.scenario, "--port", port),
                *("--state", str(self.state / "simulator"), "--speed", str(self.speed), *more),
            ],
        )
        await self._until("simulator", self._simulator_is_up)
        self._point_environment_at_simulator()

    def clock(self) -> ScaledClock:
        """The simulated world's time."""
        told = self._announcement()
        starts = (datetime.fromisoformat(told[name]) for name in ("virtual_start", "real_start"))
        return ScaledClock(told["speed"], *starts)

    @property
    def journal_path(self) -> Path:
        """Where the simulator writes what passed on the wire, if asked to."""
        return self.state / "journal.jsonl"

    def start_worker(self) -> None:
        """Starts a process worker on the work pool."""
        self._run("worker", _prefect("worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "worker"))

    def kill(self, name: str) -> None:
        """Kills one process of the stack at once (not the processes it started): what a power cut does."""
        self._remember_children()
        self._processes[name].kill()
        self._processes[name].wait()

    @asynccontextmanager
    async def prefect(self) -> AsyncIterator[PrefectClient]:
        """A client of the stack's Prefect server."""
        async with PrefectClient(f"{self.prefect_url}/api") as client:
            yield client

    def simulator_client(self) -> httpx.AsyncClient:
        """A client of the simulator's control API, at /_sim."""
        return httpx.AsyncClient(
            base_url=f"{self.simulator_url}/_sim",
            verify=ssl.create_default_context(cafile=self._announcement()["ca_file"]),
        )

    def close(self) -> None:
        """Ends every process of the stack and every process these started."""
        self._remember_children()
        for process in self._processes.values():
            process.terminate()
        _, alive = psutil.wait_procs(self._seen, timeout=5)
        for left in alive:
            left.kill()
        psutil.wait_procs(alive, timeout=5)
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def fail_if_dead(self) -> None:
        """Raises StackError where one of the processes has ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise StackError(f"The {name} ended by itself (exit {process.returncode}).\n{self._tail(name)}")
        now = RealClock().now()
        # Looking through all processes of the machine is costly, and this is asked several times a second.
        if self._looked_at is None or now - self._looked_at > BETWEEN_LOOKS:
            self._looked_at = now
            self._remember_children()

    def _run(self, name: str, command: list[str]) -> None:
        log = (self.state / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._remember_children()

    def _remember_children(self) -> None:
        # A flow run's process leads a session of its own and is nobody's child once its worker is gone: it must be
        # remembered while it can be seen.
        for process in self._processes.values():
            try:
                parent = psutil.Process(process.pid)
                self._seen.update([parent, *parent.children(recursive=True)])
            except psutil.NoSuchProcess:
                continue

    def _tail(self, name: str, lines: int = 15) -> str:
        path = self.state / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + f"\n(the whole log: {path})"

    async def _until(self, name: str, is_up: Any) -> None:
        clock = RealClock()
        started = clock.now()
        while not await is_up():
            self.fail_if_dead()
            if (clock.now() - started).total_seconds() > START_LIMIT_S:
                raise StackError(f"The {name} did not answer within {START_LIMIT_S} s.\n{self._tail(name)}")
            await clock.sleep(0.2)

    def _announcement(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "simulator" / "simulator.json").read_text()))

    async def _simulator_is_up(self) -> bool:
        return (self.state / "simulator" / "simulator.json").exists()

    async def _server_is_up(self) -> bool:
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.prefect_url}/api/health", timeout=2)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _make_work_pool(self) -> None:
        """Makes the pool that the worker would make, so that the deployments need not wait for the worker."""
        template = ProcessWorker.get_default_base_job_template()
        async with self.prefect() as client:
            await client.create_work_pool(
                WorkPoolCreate(name=WORK_POOL, type=ProcessWorker.type, base_job_template=template)
            )

    def _point_environment_at_simulator(self) -> None:
        path = self.state / "deployments" / "environments" / "simulator.yaml"
        yaml = YAML()
        environment = yaml.load(path)
        told = self._announcement()
        for name in ("resource_manager", "authority", "log_analytics", "graph"):
            environment["endpoints"][name] = told["url"]
        environment["endpoints"]["ca_file"] = told["ca_file"]
        environment["clock"] = {
            "kind": "scaled",
            "speed": told["speed"],
            "virtual_start": datetime.fromisoformat(told["virtual_start"]),
            "real_start": datetime.fromisoformat(told["real_start"]),
        }
        yaml.dump(environment, path)

    async def _deploy(self) -> None:
        with (self.state / "deploy.log").open("wb") as log:
            deploying = await asyncio.create_subprocess_exec(
                *_prefect("--no-prompt", "deploy", "--all"),
                cwd=REPOSITORY,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
            if await deploying.wait() != 0:
                raise StackError(f"Registering the deployments of prefect.yaml failed.\n{self._tail('deploy', 30)}")


def _prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
