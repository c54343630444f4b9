"""The world's own controls under /_sim."""

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

if TYPE_CHECKING:
    from simulator.cloud import Cloud


class Control:
    """What is not Azure: time, faults, journal, truth."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def web_routes(self) -> list[BaseRoute]:
        """Routes under /_sim."""
        return []
