"""The journal: every exchange as one JSON line, in the order it was answered.

A line is {"method", "url", "request", "status", "headers", "response", "request_headers", "at"}: what a contract checker needs to
judge the traffic. Authorization headers and token requests are never written.
"""

import json
from collections import deque
from pathlib import Path
from typing import Any

KEEP_IN_MEMORY = 200


class Journal:
    """Writes exchanges to `path` where one is given, and keeps the latest few to look at."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.latest: deque[dict[str, Any]] = deque(maxlen=KEEP_IN_MEMORY)
        self.count = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def write(self, exchange: dict[str, Any]) -> None:
        """Adds one exchange."""
        self.count += 1
        self.latest.append(exchange)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(exchange, default=str) + "\n")
