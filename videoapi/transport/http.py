"""The HTTP transport. aiohttp's exceptions do not leave this module, because they can contain credentials."""

from __future__ import annotations

import asyncio
import inspect
from typing import Final

import aiohttp
import attrs
from aiohttp import hdrs
from yarl import URL

from videoapi.config import BaseUrl, Credentials, CredentialsSource
from videoapi.errors import ConfigurationError
from videoapi.protocol.outcome import Outcome, answered, no_response, streaming, truncated
from videoapi.protocol.redaction import redact_outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import NEVER, ErrorKind, Phase, Verdict
from videoapi.transport.connector import AttemptState, current_attempt
from videoapi.transport.fast_path import FastResponse, MalformedResponse, is_usable, send
from videoapi.transport.pool import ConnectionPool, Permits
from videoapi.transport.prewarm import describe_connect_error
from videoapi.transport.request_headers import RequestWriter
from videoapi.transport.response_body import CLOSED, TRANSPORT_ERRORS, ResponseBody, error_name, read_bounded

MAX_BODY: Final = 16 * 1024 * 1024
"""Maximum size of a decompressed response body of a single call, in bytes."""
_NO_CONNECTION: Final = "no connection of the pool came free in time (max_connections)"
_NO_STREAM: Final = (
    "no connection for a stream came free in time: open streams are limited to a quarter of max_connections, "
    "and each keeps its own until it is closed"
)


class Transport:
    """The HTTP transport: sends one attempt and returns its `Outcome`.

    Args:
        pool: The connection pool.
        base: The API's base URL.
        credentials: Fixed credentials, or a callable that returns them for each attempt.
    """

    def __init__(self, pool: ConnectionPool, base: BaseUrl, credentials: Credentials | CredentialsSource) -> None:
        self.pool = pool
        self._base = str(base)
        self._origin = base.origin
        self._writer = RequestWriter(self._base)
        self._credentials = credentials
        self._fixed = credentials.authorization if isinstance(credentials, Credentials) else None
        self._target: aiohttp.ClientRequest | None = None
        self._urls: dict[str, URL] = {}
        self.closed = False

    def check(self) -> aiohttp.ClientSession:
        """Return the session; raise ConfigurationError if the client is closed or belongs to another event loop."""
        if self.closed:
            raise ConfigurationError("The client is closed. Open a new one, or call it before aclose().")
        return self.pool.api()

    async def send(self, request: Request, deadline: float) -> Outcome:
        """Send one attempt of a request.

        The attempt timeout starts once a permit is acquired.

        Args:
            request: The request.
            deadline: The end of the call's `timeout`, on the loop's clock.

        Raises:
            ConfigurationError: If the client or its manager is closed or belongs to another event loop, or
                the credentials callable returned invalid credentials.
        """
        session, clock = self.check(), self.pool.now
        deadlines = self.pool.deadlines
        permits = self._stream_permits(request) if request.stream else self.pool.permits
        attempt, held, waited = AttemptState(), False, 0.0
        began = clock()
        limit = deadlines.start(deadline)
        try:
            held = permits.acquire_nowait()
            if not held:
                await permits.acquire()
                held = True
                session, waited = self.pool.api(), clock() - began
            deadlines.reschedule(limit, min(deadline, began + waited + request.options.attempt_timeout))
            outcome = await self._attempt(session, request, attempt, permits)
            # A stream keeps its permit until it is closed.
            held = outcome.stream is None
            return attrs.evolve(outcome, waited=waited) if waited else outcome
        except asyncio.CancelledError:
            if not limit.expired():
                if not (self.pool.closed and limit.not_cancelled()):
                    raise
                # Closing the pool cancels tasks that wait in it, for example for DNS, without any other error.
                return self._unless_closed(_timed_out(request, attempt, held))
        finally:
            deadlines.stop(limit)
            if held:
                permits.release()
        return self._unless_closed(_timed_out(request, attempt, held))

    def redact(self, outcome: Outcome) -> Outcome:
        """Remove the latest credentials from a streamed failure, in case a gateway echoed the request."""
        return redact_outcome(outcome, self._writer.authorization)

    def _stream_permits(self, request: Request) -> Permits:
        """Return the permits for a stream. Short ones have their own, so one can open while a long one is read."""
        return self.pool.short_stream_permits if request.route.short_stream else self.pool.stream_permits

    async def _attempt(
        self, session: aiohttp.ClientSession, request: Request, attempt: AttemptState, permits: Permits
    ) -> Outcome:
        authorization = self._fixed
        if authorization is None:
            authorization, session = await self._authorization(), self.pool.api()
        response: aiohttp.ClientResponse | FastResponse
        try:
            message = (
                self._writer.serialize(request, authorization)
                if self.pool.fast_path_allowed and is_usable(session)
                else None
            )
            if message is not None and self.pool.busy:
                # Yield once, so that requests created in the same loop iteration are written as a batch
                # (about 20 % faster).
                await asyncio.sleep(0)
            attempt.started = True
            if message is not None:
                origin, limit = self._origin_at(session), self.pool.connect_timeout
                response = await send(self.pool.connector, origin, limit, message, attempt)
            else:
                response = await self._send_through_session(session, request, authorization, attempt)
        except TRANSPORT_ERRORS as error:
            return self._unless_closed(_no_response(request, attempt, error))
        lengths = response.headers.getall(hdrs.CONTENT_LENGTH, ())
        if len(lengths) > 1 and len(set(lengths)) > 1:
            # aiohttp's pure-Python parser accepts this, but the end of the body is ambiguous (RFC 9112, 6.3).
            _discard(attempt, response)
            return no_response(request, Phase.SENT, ErrorKind.PROTOCOL, "the answer is no HTTP: it has two lengths")
        if response.status not in (200, 201):
            # Do this now: the last byte returns the connection to the pool, before the response is classified.
            attempt.prevent_reuse()
        if request.stream and response.status in (200, 201):
            assert isinstance(response, aiohttp.ClientResponse)
            return streaming(
                response.status, response.headers, ResponseBody(response, attempt, self.pool.deadlines, permits)
            )
        outcome = await self._read_response(request, attempt, response)
        return outcome if outcome.details is None else redact_outcome(outcome, authorization)

    async def _send_through_session(
        self, session: aiohttp.ClientSession, request: Request, authorization: str, attempt: AttemptState
    ) -> aiohttp.ClientResponse:
        url = self._url(request)
        token = current_attempt.set(attempt)
        try:
            return await session.request(
                request.method,
                url,
                data=request.body,
                headers=self._writer.headers(request, authorization),
                allow_redirects=False,
                proxy=self.pool.proxy_for(url),
                middlewares=self.pool.middlewares_for(request.method),
            )
        finally:
            current_attempt.reset(token)

    async def _read_response(
        self, request: Request, attempt: AttemptState, response: aiohttp.ClientResponse | FastResponse
    ) -> Outcome:
        status, headers = response.status, response.headers
        try:
            if self.pool.closed:
                raise aiohttp.ClientConnectionError("the connection was closed between head and body")
            content = response.content
            body = content.read_nowait() if content.is_eof() else await read_bounded(content, MAX_BODY)
            body = body if body is None or len(body) <= MAX_BODY else None
        except TRANSPORT_ERRORS as error:
            reason, body = f"the body broke ({error_name(error)})", None
        except BaseException:
            _discard(attempt, response)
            raise
        else:
            reason = f"the body is larger than {MAX_BODY // 1024 // 1024} MiB"
        if body is None:
            _discard(attempt, response)
            kind = ErrorKind.PROTOCOL if "larger" in reason else ErrorKind.CONNECTION
            return self._unless_closed(truncated(request, status, headers, reason, kind))
        try:
            outcome = answered(request, status, headers, body)
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

    def _unless_closed(self, outcome: Outcome) -> Outcome:
        """If the pool is closed, give that as the reason of an outcome, and rule out retries."""
        if not self.pool.closed:
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
            raise ConfigurationError(f"The path of {request.route.name} leads away from {self._origin}.")
        if request.path == request.route.template:
            self._urls[request.path] = url
        return url

    async def _authorization(self) -> str:
        assert not isinstance(self._credentials, Credentials)
        given = self._credentials()
        if inspect.isawaitable(given):
            given = await given
        if isinstance(given, tuple) and len(given) == 2:
            given = Credentials(*given)
        if not isinstance(given, Credentials):
            raise ConfigurationError("The credentials callable must return Credentials or (app_id, app_key).")
        return given.authorization


