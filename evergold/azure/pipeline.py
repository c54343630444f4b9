"""How a request travels to Azure: pace, patience, time.

All SDK clients of a bundle share one transport and one set of policies, so that what is promised here holds for every
call. azure-core's own retry policy is not used: it sleeps any `Retry-After` without a limit, on any status, and gives
up on a throttled POST or PATCH that carries none.

Promises:
- *Time*: every wait (retry, polling, throttling, the credential's own retries) goes through the clock.
- *Patience*: 408, 429, 500, 502, 503 and 504 are tried again for every method. A connection or answer that is lost is
  tried again for GET, HEAD, PUT, DELETE and OPTIONS only, since a POST or PATCH may already have been carried out. A
  request with the option ONCE is tried again after a 429 only.
  Nothing else is tried again here: what a 409 means is for the caller to decide. One wait is at most 300 s, one
  request is sent at most 8 times and waits at most 30 minutes in all. Each new try is logged with its reason.
- *Pace*: requests leave no faster than Azure Resource Manager's documented buckets refill, per subscription.
- *Trust*: a certificate that cannot be trusted is refused at once.
- *Silence*: headers and bodies are never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse, policies
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling

from evergold.azure.errors import ANSWER_LATER, took_too_long, untrusted
from evergold.clock import Clock

log = logging.getLogger("evergold.azure")

USER_AGENT = "evergold/0.1"
CONNECT_SECONDS = 20
READ_SECONDS = 200  # a log query may take the server its default of 180 s
POLL_SECONDS = 10.0
# An option of a request that must not be carried out twice, and whose caller finds out what became of it.
ONCE = "evergold_once"


class ClockTransport(AsyncHttpTransport[Any, Any]):
    """Passes requests to another transport; its sleep is the clock's.

    The SDK clients that share it open and close it as they please; the inner transport is opened once and closed by
    whoever made the bundle.
    """

    def __init__(self, inner: AsyncHttpTransport[Any, Any], clock: Clock) -> None:
        self.inner = inner
        self.clock = clock

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send through the inner transport."""
        return await self.inner.send(request, **kwargs)

    async def sleep(self, duration: float) -> None:
        """Wait on the clock, `duration` seconds."""
        await self.clock.sleep(duration)

    async def open(self) -> None:
        """Nothing: the bundle opens the inner transport."""

    async def close(self) -> None:
        """Nothing: the bundle closes the inner transport."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Nothing: the bundle closes the inner transport."""


def https_transport(ca_file: Path | None) -> AsyncHttpTransport[Any, Any]:
    """The real transport: aiohttp over TLS, trusting `ca_file` alone if one is given, else the machine's authorities."""
    transport: AsyncHttpTransport[Any, Any] = AioHttpTransport(
        connection_verify=str(ca_file) if ca_file else True,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
    )
    return transport


@dataclass(frozen=True)
class Patience:
    """Ceilings of the retry policy; times in seconds."""

    attempts: int = 8
    first_wait: float = 1.0
    longest_backoff: float = 60.0
    longest_retry_after: float = 300.0
    longest_in_all: float = 1800.0


# Marks an error that a retry policy has given up on: getting a token happens inside the request that needs it, and has
# a retry policy of its own, whose tries must not be multiplied.
GIVEN_UP = "evergold_given_up"
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class RetryPolicy(AsyncHTTPPolicy[Any, Any]):
    """Tries again what may succeed with nothing changed; see this module's promises."""

    def __init__(self, clock: Clock, patience: Patience | None = None) -> None:
        super().__init__()
        self.clock = clock
        self.patience = patience or Patience()

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send, and send again while that makes sense; the last answer or error is the caller's."""
        repeatable, later = self._repeatable(request), _answers_later(request)
        waited = 0.0
        attempt = 1
        while True:
            response: PipelineResponse[Any, Any] | None = None
            error: Exception | None = None
            try:
                response = await self.next.send(request)
                if response.http_response.status_code not in later:
                    return response
                reason = f"Azure answered {response.http_response.status_code}"
            except ClientAuthenticationError:
                raise
            except (ServiceRequestError, ServiceResponseError, IncompleteReadError) as lost:
                if not repeatable or untrusted(lost) or getattr(lost, GIVEN_UP, False):
                    raise
                error, reason = lost, f"{type(lost).__name__}: {lost}"
            wait = self._wait(response, attempt)
            if attempt >= self.patience.attempts or waited + wait > self.patience.longest_in_all:
                log.warning("Giving up on %s after %d tries: %s.", _label(request), attempt, reason)
                if error is not None:
                    setattr(error, GIVEN_UP, True)
                    raise error
                assert response is not None
                return response
            attempt += 1
            log.warning(
                "Trying %s again in %.0f s (try %d of %d): %s.",
                _label(request),
                wait,
                attempt,
                self.patience.attempts,
                reason,
            )
            await _release(response)
            await self.clock.sleep(wait)
            waited += wait

    def _repeatable(self, request: PipelineRequest[Any]) -> bool:
        # azure-identity says with this option that its token POST may be repeated; it must not reach the transport.
        extra = request.context.options.pop("retry_on_methods", ())
        return request.http_request.method.upper() in IDEMPOTENT | set(extra)

    def _wait(self, response: PipelineResponse[Any, Any] | None, attempt: int) -> float:
        asked = retry_after(response.http_response.headers, self.clock.now()) if response is not None else None
        if asked is not None:
            return min(asked, self.patience.longest_retry_after)
        backoff: float = self.patience.first_wait * 2.0 ** (attempt - 1)
        return min(backoff, self.patience.longest_backoff)


def _answers_later(request: PipelineRequest[Any]) -> frozenset[int]:
    """The statuses after which a request is tried again: with the option ONCE only the one that says it was not carried out."""
    return frozenset({429}) if request.context.options.pop(ONCE, False) else ANSWER_LATER


