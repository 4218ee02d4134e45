"""The HTTP transport. aiohttp's exceptions do not leave this package, because they can contain credentials."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp
import attrs
from aiohttp import hdrs
from yarl import URL

from videoapi.config import BaseUrl
from videoapi.errors import ConfigurationError
from videoapi.protocol.classify import BodyKind, classify_response
from videoapi.protocol.outcome import Outcome, answered, no_response, redirect_reason, streaming, truncated
from videoapi.protocol.redaction import strip_frames
from videoapi.protocol.routes import Request
from videoapi.protocol.types import NEVER, ErrorKind, Phase, Verdict
from videoapi.transport import fast_path
from videoapi.transport.attempt import Attempt, SlotExpired, current_attempt
from videoapi.transport.deadlines import CLOSED, DeadlineTimer
from videoapi.transport.failures import (
    TRANSPORT_ERRORS,
    MalformedResponse,
    describe_connect,
    describe_cut,
    describe_lost,
    never_connected,
    through,
)
from videoapi.transport.fast_path import FastResponse
from videoapi.transport.permits import Permits
from videoapi.transport.pool import ConnectionPool
from videoapi.transport.request_headers import RequestWriter
from videoapi.transport.response_body import ResponseBody, read_bounded

log: logging.Logger = logging.getLogger(__name__)

_CLOSED: Final = "The client is closed. Open a new one, or call it before aclose()."
MAX_BODY: Final = 16 * 1024 * 1024
"""Maximum size of a decompressed response body of a single call, in bytes."""


class Transport:
    """The HTTP transport: sends one attempt and returns its `Outcome`.

    Args:
        pool: The connection pool.
        base: The API's base URL.
        timer: Enforces the deadlines of this client's calls.
        writer: Writes the headers of the requests.
    """

    def __init__(self, pool: ConnectionPool, base: BaseUrl, timer: DeadlineTimer, writer: RequestWriter) -> None:
        self.pool = pool
        self._base = str(base)
        self._origin = base.origin
        self.host: str = base.host
        self._timer = timer
        self._writer = writer
        self._target: aiohttp.ClientRequest | None = None
        self._urls: dict[str, URL] = {}
        self._warned = False

    def check(self) -> aiohttp.ClientSession:
        """Return the session; raise ConfigurationError if the client is closed or belongs to another event loop."""
        if self._timer.closed:
            raise ConfigurationError(_CLOSED)
        return self.pool.api()

    def permits_for(self, request: Request) -> Permits:
        """Return the permits for a request. Streams that are opened while another one is read have their own."""
        if not request.stream:
            return self.pool.permits
        if request.route.inner_stream:
            return self.pool.inner_stream_permits
        return self.pool.short_stream_permits if request.route.short_stream else self.pool.stream_permits

    async def send(self, request: Request, attempt: Attempt) -> Outcome:
        """Send an attempt, whose permit is held, and release the permit; a stream keeps it until it is closed.

        Raises:
            ConfigurationError: If a header of a middleware is not allowed.
        """
        limit, deadline = attempt.limit, attempt.deadline
        ends = min(deadline, attempt.began + request.options.attempt_timeout)
        if limit.at != ends:
            self._timer.reschedule(limit, ends)
        held = True
        try:
            outcome = await self._attempt(request, attempt)
            held = outcome.stream is None
            return outcome
        except BaseException as error:
            strip_frames(error)
            if not (isinstance(error, asyncio.CancelledError) and limit.expired()):
                raise
        finally:
            if limit.at != deadline:
                self._timer.reschedule(limit, deadline)
            if held:
                attempt.permits.release()
        return self._unless_closed(self._timed_out(request, attempt, ends))

    async def _attempt(self, request: Request, attempt: Attempt) -> Outcome:
        if self._timer.closed:
            raise ConfigurationError(_CLOSED)
        session = self.pool.session
        response: aiohttp.ClientResponse | FastResponse | None = None
        failure: Outcome | None = None
        try:
            fast = self.pool.fast_path
            if fast is None:
                fast = await self.pool.check_fast_path()
            message = None
            if fast and request.method != "HEAD" and fast_path.is_usable(session):
                message = self._writer.serialize(request, attempt.credentials)
            if message is not None and self.pool.busy:
                # Yield once, so that requests created in the same loop iteration are written as a batch
                # (about 20 % faster).
                await asyncio.sleep(0)
            attempt.started = True
            if message is not None:
                origin, limit = self._origin_at(session), self.pool.connect_timeout
                response = await fast_path.send(self.pool.connector, origin, limit, message, attempt)
            else:
                if request.fence is not None:
                    self._warn_of_weak_fence()
                response = await self._send_through_session(session, request, attempt)
        except SlotExpired:
            attempt.expired = True
            failure = no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "")
        except TRANSPORT_ERRORS as error:
            failure = self._no_response(request, attempt, error)
        if response is None:
            assert failure is not None
            # Outside of the `except`, so that nothing references aiohttp's exception.
            return self._unless_closed(failure)
        lengths = response.headers.getall(hdrs.CONTENT_LENGTH, ())
        if len(lengths) > 1 and len(set(lengths)) > 1:
            # aiohttp's pure-Python parser accepts this, but the end of the body is ambiguous (RFC 9112, 6.3).
            _discard(attempt, response)
            return no_response(request, Phase.SENT, ErrorKind.PROTOCOL, "the response is not valid HTTP: two lengths")
        if response.status not in (200, 201):
            # Do this now: the last byte returns the connection to the pool, before the response is classified.
            attempt.prevent_reuse()
        if request.stream and response.status in (200, 201):
            assert isinstance(response, aiohttp.ClientResponse)
            body = ResponseBody(response, attempt, self._timer, attempt.permits)
            return streaming(response.status, response.headers, body)
        outcome = await self._read_response(request, attempt, response)
        if outcome.details is None:
            return outcome
        if outcome.classification.kind is ErrorKind.PROXY:
            return attrs.evolve(outcome, reason=self._by_proxy(request))
        if 300 <= response.status <= 399:
            reason = redirect_reason(response.headers, attempt.credentials, self._url(request))
            return attrs.evolve(outcome, reason=reason)
        return outcome

    def _warn_of_weak_fence(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "The lease of this run is checked before aiohttp's session writes a create, not as it is written: the "
                "calls do not use the fast path (because of a proxy, aiohttp middlewares, tracing or a patched "
                "session). If this process is stopped in between for longer than its lease, a room can exist twice."
            )

    async def _send_through_session(
        self, session: aiohttp.ClientSession, request: Request, attempt: Attempt
    ) -> aiohttp.ClientResponse:
        url = self._url(request)
        token = current_attempt.set(attempt)
        try:
            return await session.request(
                request.method,
                url,
                data=request.body,
                headers=self._writer.headers(request, attempt.credentials),
                allow_redirects=False,
                proxy=self.pool.proxy_for(url),
                middlewares=self.pool.middlewares_for(request.method),
                skip_auto_headers=(hdrs.CONTENT_TYPE,),
            )
        finally:
            current_attempt.reset(token)

    async def _read_response(
        self, request: Request, attempt: Attempt, response: aiohttp.ClientResponse | FastResponse
    ) -> Outcome:
        status, headers, kind, reason = response.status, response.headers, ErrorKind.CONNECTION, ""
        try:
            if self.pool.closed:
                raise aiohttp.ClientConnectionError(CLOSED)
            content = response.content
            body = content.read_nowait() if content.is_eof() else await read_bounded(content, MAX_BODY)
            body = body if body is None or len(body) <= MAX_BODY else None
        except TRANSPORT_ERRORS as error:
            reason, body = describe_cut(error, self.host), None
        except BaseException:
            _discard(attempt, response)
            raise
        else:
            if body is None:
                kind, reason = ErrorKind.PROTOCOL, f"the body is larger than {MAX_BODY // 1024 // 1024} MiB"
        if body is None:
            _discard(attempt, response)
            return self._unless_closed(truncated(request, status, headers, reason, kind))
        try:
            outcome = answered(request, status, headers, body, attempt.credentials)
        except BaseException:
            # A check added by a middleware has raised.
            response.close()
            raise
        if outcome.classification.verdict is Verdict.DONE:
            response.release()
            return outcome
        # An unsolicited response would shift all later responses on this connection by one.
        _discard(attempt, response)
        return self._unless_closed(outcome) if outcome.verdict is Verdict.UNKNOWN else outcome

    def _no_response(self, request: Request, attempt: Attempt, error: BaseException) -> Outcome:
        """Classify by phase, because the class of an exception does not say what the server received."""
        if isinstance(error, aiohttp.ClientHttpProxyError):
            classification = classify_response(request.route.operation, 407, BodyKind.NONE)
            reason = describe_connect(error, self.host, None)[1]
            return Outcome(classification=classification, phase=Phase.NOT_SENT, status=error.status, reason=reason)
        if attempt.may_have_sent and (attempt.connect_called or not never_connected(error)):
            if isinstance(error, aiohttp.ClientResponseError | MalformedResponse):
                # aiohttp's parser rejected the response; the server did not send the status in the exception.
                reason = f"the response from {self.host} is not valid HTTP"
                return no_response(request, Phase.SENT, ErrorKind.PROTOCOL, reason)
            if isinstance(error, TimeoutError):
                return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, f"no response from {self.host} in time")
            if not attempt.connect_called and type(error) is aiohttp.ClientConnectionError:
                # aioresponses replaced the session; its text names the request, and no credentials.
                reason = f"no mocked response: {error}"
            else:
                reason = describe_lost(error, self.host)
            return no_response(request, Phase.SENT, ErrorKind.CONNECTION, reason)
        proxy = self.pool.proxy_name(self._url(request))
        kind, reason, advice = describe_connect(error, self.host, self.pool.connect_seconds, proxy)
        return attrs.evolve(no_response(request, Phase.NOT_SENT, kind, reason), advice=advice)

    def _by_proxy(self, request: Request) -> str:
        proxy = self.pool.proxy_name(self._url(request))
        by = "a network gateway" if proxy is None else f"the proxy {proxy}"
        return f"{by} rejected the request to {self.host}"

    def _timed_out(self, request: Request, attempt: Attempt, ends: float) -> Outcome:
        if ends < attempt.deadline:
            limit = f"{request.options.attempt_timeout:g} s (attempt_timeout)"
        else:
            limit = request.timeout_text
        if attempt.may_have_sent:
            reason = f"no complete response from {self.host} within {limit}"
            return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, reason)
        where = through(self.host, self.pool.proxy_name(self._url(request)))
        reason = f"cannot connect to {where} within {limit}"
        return no_response(request, Phase.NOT_SENT, ErrorKind.TIMEOUT, reason)

    def _unless_closed(self, outcome: Outcome) -> Outcome:
        """If the client is closed, give that as the reason of an outcome, and rule out retries."""
        if not (self._timer.closed or self.pool.closed):
            return outcome
        classification = attrs.evolve(outcome.classification, kind=ErrorKind.CONNECTION, max_retries=NEVER)
        return attrs.evolve(outcome, classification=classification, reason=CLOSED)

    def _origin_at(self, session: aiohttp.ClientSession) -> aiohttp.ClientRequest:
        """Return the request by which the pool finds connections to the API."""
        if self._target is None or self._target.session is not session:
            loop = asyncio.get_running_loop()
            self._target = aiohttp.ClientRequest("GET", URL(self._base), loop=loop, session=session)
        return self._target

    def _url(self, request: Request) -> URL:
        url = self._urls.get(request.path)
        if url is not None:
            return url
        url = URL(self._base + request.path, encoded=True)
        if str(url.origin()) != self._origin:
            raise ConfigurationError(f"The path of {request.route.name} leads away from {self._origin}. Not sent.")
        if request.path == request.route.template:
            self._urls[request.path] = url
        return url


def _discard(attempt: Attempt, response: aiohttp.ClientResponse | FastResponse) -> None:
    """Keep the connection from being reused, even if it is already back in the pool."""
    attempt.close()
    response.close()
