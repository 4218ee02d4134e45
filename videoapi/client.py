"""The client: connects the parts of the library and contains no logic of its own."""

from __future__ import annotations

import copy
import inspect
import math
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, overload

import attrs

from videoapi.config import (
    DEFAULT_BASE_URL,
    BaseUrl,
    Credentials,
    CredentialsSource,
    Secret,
    hidden,
    host_rules,
    one_or_more,
    positive_seconds,
    recording_login,
    source_of,
)
from videoapi.errors import ConfigurationError, ConnectionFailed
from videoapi.events import Listener
from videoapi.pipeline.accounts import ClientAccounts
from videoapi.pipeline.credentials import CredentialsProvider
from videoapi.pipeline.gate import AccountGates, Gate, checked_gate
from videoapi.pipeline.middleware import Middleware
from videoapi.pipeline.pipeline import Pipeline
from videoapi.pipeline.rate_limit import parse_rate
from videoapi.pipeline.reporting import Reporter
from videoapi.pipeline.retry import Retries
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.redaction import strip_frames
from videoapi.protocol.response import OperationName, Response
from videoapi.protocol.routes import Options
from videoapi.session import SessionManager
from videoapi.stats import ClientStats, stats_of
from videoapi.telemetry.settings import Telemetry, recorder_for
from videoapi.transport.deadlines import CLOSED
from videoapi.transport.http import Transport
from videoapi.transport.prewarm import open_connections
from videoapi.transport.request_headers import RequestWriter

if TYPE_CHECKING:
    from videoapi.creation.creator import Creator
    from videoapi.models.cdr import CallRecord
    from videoapi.resources.archives import Archives
    from videoapi.resources.dialin import DialIns
    from videoapi.resources.reports import Reports
    from videoapi.resources.rooms import Rooms
    from videoapi.resources.tokens import Tokens

T = TypeVar("T")
_YES: Final = frozenset({"1", "true", "yes", "on"})


class _Namespace(Generic[T]):
    """A property that is created at first use; on the class it is the namespace's class, for autospecs and editors."""

    def __init__(self, home: tuple[str, str], create: Callable[[Any], T]) -> None:
        self._home, self._create = home, create
        self._name = create.__name__
        self.__doc__ = create.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> type[T]: ...
    @overload
    def __get__(self, client: VideoClient, owner: type) -> T: ...
    def __get__(self, client: VideoClient | None, owner: type) -> T | type[T]:
        if client is None:
            module, name = self._home
            kind: type[T] = getattr(import_module(f"videoapi.resources.{module}"), name)
            return kind
        # Stored under the same name, so that this is called once per client.
        created = client.__dict__[self._name] = self._create(client)
        return created


def namespace(module: str, name: str) -> Callable[[Callable[[Any], T]], _Namespace[T]]:
    """Decorate the creation of a namespace whose class is in that module of `resources`."""
    return lambda create: _Namespace((module, name), create)


