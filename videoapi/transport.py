"""One exchange on the wire. aiohttp's exceptions end here: they carry credentials."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp
import attrs
from yarl import URL

from videoapi.config import BaseUrl, Credentials, CredentialsSource
from videoapi.connector import Exchange, exchange_now
from videoapi.errors import ConfigurationError
from videoapi.rules.outcome import Outcome, answered, cut_short, opened, unanswered
from videoapi.rules.routes import Request
from videoapi.rules.secrecy import concealed
from videoapi.rules.verdicts import NEVER, Kind, Phase, Verdict
from videoapi.session import Dropped, SessionManager
from videoapi.watchdog import Watchdog

MAX_BODY: Final = 16 * 1024 * 1024
"""Largest body of a single call, inflated, in bytes."""
READ_TIMEOUT: Final = 20.0
"""Longest silence within a streamed body, in seconds."""
_STALL_SECONDS: Final = 60.0
_STALL_BYTES: Final = 60 * 1024

_BROKEN: Final = (aiohttp.ClientError, Dropped, OSError, TimeoutError)


class BodyLost(Exception):
    """A streamed body broke; `reason` says how, in words that hold no secret, `rest` is what still came."""

    def __init__(self, reason: str, *, timed_out: bool = False, rest: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        self.rest = rest


class Body:
    """A response body that is still open; iterate over it once, then it closes itself."""

    __slots__ = ("_ended", "_exchange", "_permits", "_response", "_silence", "_watchdog", "headers", "status")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        exchange: Exchange,
        watchdog: Watchdog,
        permits: asyncio.Semaphore | None = None,
        silence: float = READ_TIMEOUT,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._exchange = exchange
        self._watchdog = watchdog
        self._permits = permits
        self._silence = silence
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come.

        Raises:
            BodyLost: The connection broke, fell silent, or came at less than 1 KiB/s for 60 s.
        """
        clock = asyncio.get_running_loop().time
        waited, received = 0.0, 0
        while True:
            began = clock()
            chunk = await self._read()
            if not chunk:
                await self._end()
                return
            waited += clock() - began
            received += len(chunk)
            if waited >= _STALL_SECONDS:
                if received < _STALL_BYTES:
                    await self.aclose()
                    raise BodyLost("the body came at less than 1 KiB/s", timed_out=True)
                waited, received = 0.0, 0
            yield chunk

    async def aclose(self) -> None:
        """Close the connection and give the permit back; does no harm after the end, nor twice."""
        if not self._ended:
            self.discard()
        self._release()

    def discard(self) -> None:
        """Let nobody use the connection again, even after the end: this was not plainly the answer."""
        self._exchange.close()
        self._response.close()

    async def _read(self) -> bytes:
        watch = self._watchdog.start(asyncio.get_running_loop().time() + self._silence)
        failure: BodyLost | None = None
        try:
            return await self._response.content.readany()
        except asyncio.CancelledError:
            if not watch.timed_out():
                await self.aclose()
                raise
            failure = BodyLost(f"the body fell silent for {self._silence:g} s", timed_out=True)
        except _BROKEN as error:
            failure = BodyLost(
                f"the body broke ({_name(error)})",
                timed_out=isinstance(error, TimeoutError),
                rest=_unread(self._response.content),
            )
        finally:
            self._watchdog.stop(watch)
        await self.aclose()
        raise failure

    async def _end(self) -> None:
        self._ended = True
        self._response.release()
        self._release()

    def _release(self) -> None:
        if self._permits is not None:
            self._permits.release()
            self._permits = None


