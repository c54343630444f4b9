"""The page at `/`: the simulated world at a glance. One self-contained file that asks /_sim/state once a second."""

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

if TYPE_CHECKING:
    from simulator.cloud import Cloud

FILE = Path(__file__).parent / "static" / "page.html"


class Page:
    """Serves the page."""

    def __init__(self, cloud: "Cloud") -> None:
        name = cloud.scenario.name.replace("&", "&amp;").replace("<", "&lt;")
        self._html = FILE.read_text().replace("{{scenario}}", name)

    def web_routes(self) -> list[BaseRoute]:
        """The page, and no icon (browsers ask for one)."""
        return [Route("/", self._page), Route("/favicon.ico", self._icon)]

    async def _page(self, _: Request) -> Response:
        return HTMLResponse(self._html, headers={"cache-control": "no-store"})

    async def _icon(self, _: Request) -> Response:
        return Response(status_code=204)
