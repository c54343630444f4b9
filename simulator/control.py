"""The simulator's own controls, under /_sim: time, faults, scenario, journal, and the truth about the world.

Nothing here is Azure, and nothing here asks for a token: whoever reaches the port may use it. The server therefore binds to
loopback only.

    GET     /_sim/time              the virtual time and how fast it runs
    POST    /_sim/advance           {"seconds": 3600} moves a clock that is moved by hand; 409 where real time moves it
    GET     /_sim/scenario          the scenario, without its secrets
    GET     /_sim/state             everything that the page shows
    GET     /_sim/truth             what was done to people and capacity
    GET     /_sim/journal?last=20   the latest exchanges
    GET     /_sim/faults            the planned faults that are not used up
    POST    /_sim/faults            one fault or a list of them; fields as in simulator.kernel.faults.Fault
    DELETE  /_sim/faults            takes them all back
"""

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.kernel.clock import ManualClock, ScaledClock
from simulator.kernel.faults import Fault
from simulator.kernel.journal import KEEP_IN_MEMORY
from simulator.picture import picture, speed_of

if TYPE_CHECKING:
    from simulator.cloud import Cloud

FAULTS = TypeAdapter(Fault | list[Fault])


class Step(BaseModel):
    """How far to move the clock."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(ge=0, le=366 * 86400)


class Control:
    """What a test or a demo asks of the simulator itself. Handlers are coroutines, so that they share the world's only thread."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def web_routes(self) -> list[BaseRoute]:
        """The routes, to be mounted at /_sim."""
        return [
            Route("/time", self._time),
            Route("/advance", self._advance, methods=["POST"]),
            Route("/scenario", self._scenario),
            Route("/state", self._state),
            Route("/truth", self._truth),
            Route("/journal", self._journal),
            Route("/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]

    async def _time(self, _: Request) -> Response:
        self._cloud.world.catch_up()
        return JSONResponse(self._told_time())

    def _told_time(self) -> dict[str, Any]:
        clock = self._cloud.world.clock
        told: dict[str, Any] = {
            "now": self._cloud.world.now.isoformat(),
            "clock": type(clock).__name__,
            "speed": speed_of(clock),
        }
        if isinstance(clock, ScaledClock):
            told |= {"virtual_start": clock.virtual_start.isoformat(), "real_start": clock.real_start.isoformat()}
        return told

    async def _advance(self, request: Request) -> Response:
        clock = self._cloud.world.clock
        if not isinstance(clock, ManualClock):
            return _no(
                409,
                f"This simulator's time is not moved by hand: its clock is a {type(clock).__name__}. "
                "Wait, or start the simulator with a higher --speed.",
            )
        try:
            step = Step.model_validate_json(await request.body())
        except ValidationError as error:
            return _no(400, f'Send {{"seconds": <number>}}. {_reasons(error)}')
        clock.advance(step.seconds)
        self._cloud.world.catch_up()
        return JSONResponse(self._told_time())

    async def _scenario(self, _: Request) -> Response:
        told = self._cloud.scenario.model_dump(mode="json")
        for client in told["clients"]:
            del client["secret"]
        return JSONResponse(told)

    async def _state(self, _: Request) -> Response:
        self._cloud.world.catch_up()
        return JSONResponse(picture(self._cloud))

    async def _truth(self, _: Request) -> Response:
        self._cloud.world.catch_up()
        return JSONResponse(self._cloud.truth.report())

    async def _journal(self, request: Request) -> Response:
        asked = request.query_params.get("last", "20")
        if not asked.isdigit():
            return _no(400, f"'last' is how many exchanges to show, at most {KEEP_IN_MEMORY}, not '{asked}'.")
        latest = self._cloud.journal.latest
        body = {"count": self._cloud.journal.count, "exchanges": latest[-int(asked) :] if int(asked) else []}
        return Response(json.dumps(body, default=str), media_type="application/json")

    async def _faults(self, request: Request) -> Response:
        faults = self._cloud.faults
        if request.method == "DELETE":
            faults.planned.clear()
        elif request.method == "POST":
            try:
                given = FAULTS.validate_json(await request.body())
            except ValidationError as error:
                return _no(400, f"This is no fault. {_reasons(error)}")
            faults.planned.extend(given if isinstance(given, list) else [given])
        return JSONResponse([fault.model_dump(mode="json") for fault in faults.planned if fault.times > 0])


def _no(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _reasons(error: ValidationError) -> str:
    each = {f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()}
    return "; ".join(sorted(each))