def retry_after(headers: Any, now: datetime) -> float | None:
    """Seconds that a `Retry-After` (seconds, possibly fractional, or an HTTP date) asks for; None without a usable one."""
    value = headers.get("Retry-After")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


class TokenBucket:
    """Lets `rate` callers a second through, and up to `burst` at once after a rest; first come, first served."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self.rate = rate
        self.burst = burst
        self.clock = clock
        self._level = float(burst)
        self._filled_at: datetime | None = None

    async def take(self) -> None:
        """Wait for a turn."""
        now = self.clock.now()
        if self._filled_at is not None:
            earned = (now - self._filled_at).total_seconds() * self.rate
            self._level = min(float(self.burst), self._level + earned)
        self._filled_at = now
        self._level -= 1.0
        if self._level < 0:  # the debt is this caller's place in the queue
            await self.clock.sleep(-self._level / self.rate)


@dataclass
class Pace:
    """Azure Resource Manager's documented buckets for one service principal on one subscription."""

    clock: Clock
    reads: TokenBucket = field(init=False)
    writes: TokenBucket = field(init=False)
    deletes: TokenBucket = field(init=False)

    def __post_init__(self) -> None:
        self.reads = TokenBucket(25, 250, self.clock)
        self.writes = TokenBucket(10, 200, self.clock)
        self.deletes = TokenBucket(10, 200, self.clock)

    def bucket(self, method: str) -> TokenBucket:
        """The bucket that a request with this method spends from."""
        if method in ("GET", "HEAD"):
            return self.reads
        return self.deletes if method == "DELETE" else self.writes


def graph_pace(clock: Clock) -> Pace:
    """Microsoft Graph's buckets for one application in one tenant.

    None is published for Cloud PCs, so it is Intune's: 1000 requests in 20 s, 100 of them writes ("Microsoft Graph service-specific
    throttling limits"). Half of that, since other tools of the tenant may sign in as the same application.
    """
    pace = Pace(clock)
    pace.reads = TokenBucket(25, 250, clock)
    pace.writes = pace.deletes = TokenBucket(2.5, 25, clock)
    return pace


class PacePolicy(AsyncHTTPPolicy[Any, Any]):
    """Holds each try of each request back until the pace allows it."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self.pace = pace

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Wait for a turn, then send."""
        await self.pace.bucket(request.http_request.method.upper()).take()
        return await self.next.send(request)


def arm_policies(credential: AsyncTokenCredential, scope: str, clock: Clock, pace: Pace) -> list[Any]:
    """The policies of every client of Azure Resource Manager, outermost first.

    The SDK's policy that registers resource providers by itself is left out: that is the owner's decision.
    """
    authentication = AsyncARMChallengeAuthenticationPolicy(credential, scope)
    return _policies(RetryPolicy(clock), PacePolicy(pace), authentication)


def query_policies(credential: AsyncTokenCredential, scope: str, clock: Clock) -> list[Any]:
    """The policies of the Log Analytics client, outermost first."""
    return _policies(RetryPolicy(clock), policies.AsyncBearerTokenCredentialPolicy(credential, scope))


def graph_policies(credential: AsyncTokenCredential, scope: str, clock: Clock) -> list[Any]:
    """The policies of the Microsoft Graph client, outermost first."""
    authentication = policies.AsyncBearerTokenCredentialPolicy(credential, scope)
    return _policies(RetryPolicy(clock), PacePolicy(graph_pace(clock)), authentication)


def _policies(*middle: Any) -> list[Any]:
    return [
        policies.RequestIdPolicy(),
        policies.HeadersPolicy(),
        policies.UserAgentPolicy(sdk_moniker=USER_AGENT),
        policies.ProxyPolicy(),
        policies.ContentDecodePolicy(),
        policies.AsyncRedirectPolicy(),
        *middle,
        policies.CustomHookPolicy(),
        policies.SensitiveHeaderCleanupPolicy(),
    ]


class Polling(AsyncARMPolling):
    """Waits for a long-running operation on the clock, and gives up with a `TookTooLong` failure at the deadline.

    Where Azure gives no `Retry-After`, it asks every `interval` seconds.
    """

    def __init__(
        self, what: str, resource: str, clock: Clock, timeout_seconds: float, interval: float = POLL_SECONDS
    ) -> None:
        super().__init__(timeout=interval)
        self._what = what
        self._resource = resource
        self._clock = clock
        self._allowed = timeout_seconds
        self._started = clock.now()

    async def _delay(self) -> None:
        left = self._allowed - (self._clock.now() - self._started).total_seconds()
        if left <= 0:
            raise took_too_long(self._what, self._resource, self._allowed)
        await self._clock.sleep(min(self._extract_delay(), left))


async def wait_until(
    check: Callable[[], Any], what: str, resource: str, clock: Clock, timeout_seconds: float, interval: float
) -> Any:
    """Call `check` every `interval` seconds until it returns something other than None, and return that."""
    started = clock.now()
    while (result := await check()) is None:
        left = timeout_seconds - (clock.now() - started).total_seconds()
        if left <= 0:
            raise took_too_long(what, resource, timeout_seconds)
        await clock.sleep(min(interval, left))
    return result


async def _release(response: PipelineResponse[Any, Any] | None) -> None:
    """Give the connection of an unread answer back before waiting, so that waiting holds none."""
    close = getattr(response.http_response, "close", None) if response is not None else None
    if close is not None:
        await close()


def _label(request: PipelineRequest[Any]) -> str:
    """Method and path: the query may hold a signature."""
    return f"{request.http_request.method} {urlsplit(request.http_request.url).path}"
