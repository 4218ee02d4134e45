"""Sends notifications to a URL, and records what it answers.

Source: docs/contract.md 10.8.
"""

import asyncio
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import attrs

from videoapi.sandbox.notifications import Notification
from videoapi.sandbox.switches import Switches

WAIT = 5.0
"""How long the service waits for an answer, in seconds."""
_AGAIN = 1.0
_MOST = 10_000
_AT_ONCE = 32
T = TypeVar("T")
_TYPES = {"text/plain": "text/plain; charset=utf-8", "application/json": "application/json"}


@attrs.frozen
class WebhookDelivery:
    """One attempt to deliver a notification.

    Args:
        at: When it was sent (aware, UTC).
        type: The type of the notification.
        url: Where it was sent to, without a query.
        status: The HTTP status of the response, or None without one.
        error: Why the response is missing, or None.
        seconds: Time until the response, in seconds.
        attempt: Number of the attempt, from 1.
    """

    at: datetime
    type: str
    url: str
    status: int | None
    error: str | None
    seconds: float
    attempt: int = 1

    @property
    def accepted(self) -> bool:
        """Whether the response was 200, as the service requires."""
        return self.status == 200

    @property
    def outcome(self) -> str:
        """The status of the response, or why it is missing, as text."""
        return f"HTTP {self.status}" if self.error is None else self.error


@attrs.frozen
class WebhookTarget:
    """Where to deliver to: a URL, and if there are credentials, the `Authorization` header and the password in it."""

    url: str = attrs.field(repr=False)
    authorization: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def from_arguments(cls, url: str | None, auth: tuple[str, str] | None) -> "WebhookTarget | None":
        """Return the target of a sandbox, or None without a URL.

        Raises:
            ValueError: As `of`; and if there are credentials without a URL.
        """
        try:
            if url is not None:
                return cls.of(url, auth)
            if auth is not None:
                raise ValueError("webhook_auth needs a webhook_url")
            return None
        finally:
            # Error reporters store the variables of the frames of an error.
            del url, auth

    @classmethod
    def of(cls, url: str, auth: tuple[str, str] | None) -> "WebhookTarget":
        """Return a target.

        Raises:
            ValueError: If it is not an http URL, has credentials in it, or `auth` is not a pair that can be sent.
        """
        try:
            if not _is_http(url):
                raise ValueError("the webhook URL must be http:// or https://, without credentials in it")
            if auth is None:
                return cls(url, None)
            usable = isinstance(auth, tuple | list) and len(auth) == 2
            if not usable or not all(isinstance(part, str) and part.isprintable() for part in auth) or ":" in auth[0]:
                raise ValueError("the webhook credentials must be (user, password), and the user without a colon")
            return cls(url, aiohttp.encode_basic_auth(*auth), auth[1])
        finally:
            # Error reporters store the variables of the frames of an error.
            del url, auth

    @property
    def shown(self) -> str:
        """The URL without its query, which may be a secret."""
        return self.url.partition("?")[0].partition("#")[0]

    async def deliver(
        self, session: aiohttp.ClientSession, kind: str, body: bytes, content_type: str, attempt: int = 1
    ) -> WebhookDelivery:
        """Post a body once, and return what became of it."""
        headers = {"Authorization": self.authorization} if self.authorization else {}
        if content_type in _TYPES:
            headers["Content-Type"] = _TYPES[content_type]
        at, began = datetime.now(UTC), time.monotonic()
        status, error = None, None
        try:
            async with session.post(
                self.url, data=body, headers=headers, skip_auto_headers=("Content-Type",), allow_redirects=False
            ) as response:
                status = response.status
        except TimeoutError:
            error = f"no answer within {WAIT:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = _reason(failure)
        return WebhookDelivery(at, kind, self.shown, status, error, time.monotonic() - began, attempt)


def _reason(failure: Exception) -> str:
    cause: Exception = failure.os_error if isinstance(failure, aiohttp.ClientConnectorError) else failure
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        cause = failure.certificate_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"no TLS: {(cause.reason or 'unknown reason').replace('_', ' ').lower()}"
    if isinstance(cause, socket.gaierror):
        return f"the host was not found: {cause.strerror}"
    if isinstance(cause, aiohttp.InvalidURL | ValueError):
        return "the host of the URL is not a valid name"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    if isinstance(cause, aiohttp.ServerDisconnectedError | ConnectionError):
        return "the connection was closed without an answer"
    return "the answer is not HTTP" if isinstance(cause, aiohttp.ClientResponseError) else type(failure).__name__


def _is_http(url: object) -> bool:
    if not str(url).isprintable() or " " in str(url):
        return False
    try:
        split = urlsplit(str(url))
        known = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        return False
    return known and "@" not in split.netloc


