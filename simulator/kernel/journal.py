"""The journal: every exchange as one JSON line, in the order it was answered.

A line is {"method", "url", "request", "status", "headers", "response", "request_headers", "at"}: what a contract checker needs to
judge the traffic. Token requests and authorization headers are never written, and what a body holds that is secret is masked before
anybody can see it: a masked text is still a text, so that the line still holds to the contract.
"""

import json
import re
from collections import deque
from pathlib import Path
from typing import Any

KEEP_IN_MEMORY = 200
MASK = "*masked*"
# How the names of secrets end, hyphens and underscores left out: adminPassword, runAsPassword, client_secret, access_token, token.
SECRET = re.compile(
    r"(password|passphrase|secret|token|accesskey|accountkey|sharedkey|storagekey|primarykey|accesssas)$"
)
# Everything inside these is secret; the values of protected parameters are, their names are not.
ALL_SECRET = "protectedsettings"
VALUES_SECRET = "protectedparameters"


class Journal:
    """Writes exchanges to `path` where one is given, and keeps the latest few to look at."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._latest: deque[tuple[dict[str, Any], bytes, bytes]] = deque(maxlen=KEEP_IN_MEMORY)
        self.count = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def write(self, exchange: dict[str, Any], request: bytes, response: bytes) -> None:
        """Adds one exchange with the JSON that was sent and answered; both may be empty."""
        self.count += 1
        self._latest.append((exchange, request, response))
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(_shown(exchange, request, response)) + "\n")

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The latest exchanges, oldest first, as anybody may see them."""
        return [_shown(*each) for each in self._latest]


def _shown(exchange: dict[str, Any], request: bytes, response: bytes) -> dict[str, Any]:
    bodies = {"request": request, "response": response}
    return exchange | {name: masked(json.loads(body)) if body else None for name, body in bodies.items()}


def masked(body: Any) -> Any:
    """A copy of a body in which every secret text is a mask: told by the names of its keys, however deep they are."""
    if isinstance(body, dict):
        return {key: _masked_under(key.lower().replace("_", "").replace("-", ""), value) for key, value in body.items()}
    if isinstance(body, list):
        return [masked(item) for item in body]
    return body


def _masked_under(key: str, value: Any) -> Any:
    if key == ALL_SECRET:
        return _all_masked(value)
    if key == VALUES_SECRET and isinstance(value, list):
        return [{**each, "value": _all_masked(each["value"])} if "value" in each else each for each in value]
    if isinstance(value, str):
        return MASK if SECRET.search(key) else value
    return masked(value)


def _all_masked(value: Any) -> Any:
    """The same shape with every text in it masked."""
    if isinstance(value, dict):
        return {key: _all_masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_all_masked(each) for each in value]
    return MASK if isinstance(value, str) else value
