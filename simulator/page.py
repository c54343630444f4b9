"""The live page at /."""

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

if TYPE_CHECKING:
    from simulator.cloud import Cloud


class Page:
    """The picture of the world."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def web_routes(self) -> list[BaseRoute]:
        """The page."""
        return []
