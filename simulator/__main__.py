"""`python -m simulator`: runs the simulated Azure until it is stopped."""

import argparse
import asyncio
import sys
from datetime import datetime
from pathlib import Path

from simulator.scenario import load
from simulator.server import Options, real_now, serve


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="evergold simulate", description=__doc__)
    parser.add_argument(
        "--scenario", default="demo", help="name of a scenario, or path of its YAML file (default: demo)"
    )
    parser.add_argument("--port", type=int, default=8443, help="port on 127.0.0.1; 0 takes a free one (default: 8443)")
    parser.add_argument(
        "--state", type=Path, default=Path(".evergold/simulator"), help="folder for ca.pem and simulator.json"
    )
    parser.add_argument("--speed", type=float, default=1, help="simulated seconds per real second (default: 1)")
    parser.add_argument("--journal", type=Path, help="file to write every exchange to, one JSON line each")
    parser.add_argument(
        "--virtual-start", type=datetime.fromisoformat, help="simulated time at the start (default: the scenario's)"
    )
    given = parser.parse_args()
    scenario = load(given.scenario)
    start = given.virtual_start or scenario.start
    asyncio.run(serve(scenario, Options(given.port, given.state, given.speed, given.journal, start, real_now())))
    sys.exit(0)


if __name__ == "__main__":
    main()
