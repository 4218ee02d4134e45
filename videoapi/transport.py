"""One exchange on the wire. aiohttp's exceptions end here: they carry credentials."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Final

import aiohttp
import attrs
from yarl import URL

from videoapi.body import BROKEN, Body, name_of, read_bounded
from videoapi.config import BaseUrl, Credentials, CredentialsSource
from videoapi.connector import Exchange, exchange_now
from videoapi.errors import ConfigurationError
from videoapi.rules.outcome import Outcome, answered, cut_short, opened, unanswered
from videoapi.rules.routes import Request
from videoapi.rules.secrecy import concealed
from videoapi.rules.verdicts import NEVER, Kind, Phase, Verdict
from videoapi.session import SessionManager

MAX_BODY: Final = 16 * 1024 * 1024
"""Largest body of a single call, inflated, in bytes."""
_NO_CONNECTION: Final = "no connection of the pool came free in time (max_connections)"
_NO_STREAM: Final = (
    "no connection for a stream came free in time: open streams are limited to a quarter of max_connections, "
    "and each keeps its own until it is closed"
)


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
        permits = self._permits_for(request)
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

    def _permits_for(self, request: Request) -> asyncio.Semaphore:
        """Return the permits it takes: a call inside a stream, and a brief stream inside a long one, find some."""
        if not request.stream:
            return self.manager.permits
        return self.manager.brief_permits if request.route.brief else self.manager.stream_permits

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
        except BROKEN as error:
            return self._unless_closed(_no_answer(request, exchange, error))
        finally:
            exchange_now.reset(token)
        if len(set(response.headers.getall("Content-Length", ()))) > 1:
            # aiohttp's parser in Python lets this pass; where the body ends is anybody's guess (RFC 9112, 6.3).
            exchange.close()
            response.close()
            return unanswered(request, Phase.SENT, Kind.PROTOCOL, "the answer is no HTTP: it has two lengths")
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
        except BROKEN as error:
            reason, body = f"the body broke ({name_of(error)})", None
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


def _no_answer(request: Request, exchange: Exchange, error: BaseException) -> Outcome:
    """Judge by the phase, as the class of an exception does not say what the server saw."""
    name = name_of(error)
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


def _timed_out(request: Request, exchange: Exchange, held: bool) -> Outcome:
    if not held:
        return unanswered(
            request,
            Phase.NOT_SENT,
            Kind.TIMEOUT,
            _NO_STREAM if request.stream else _NO_CONNECTION,
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
