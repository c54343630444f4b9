"""The simulated Azure as a process: HTTPS on this machine, under a certificate authority that it makes itself.

It listens on loopback only. Once it really listens it writes `simulator.json` to its state folder: address, CA file, and the three
numbers by which another process knows its time.
"""

import asyncio
import json
import os
import socket
import ssl
import tempfile
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
        server = _server(cloud, authority)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            _announce(announcement, listener.getsockname()[1], ca_file, options)
        await serving
    announcement.unlink(missing_ok=True)


def _server(cloud: Cloud, authority: trustme.CA) -> uvicorn.Server:
    config = uvicorn.Config(
        cloud.app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
    )
    config.load()
    config.ssl = _context(authority)
    return uvicorn.Server(config)


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
