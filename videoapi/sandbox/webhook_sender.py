"""Sends notifications to a URL, and records what it answers.

Source: docs/contract.md 10.8.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
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
_TYPES = {"text/plain": "text/plain; charset=utf-8", "application/json": "application/json"}


@attrs.frozen
class WebhookDelivery:
    """One attempt to deliver a notification.

    Args:
        at: When it was sent (aware, UTC).
        type: The type of the notification.
        url: Where it was sent to, without a query.
        status: The HTTP status of the answer, or None without one.
        error: Why the answer is missing, or None.
        seconds: How long the answer took.
        attempt: 1, or more for a repetition.
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
        """Whether the answer was 200, as the service requires."""
        return self.status == 200


@attrs.frozen
class WebhookTarget:
    """Where to deliver to: a URL, and the `Authorization` header if there are credentials."""

    url: str = attrs.field(repr=False)
    authorization: str | None = attrs.field(repr=False)

    @classmethod
    def from_arguments(cls, url: str | None, auth: tuple[str, str] | None) -> "WebhookTarget | None":
        """Return the target of a sandbox, or None without a URL.

        Raises:
            ValueError: As `of`; and if there are credentials without a URL.
        """
        if url is not None:
            return cls.of(url, auth)
        if auth is not None:
            raise ValueError("webhook_auth needs a webhook_url")
        return None

    @classmethod
    def of(cls, url: str, auth: tuple[str, str] | None) -> "WebhookTarget":
        """Return a target.

        Raises:
            ValueError: If it is not an http URL, has credentials in it, or `auth` is not a pair that can be sent.
        """
        if not _is_http(url):
            raise ValueError("the webhook URL must be http:// or https://, without credentials in it")
        if auth is None:
            return cls(url, None)
        usable = isinstance(auth, tuple | list) and len(auth) == 2
        if not usable or not all(isinstance(part, str) and part.isprintable() for part in auth) or ":" in auth[0]:
            raise ValueError("the webhook credentials must be (user, password), and the user without a colon")
        return cls(url, aiohttp.encode_basic_auth(*auth))

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
        # A host name that cannot be encoded is a ValueError.
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = _reason(failure)
        return WebhookDelivery(at, kind, self.shown, status, error, time.monotonic() - began, attempt)


def _reason(failure: Exception) -> str:
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted: {getattr(failure.certificate_error, 'verify_message', 'not valid')}"
    if isinstance(failure, aiohttp.ClientSSLError):
        return "the TLS handshake failed"
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(failure, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return "the answer is not HTTP"
    if isinstance(failure, aiohttp.InvalidURL | UnicodeError):
        return "the URL has no valid host name"
    number = getattr(failure, "errno", None)
    # Errors of name resolution have numbers of their own, below 0.
    if number is not None and number > 0:
        return os.strerror(number)
    return getattr(failure, "strerror", None) or type(failure).__name__


def _is_http(url: object) -> bool:
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
    """

    def __init__(self, target: WebhookTarget | None, switches: Switches) -> None:
        self.deliveries: deque[WebhookDelivery] = deque(maxlen=_MOST)
        self._target = target
        self._switches = switches
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._backlog: list[Sequence[Notification]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """How many sessions have notifications that are still to be delivered."""
        return len(self._tasks) + len(self._backlog)

    @property
    def enabled(self) -> bool:
        """Whether there is a target."""
        return self._target is not None

    def open(self) -> None:
        """Start delivering, on this loop."""
        if self._target is not None:
            self._session = session()
            self._slots = asyncio.Semaphore(_AT_ONCE)
            backlog, self._backlog = self._backlog, []
            for notifications in backlog:
                self.send(notifications)

    def clear(self) -> None:
        """Forget the deliveries, and drop what is still to be delivered."""
        self._backlog.clear()
        # Those that are dropped are recorded nowhere.
        self.deliveries = deque(maxlen=_MOST)
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """End what is still to be delivered."""
        current, self._session = self._session, None
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if current is not None:
            await current.close()

    def send(self, notifications: Sequence[Notification]) -> None:
        """Deliver notifications in order, each one after the answer to the one before; nothing without a target."""
        if self._target is None:
            return
        if self._session is None:
            self._backlog.append(notifications)
            return
        task = asyncio.get_running_loop().create_task(self._deliver(self._target, self._session, notifications))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self, target: WebhookTarget, session: aiohttp.ClientSession, notifications: Sequence[Notification]
    ) -> None:
        for notification in notifications:
            body = notification.body(self._switches)
            for attempt in range(1, int(self._switches.webhook_retry) + 2):
                if attempt > 1:
                    await asyncio.sleep(_AGAIN)
                async with self._slots:
                    delivery = await self._recorded(target, session, notification.type, body, attempt)
                if delivery.accepted:
                    break

    async def _recorded(
        self, target: WebhookTarget, session: aiohttp.ClientSession, kind: str, body: bytes, attempt: int
    ) -> WebhookDelivery:
        at, deliveries = datetime.now(UTC), self.deliveries
        try:
            delivery = await target.deliver(session, kind, body, self._switches.webhook_content_type, attempt)
        except asyncio.CancelledError:
            seconds = (datetime.now(UTC) - at).total_seconds()
            deliveries.append(WebhookDelivery(at, kind, target.shown, None, "the sandbox closed", seconds, attempt))
            raise
        deliveries.append(delivery)
        return delivery


def session() -> aiohttp.ClientSession:
    """Return a session that waits as long as the service does, and keeps nothing between requests."""
    options: dict[str, Any] = {"cookie_jar": aiohttp.DummyCookieJar(), "trust_env": False}
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT), **options)