class Transport:
    """Sends a request once, and tells what became of it.

    Args:
        manager: The connections.
        base: The API's address.
        credentials: Fixed ones, or a callable that is asked at each attempt.
    """

    def __init__(self, manager: SessionManager, base: BaseUrl, credentials: Credentials | CredentialsSource) -> None:
        self.manager = manager
        self._base = str(base)
        self._origin = base.origin
        self._credentials = credentials
        self._fixed = credentials.authorization if isinstance(credentials, Credentials) else None
        self._login = self._fixed or ""
        self._urls: dict[str, URL] = {}
        self.closed = False

    def check(self) -> None:
        """Raise ConfigurationError where the client is closed or belongs to another event loop."""
        if self.closed:
            raise ConfigurationError("The client is closed. Open a new one, or call it before aclose().")
        self.manager.api()

    async def send(self, request: Request, deadline: float) -> Outcome:
        """Send a request once.

        The permit is waited for before the attempt's own limit begins to run.

        Args:
            request: What to send.
            deadline: When the call's `timeout` ends, on the loop's clock.

        Raises:
            ConfigurationError: The manager is closed or of another loop, or the credentials callable
                returned none.
        """
        self.check()
        loop = asyncio.get_running_loop()
        permits = self.manager.stream_permits if request.stream else self.manager.permits
        began = loop.time()
        watch = self.manager.watchdog.start(deadline)
        held = False
        exchange = Exchange()
        try:
            await permits.acquire()
            held = True
            sent = loop.time()
            self.manager.watchdog.move(watch, min(deadline, sent + request.options.attempt_timeout))
            outcome = await self._exchange(request, exchange, permits)
            # A stream keeps its permit until it is closed.
            held = outcome.stream is None
            return _waited(outcome, sent - began)
        except asyncio.CancelledError:
            if not watch.timed_out():
                if not (self.manager.closed and watch.undisturbed()):
                    raise
                # Closing the connections cancels what waits in them, such as for a name, without a word.
                return self._unless_closed(_timed_out(request, exchange, held))
        finally:
            self.manager.watchdog.stop(watch)
            if held:
                permits.release()
        return _timed_out(request, exchange, held)

    def conceal(self, outcome: Outcome) -> Outcome:
        """Strike the latest credentials out of a streamed failure, where a gateway repeated what it was sent."""
        return concealed(outcome, self._login)

    async def _exchange(self, request: Request, exchange: Exchange, permits: asyncio.Semaphore) -> Outcome:
        login = self._login = self._fixed or await self._authorization()
        headers = self._headers(request, login)
        # Asked again: the manager may have been closed while the permit was waited for.
        session = self.manager.api()
        exchange.begun = True
        url = self._url(request)
        token = exchange_now.set(exchange)
        try:
            response = await session.request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                proxy=self.manager.proxy_for(url),
            )
        except _BROKEN as error:
            return self._unless_closed(_no_answer(request, exchange, error))
        finally:
            exchange_now.reset(token)
        if response.status not in (200, 201):
            # Now, as the pool gets it back with the last byte, before anybody has judged the answer.
            exchange.spoil()
        if request.stream and response.status in (200, 201):
            return opened(response.status, response.headers, Body(response, exchange, self.manager.watchdog, permits))
        return concealed(await self._answer(request, exchange, response), login)

    async def _answer(self, request: Request, exchange: Exchange, response: aiohttp.ClientResponse) -> Outcome:
        status, headers = response.status, response.headers
        try:
            body = await read_bounded(response, MAX_BODY)
        except asyncio.CancelledError:
            exchange.close()
            response.close()
            raise
        except _BROKEN as error:
            reason, body = f"the body broke ({_name(error)})", None
        else:
            reason = f"the body is larger than {MAX_BODY // 1024 // 1024} MiB"
        if body is None:
            exchange.close()
            response.close()
            kind = Kind.PROTOCOL if "larger" in reason else Kind.CONNECTION
            return self._unless_closed(cut_short(request, status, headers, reason, kind))
        outcome = answered(request, status, headers, body)
        if outcome.verdict is not Verdict.DONE:
            # An answer that slipped in unasked would shift every later answer of this connection by one.
            exchange.close()
            response.close()
        return outcome

    def _unless_closed(self, outcome: Outcome) -> Outcome:
        """Say so where a call broke because the connections were closed, and let it not be made again."""
        if not self.manager.closed:
            return outcome
        judgement = attrs.evolve(outcome.judgement, kind=Kind.CONNECTION, again=NEVER)
        return attrs.evolve(outcome, judgement=judgement, reason="the client was closed meanwhile")

    def _headers(self, request: Request, authorization: str) -> dict[str, str]:
        headers = {
            "Authorization": authorization,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.headers:
            headers.update(_checked(request.headers))
        return headers

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


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Return what came before the connection broke: aiohttp has it, and hands it out no more.

    There is no public way to it. Where aiohttp changes its mind, a resumed download asks for a few
    bytes once more.
    """
    buffers = getattr(content, "_buffer", ())
    return b"".join(buffers)[getattr(content, "_buffer_offset", 0) :]


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Read a body of at most `limit` bytes, inflated; None where it is larger."""
    content = response.content
    body = await content.readany()
    if not body or content.at_eof():
        return body if len(body) <= limit else None
    parts, size = [body], len(body)
    while chunk := await content.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return None
    return b"".join(parts)


def _no_answer(request: Request, exchange: Exchange, error: BaseException) -> Outcome:
    """Judge by the phase, as the class of an exception does not say what the server saw."""
    name = _name(error)
    never_connected = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    left = exchange.protocol is not None if exchange.asked else not never_connected
    if left:
        if isinstance(error, aiohttp.ClientResponseError):
            # aiohttp's parser refused the answer; the status it names is its own invention.
            return unanswered(request, Phase.SENT, Kind.PROTOCOL, "the answer is no HTTP")
        if isinstance(error, TimeoutError):
            return unanswered(request, Phase.SENT, Kind.TIMEOUT, "no answer came in time")
        return unanswered(request, Phase.SENT, Kind.CONNECTION, f"the connection broke before the answer ({name})")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return unanswered(request, Phase.NOT_SENT, Kind.CERTIFICATE, "the server's certificate is not trusted")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return unanswered(request, Phase.NOT_SENT, Kind.CONNECTION, "the host's name does not resolve")
    return unanswered(request, Phase.NOT_SENT, Kind.CONNECTION, f"no connection could be made ({name})")


def _name(error: BaseException) -> str:
    """Name the class of what aiohttp raised, never its text, which may hold a header or a URL."""
    return str(error) if isinstance(error, Dropped) else type(error).__name__


def _timed_out(request: Request, exchange: Exchange, held: bool) -> Outcome:
    if not held:
        return unanswered(
            request,
            Phase.NOT_SENT,
            Kind.TIMEOUT,
            "no connection of the pool came free in time (max_connections)",
        )
    if exchange.protocol is None and (exchange.asked or not exchange.begun):
        return unanswered(request, Phase.NOT_SENT, Kind.TIMEOUT, "no connection could be made in time")
    return unanswered(request, Phase.SENT, Kind.TIMEOUT, "no whole answer came in time")


def _waited(outcome: Outcome, seconds: float) -> Outcome:
    return attrs.evolve(outcome, waited=seconds) if seconds > 0.001 else outcome


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Refuse what aiohttp would refuse only after a connection was made."""
    for name, value in headers.items():
        if any(character in "\r\n\0" for character in f"{name}{value}"):
            raise ConfigurationError(f"Header {name!r} holds a line end or NUL.")
        if name.lower() == "authorization":
            raise ConfigurationError("A middleware must not set Authorization; give `credentials=` instead.")
    return dict(headers)