class WebhookSender:
    """Delivers notifications: those of one session in order, several sessions at a time.

    Args:
        target: Where to deliver to; None sends nothing.
        switches: The switches, read for each notification.
        changed: Called after each attempt.
    """

    def __init__(
        self, target: WebhookTarget | None, switches: Switches, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.deliveries: deque[WebhookDelivery] = deque(maxlen=_MOST)
        self.total: int = 0
        self.target = target
        self._switches = switches
        self._changed = changed
        self._open = False
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._backlog: list[Sequence[Notification]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dropped: set[asyncio.Task[Any]] = set()

    @property
    def pending(self) -> int:
        """How many sessions have notifications that are still to be delivered."""
        return len(self._tasks) + len(self._backlog)

    @property
    def enabled(self) -> bool:
        """Whether there is a target."""
        return self.target is not None

    def latest(self, at_most: int) -> list[tuple[int, WebhookDelivery]]:
        """Return the latest attempts with their numbers, newest first."""
        newest = islice(reversed(self.deliveries), at_most)
        return [(self.total - place, delivery) for place, delivery in enumerate(newest)]

    def open(self) -> None:
        """Start delivering, on this loop."""
        self._open = True
        self._slots = asyncio.Semaphore(_AT_ONCE)
        backlog, self._backlog = self._backlog, []
        for notifications in backlog:
            self.send(notifications)

    async def aclose(self) -> None:
        """End what is still to be delivered."""
        self._open = False
        for task in self._tasks:
            task.cancel()
        if tasks := self._tasks | self._dropped:
            await asyncio.wait(tasks)
        current, self._session = self._session, None
        if current is not None:
            await current.close()

    def send(self, notifications: Sequence[Notification]) -> None:
        """Deliver notifications in order, each one after the answer to the one before; nothing without a target."""
        if self.target is None:
            return
        if not self._open:
            self._backlog.append(notifications)
            return
        self._start(self._deliver(self.target, notifications))

    async def post(self, notification: Notification, url: str | None = None) -> WebhookDelivery:
        """Deliver a notification once, and return what became of it.

        Args:
            notification: The notification.
            url: Where to; the target by default. Its credentials are sent to no other URL.

        Raises:
            ValueError: If the URL is not usable, or the sandbox does not run, or ceased to before the answer.
        """
        target = self._target_at(url)
        if not self._open:
            raise ValueError("the sandbox is not running")
        task = self._start(self._attempt(target, notification.type, notification.body(self._switches), 1))
        await asyncio.wait([task])
        if task.cancelled():
            raise ValueError("the sandbox was closed or cleared before the answer")
        return task.result()

    def clear(self) -> None:
        """Forget all attempts, and drop what is still to be delivered. Call it on the loop."""
        self._backlog.clear()
        for task in self._tasks:
            task.cancel()
        self._dropped |= self._tasks
        self._tasks.clear()
        self.deliveries.clear()
        self.total = 0

    def _target_at(self, url: str | None) -> WebhookTarget:
        own = self.target
        if own is not None and url in (None, own.url):
            return own
        if url is None:
            raise ValueError("the sandbox has no webhook_url: a URL is missing")
        return WebhookTarget.of(url, None)

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._dropped.discard)
        return task

    async def _deliver(self, target: WebhookTarget, notifications: Sequence[Notification]) -> None:
        for notification in notifications:
            body = notification.body(self._switches)
            for attempt in range(1, int(self._switches.webhook_retry) + 2):
                if attempt > 1:
                    await asyncio.sleep(_AGAIN)
                delivery = await self._attempt(target, notification.type, body, attempt)
                if delivery.accepted:
                    break

    async def _attempt(self, target: WebhookTarget, kind: str, body: bytes, attempt: int) -> WebhookDelivery:
        async with self._slots:
            at = datetime.now(UTC)
            if self._session is None:
                self._session = session()
            try:
                delivery = await target.deliver(self._session, kind, body, self._switches.webhook_content_type, attempt)
            except asyncio.CancelledError:
                if asyncio.current_task() in self._tasks:
                    seconds = (datetime.now(UTC) - at).total_seconds()
                    self._record(WebhookDelivery(at, kind, target.shown, None, "the sandbox closed", seconds, attempt))
                raise
            self._record(delivery)
        return delivery

    def _record(self, delivery: WebhookDelivery) -> None:
        self.deliveries.append(delivery)
        self.total += 1
        self._changed()


def session() -> aiohttp.ClientSession:
    """Return a session that waits as long as the service does, and keeps nothing between requests."""
    options: dict[str, Any] = {"cookie_jar": aiohttp.DummyCookieJar(), "trust_env": False}
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT), **options)