def _discard(attempt: AttemptState, response: aiohttp.ClientResponse | FastResponse) -> None:
    """Keep the connection from being reused, even if it is already back in the pool."""
    attempt.close()
    response.close()


def _no_response(request: Request, attempt: AttemptState, error: BaseException) -> Outcome:
    """Classify by phase, because the class of an exception does not say what the server received."""
    name = error_name(error)
    never_connected = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    may_have_sent = attempt.protocol is not None if attempt.connect_called else not never_connected
    if may_have_sent:
        if isinstance(error, aiohttp.ClientResponseError | MalformedResponse):
            # aiohttp's parser rejected the response; the server did not send the status in the exception.
            return no_response(request, Phase.SENT, ErrorKind.PROTOCOL, "the answer is no HTTP")
        if isinstance(error, TimeoutError):
            return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, "no answer came in time")
        return no_response(
            request, Phase.SENT, ErrorKind.CONNECTION, f"the connection broke before the answer ({name})"
        )
    return no_response(request, Phase.NOT_SENT, *describe_connect_error(error))


def _timed_out(request: Request, attempt: AttemptState, held: bool) -> Outcome:
    if not held:
        return no_response(
            request,
            Phase.NOT_SENT,
            ErrorKind.TIMEOUT,
            _NO_STREAM if request.stream else _NO_CONNECTION,
        )
    if attempt.protocol is None and (attempt.connect_called or not attempt.started):
        return no_response(request, Phase.NOT_SENT, ErrorKind.TIMEOUT, "no connection could be made in time")
    return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, "no whole answer came in time")
