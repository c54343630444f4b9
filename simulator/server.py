"""The simulated Azure as a process: HTTPS on this machine, under a certificate authority that it makes itself.

It listens on loopback only. Once it really listens it writes `simulator.json` to its state folder: address, CA file, and the three
numbers by which another process knows its time.
"""

import json
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme
import uvicorn

from simulator.cloud import Cloud
from simulator.kernel.clock import ScaledClock, WallClock
from simulator.scenario import Scenario

HOST = "127.0.0.1"
NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Options:
    """How to serve: port 0 takes a free one; `journal` None writes none."""

    port: int
    state: Path
    speed: float
    journal: Path | None
    virtual_start: datetime
    real_start: datetime


async def serve(scenario: Scenario, options: Options) -> None:
    """Serves a world until the process is told to stop."""
    options.state.mkdir(parents=True, exist_ok=True)
    announcement = options.state / "simulator.json"
    announcement.unlink(missing_ok=True)
    authority = trustme.CA(organization_name="Evergold simulator")
    ca_file = options.state / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    clock = ScaledClock(options.speed, options.virtual_start, options.real_start)
    cloud = Cloud(scenario, clock, journal=options.journal)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, options.port))
        port = listener.getsockname()[1]
        server = AnnouncedServer(_config(cloud, authority), lambda: _announce(announcement, port, ca_file, options))
        await server.serve([listener])
    announcement.unlink(missing_ok=True)


class AnnouncedServer(uvicorn.Server):
    """A server that says so once it really listens, and takes a signal to stop for what it is: the end of its work, not a crash."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and tells."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops at a signal. uvicorn's own way sends it again once it has stopped, and nothing after that would be cleared up."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _config(cloud: Cloud, authority: trustme.CA) -> uvicorn.Config:
    config = uvicorn.Config(
        cloud.app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        date_header=False,  # the gate sends the world's own
    )
    config.load()
    config.ssl = _context(authority)
    return config


def _context(authority: trustme.CA) -> ssl.SSLContext:
    """TLS with a fresh certificate; its key is on disk only while it is read, for this user alone."""
    certificate = authority.issue_cert(*NAMES)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.touch(mode=0o600)
        path.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
        context.load_cert_chain(path)
    return context


def _announce(path: Path, port: int, ca_file: Path, options: Options) -> None:
    told = {
        "url": f"https://localhost:{port}",
        "ca_file": str(ca_file.resolve()),
        "speed": options.speed,
        "virtual_start": options.virtual_start.isoformat(),
        "real_start": options.real_start.isoformat(),
        "pid": os.getpid(),
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(told, indent=2) + "\n")
    partial.rename(path)


def real_now() -> datetime:
    """The machine's time."""
    return WallClock().now()
