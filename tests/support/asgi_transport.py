"""An azure-core transport that hands requests straight to an ASGI application in the same process.

No sockets and no threads, so the SDKs and the application they talk to can share a virtual-time event loop. Everything
above the transport is what runs in production: policies, identity, long-running operations, paging.

An exception that the application lets out reaches the caller as it is: a handler that raises azure-core's
`ServiceRequestError` plays a connection that was refused, one that raises `ServiceResponseError` an answer that was lost.
The application's lifespan events are not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from azure.core.pipeline.transport import AsyncHttpResponse, AsyncHttpTransport
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from azure.core.utils import case_insensitive_dict

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Answer:
    """What the application sent back."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""

    async def receive(self, message: Message) -> None:
        """Take in one message of the ASGI response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def close(self) -> None:
        """What azure-core calls when it has read the response; there is nothing to release."""

    @property
    def reason(self) -> str:
        """The reason phrase that goes with the status."""
        return HTTPStatus(self.status).phrase


class AsgiTransport(AsyncHttpTransport[Any, Any]):
    """Sends to `app` whatever host is asked for."""

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def send(self, request: Any, *, stream: bool = False, **_: Any) -> Any:
        """Run the application on one request; both of azure-core's kinds of request are answered in kind."""
        body = encoded(request.data)
        answer = Answer()
        await self.app(scope_of(request, body), single_message(body), answer.receive)
        if not hasattr(request, "content"):  # azure.core.pipeline.transport.HttpRequest
            return LegacyResponse(request, answer)
        response = rest_response(request, answer)
        if not stream:
            await response.read()
        return response

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Nothing to close."""


class LegacyResponse(AsyncHttpResponse):
    """The response to azure-core's older kind of request."""

    def __init__(self, request: Any, answer: Answer) -> None:
        super().__init__(request, answer)
        self._answer = answer
        self.status_code = answer.status
        self.headers = case_insensitive_dict(answer.headers)
        self.reason = answer.reason
        self.content_type = self.headers.get("content-type")

    def body(self) -> bytes:
        """The whole body."""
        return self._answer.body


def rest_response(request: Any, answer: Answer) -> AsyncHttpResponseImpl:
    """The response to azure-core's newer kind of request; its body can still be streamed."""
    headers = case_insensitive_dict(answer.headers)
    return AsyncHttpResponseImpl(
        request=request,
        internal_response=answer,
        status_code=answer.status,
        reason=answer.reason,
        headers=headers,
        content_type=headers.get("content-type", ""),
        stream_download_generator=in_one_piece,
        block_size=65536,
    )


async def in_one_piece(*, response: Any, **_: Any) -> AsyncIterator[bytes]:
    """The body in one piece."""
    yield response._internal_response.body


def scope_of(request: Any, body: bytes) -> MutableMapping[str, Any]:
    """The ASGI scope of a request."""
    url = urlsplit(request.url)
    headers = {"host": url.netloc, "content-length": str(len(body))}
    headers.update({name.lower(): str(value) for name, value in request.headers.items()})
    if isinstance(request.data, dict):
        headers.setdefault("content-type", "application/x-www-form-urlencoded")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method.upper(),
        "scheme": url.scheme,
        "path": unquote(url.path),
        "raw_path": url.path.encode("latin-1"),
        "query_string": url.query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": (url.hostname or "", url.port or 443),
    }


def single_message(body: bytes) -> Callable[[], Awaitable[Message]]:
    """An ASGI `receive` that gives the whole body at once; after that the client stays, and sends nothing more."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive


def encoded(data: Any) -> bytes:
    """A request's data as bytes: text, bytes, or the fields of a form."""
    if data is None:
        return b""
    if isinstance(data, dict):
        return urlencode(data).encode()
    return data if isinstance(data, bytes) else str(data).encode()
