"""Log Analytics: the query API of one workspace."""

from typing import TYPE_CHECKING

from simulator.kernel.arm import Route

if TYPE_CHECKING:
    from simulator.cloud import Cloud


class Logs:
    """The workspace that all machines and host pools log to."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """The query route."""
        return []