class VideoClient:
    """A client for the rooms, join tokens, call records and recordings of one project.

    For servers only: the APP_KEY grants full control of your project, so never put it in client-side
    code (browser, mobile, desktop).

    Use it with `async with`, or call `aclose()` when done. Thousands of tasks of one event loop can
    share a client.

    Args:
        app_id: The project's APP_ID; by default VIDEOAPI_APP_ID.
        app_key: The project's APP_KEY; by default VIDEOAPI_APP_KEY.
        base_url: The API's URL with its version path; by default VIDEOAPI_BASE_URL if set, otherwise
            `https://api.enablex.io/video/v2`.
        credentials: `Credentials`, or a callable that returns `(app_id, app_key)` or an awaitable of it
            and is called for each attempt. Use it instead of `app_id` and `app_key`.
        session: A `SessionManager` to share with other clients. The code that creates it must close it.
        timeout: Limit for a single call, including its retries, in seconds; by default 40 for a create
            and 90 otherwise. Bulk runs, streams and downloads have their own `timeout=`.
        attempt_timeout: Limit for one attempt, in seconds.
        retry: When and how often to retry.
        middleware: `async def middleware(request, send)`, run once per call; the first is the outermost.
        listeners: Plain functions, called with an event for each attempt and each call.
        recording_auth: User and password for the project's recordings, not the APP_ID and APP_KEY; by
            default VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD.
        recording_hosts: Hosts that recordings may be fetched from, besides the API's own: a host name,
            or a suffix such as `.enablex.io`.
        proxy: URL of an HTTP proxy; by default VIDEOAPI_PROXY.
        trust_env: Whether to use proxies from the environment; `.netrc` is never read.
        ca_file: PEM file of the CAs to trust instead of the system's; by default VIDEOAPI_CA_FILE.
        ssl_context: TLS settings of your own, instead of `ca_file`.
        headers: Headers for every API request, such as a correlation ID.
        allow_http: Whether to allow plain http for hosts other than loopback; by default VIDEOAPI_ALLOW_HTTP.
        settle: Settle time in seconds, 75 by default: how long a request can still take effect after its
            connection broke, and the room list can take to show it. Until then, a missing room proves
            nothing. Set a lower value only if you know the service's limit.
        rate: Maximum rate of requests to this account in this process, such as `600/min`; by default none. With
            `gate`, in all processes together. The worst second can have about 10 % more: if the service counts
            strictly, set a rate 10 % below its limit.
        gate: A gate that shares `rate`, and the pauses after HTTP 429, with other processes: a `RedisGate`, or a `Gate`
            of your own.
        telemetry: Whether to report spans and metrics to OpenTelemetry, or a `Telemetry` with the settings; by default
            true if the extra `videoapi[otel]` is installed.

    Raises:
        ConfigurationError: If an argument is missing, invalid or contradicts another; the message names it.

    Source: docs/contract.md 1, 1.1, 5.4.
    """

    def __init__(
        self,
        app_id: str | None = None,
        app_key: str | Secret | None = None,
        base_url: str | None = None,
        *,
        credentials: CredentialsSource | Credentials | None = None,
        session: SessionManager | None = None,
        timeout: float | None = None,
        attempt_timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        middleware: Sequence[Middleware] | Middleware = (),
        listeners: Sequence[Listener] | Listener = (),
        recording_auth: tuple[str, str] | None = None,
        recording_hosts: Sequence[str] | str = (),
        proxy: str | Secret | None = None,
        trust_env: bool = False,
        ca_file: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool | None = None,
        settle: float | None = None,
        rate: str | None = None,
        gate: Gate | AccountGates | None = None,
        telemetry: Telemetry | bool | None = None,
    ) -> None:
        # Error reporters store the variables of the frames of an error.
        app_key, proxy = hidden(app_key), hidden(proxy)
        if allow_http is None:
            allow_http = os.environ.get("VIDEOAPI_ALLOW_HTTP", "").lower() in _YES
        if base_url is None:
            base_url = os.environ.get("VIDEOAPI_BASE_URL", DEFAULT_BASE_URL)
        try:
            credentials_source = source_of(app_id, app_key, credentials)
            self._recording = recording_login(recording_auth)
            self._base = BaseUrl.parse(base_url, allow_http=allow_http)
            writer = RequestWriter(str(self._base), headers or {})
        except ConfigurationError as error:
            strip_frames(error)
            raise
        finally:
            # Also if they are invalid.
            del credentials, recording_auth, base_url, headers
        self._allow_http = allow_http
        if session is not None and not isinstance(session, SessionManager):
            raise ConfigurationError(f"session must be a SessionManager, not {type(session).__name__}.")
        if session is not None and (proxy is not None or trust_env or ca_file is not None or ssl_context is not None):
            raise ConfigurationError("Set proxy, trust_env, ca_file and ssl_context on the shared SessionManager.")
        reporter = Reporter(self._base.host, one_or_more("listeners", listeners))
        if any(_is_async(listener) for listener in reporter.listeners):
            raise ConfigurationError("listeners must be plain functions: they are not awaited.")
        self._recording_hosts = host_rules(recording_hosts)
        self._settle = positive_seconds("settle", settle)
        rate = checked_gate(gate, rate)
        recorder = recorder_for(telemetry, self._base)
        self._owned = session is None
        self._manager = session or SessionManager(
            proxy=proxy, trust_env=trust_env, ca_file=ca_file, ssl_context=ssl_context
        )
        self._timer = self._manager.new_timer()
        self._accounts = ClientAccounts(
            self._manager.accounts, self._base.origin, 0.0 if rate is None else parse_rate(rate), gate
        )
        provider = CredentialsProvider(credentials_source)
        if provider.fixed is not None:
            self._accounts.use(provider.fixed.app_id)
        self._pipeline = Pipeline(
            retries=Retries(
                transport=Transport(self._manager.pool, self._base, self._timer, writer),
                accounts=self._accounts,
                credentials=provider,
                clock=self._manager.clock,
                reporter=reporter,
            ),
            timer=self._timer,
            pool=self._manager.pool,
            options=_options(Options(), timeout, attempt_timeout, retry),
            middleware=one_or_more("middleware", middleware),
            recorder=recorder,
        )
        if recorder is not None:
            recorder.watch(self)

    def __repr__(self) -> str:
        if not hasattr(self, "_base"):
            # In a traceback of its own constructor.
            return "<VideoClient>"
        return f"<VideoClient {self._base}>"

    @property
    def base_url(self) -> str:
        """The base URL of the API."""
        return str(self._base)

    @namespace("rooms", "Rooms")
    def rooms(self) -> Rooms:
        """Create, read, update and delete rooms."""
        from videoapi.resources.rooms import Rooms

        return Rooms(self._pipeline, self._creator)

    @cached_property
    def _creator(self) -> Creator:
        from videoapi.creation.creator import DEFAULT_SETTLE, Creator

        return Creator(self._settle or DEFAULT_SETTLE)

    @namespace("tokens", "Tokens")
    def tokens(self) -> Tokens:
        """Issue join tokens."""
        from videoapi.resources.tokens import Tokens

        return Tokens(self._pipeline)

    @namespace("reports", "Reports")
    def cdr(self) -> Reports[CallRecord]:
        """Stream call detail records."""
        from videoapi.resources.reports import cdr

        return cdr(self._pipeline)

    @namespace("archives", "Archives")
    def archives(self) -> Archives:
        """Stream archive records and download their files."""
        from videoapi.downloads import Downloader
        from videoapi.resources.archives import Archives

        downloader = Downloader(
            self._manager.pool,
            self._manager.clock,
            self._timer,
            base=self._base,
            credentials=self._recording,
            hosts=self._recording_hosts,
            allow_http=self._allow_http,
        )
        return Archives(self._pipeline, downloader)

    @namespace("dialin", "DialIns")
    def dialin(self) -> DialIns:
        """Read the account's dial-in numbers."""
        from videoapi.resources.dialin import DialIns

        return DialIns(self._pipeline)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        operation: OperationName,
    ) -> Response:
        """Send a request to a route that only a white-label has, with the retries, limits and events of every call.

        Args:
            method: HTTP method.
            path: Path below the base URL.
            json: The body, encoded as JSON; None for no body.
            params: Query parameters.
            headers: Headers for this request.
            operation: `read`, `update`, `delete` or `create`. The client repeats a `create` only if it was certainly
                not executed.

        Returns:
            The successful response.

        Raises:
            ValidationError: If the path leaves the base URL, or the operation or the body is invalid.
            VideoAPIError: If the call fails. The class says how, `retryable` whether a retry can succeed.
        """
        from videoapi.resources import custom

        sending = custom.send(
            self._pipeline, method, path, json=json, params=params, headers=headers, operation=operation
        )
        # They may be secrets, and error reporters store the variables of the frames of an error.
        del headers
        return await sending

    def stats(self) -> ClientStats:
        """Return the current state of the client: connections, permits, waits, retry budget, creates in doubt.

        Nothing is sent. You can call it before the first call, after `aclose()`, and from any thread.
        """
        creator: Creator | None = self.__dict__.get("_creator")
        doubts, settling = (0, 0) if creator is None else (creator.memory.in_doubt, creator.settling)
        return stats_of(self._pipeline, self._manager.pool, doubts=doubts, settling=settling)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> VideoClient:
        """Return a view of this client with other limits. It shares the connections; closing it does nothing.

        Args:
            timeout: Limit for a single call, and for each item of a bulk run, in seconds.
            attempt_timeout: Limit for one attempt, in seconds.
            retry: When and how often to retry.

        Raises:
            ConfigurationError: If a value is out of range.
        """
        # All views share one creator, so it must exist before the copy.
        _ = self._creator
        view = copy.copy(self)
        for name in ("rooms", "tokens", "cdr", "archives", "dialin"):
            view.__dict__.pop(name, None)
        view._owned = False
        view._is_view = True
        options = _options(self._pipeline.options, timeout, attempt_timeout, retry)
        view._pipeline = attrs.evolve(self._pipeline, options=options)
        return view

    async def warm_up(self, connections: int = 1) -> int:
        """Open connections and prepare what the first calls need, so that they are as fast as later ones.

        Call it before traffic arrives: its imports block the event loop for about 0.1 s. It opens TCP and TLS
        connections but sends no API request. A connection that is idle for longer than the manager's
        `keepalive` is closed as usual.

        Args:
            connections: Number of connections to have open, up to `max_connections`; 0 only runs the imports.

        Returns:
            The number of open connections, including those that were already idle. It is lower than requested
            if some could not be opened or calls are in progress.

        Raises:
            ConfigurationError: If the client is closed or of another event loop, or the number is out of range.
            ConnectionFailed: If none could be opened within `attempt_timeout`. Calls can still be made.
        """
        self._pipeline.retries.transport.check()
        _within("connections", connections, self._manager.pool.max_connections)
        from videoapi.resources import prewarm

        prewarm.prepare()
        options = self._pipeline.options
        limits = {"attempt_timeout": options.attempt_timeout, "timeout": options.timeout or math.inf}
        name = min(limits, key=limits.__getitem__)
        opening = partial(open_connections, self._manager.pool, str(self._base), connections, limits[name], name)
        try:
            return await self._pipeline.until_closed(opening)
        except ConfigurationError:
            if not (self._timer.closed or self._manager.closed):
                raise
            raise ConnectionFailed(f"No connection was opened: {CLOSED}. Not sent.") from None

    _is_view = False

    async def aclose(self) -> None:
        """Close the client, and its connections unless they belong to a shared `SessionManager`.

        Every call in progress ends with an error that says so. Safe to call twice.
        """
        if self._is_view:
            return
        self._timer.close()
        gates = self._accounts.leave()
        try:
            for gate in gates:
                await gate.aclose()
        finally:
            if self._owned:
                await self._manager.aclose()

    async def __aenter__(self) -> Self:
        self._pipeline.retries.transport.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _options(
    options: Options, timeout: float | None, attempt_timeout: float | None, retry: RetryPolicy | None
) -> Options:
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError("retry must be a RetryPolicy.")
    return Options(
        timeout=positive_seconds("timeout", timeout) or options.timeout,
        attempt_timeout=positive_seconds("attempt_timeout", attempt_timeout) or options.attempt_timeout,
        retry=retry or options.retry,
    )


def _is_async(listener: Listener) -> bool:
    """Return whether calling a listener would only make a coroutine."""
    return inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__)


def _within(name: str, given: object, limit: int) -> None:
    if type(given) is not int or not 0 <= given <= limit:
        raise ConfigurationError(f"{name}={given!r}: give a whole number from 0 to max_connections={limit}.")
