"""Faults on demand: answers that Azure gives on its bad days, for calls that match.

A fault is used up after `times` calls. It strikes before the call takes effect (the default), or after it: the write happened,
but its answer was lost. One that `lacks` is no error: a list comes back without the items whose names match that pattern.
"""

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from simulator.kernel.arm import ArmError, Json


class ConnectionLostError(Exception):
    """The connection is cut without an answer."""


class Fault(BaseModel):
    """One kind of trouble for the calls whose method and path match the patterns (searched, case does not matter)."""

    model_config = ConfigDict(extra="forbid")

    method: str = ".*"
    path: str
    times: int = 1
    skip: int = 0
    after: bool = False
    cut: bool = False
    lacks: str = ""
    status: int = 500
    code: str = "InternalServerError"
    message: str = "The server encountered an internal error. Please retry the request."
    retry_after_s: int | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether a call is one of those it is for."""
        return bool(re.fullmatch(self.method, method, re.IGNORECASE) and re.search(self.path, path, re.IGNORECASE))

    def cut_short(self, items: list[Json]) -> list[Json]:
        """A list without what it is to lack."""
        return [each for each in items if not re.search(self.lacks, str(each.get("name")), re.IGNORECASE)]

    def strike(self) -> Exception:
        """What the caller gets."""
        if self.cut:
            return ConnectionLostError()
        headers = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return ArmError(self.status, self.code, self.message, headers=headers)


@dataclass
class Faults:
    """The faults in force."""

    planned: list[Fault]

    def hits(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this call, if one does; it is used up by one."""
        for fault in self.planned:
            if fault.times > 0 and fault.matches(method, path):
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                return fault
        return None
