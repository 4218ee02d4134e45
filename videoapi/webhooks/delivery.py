"""A delivery as an HTTP request, whatever server received it: which answer it gets, and what is logged of it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

import attrs

from videoapi.webhooks.errors import DeliveryRejected, EventTooLarge, InvalidEvent, ReceiverBusy
from videoapi.webhooks.events import WebhookEvent
from videoapi.webhooks.parsing import parse_event
from videoapi.webhooks.stats import DeliveryCounts

log: logging.Logger = logging.getLogger("videoapi.webhooks")

READ_WITHIN: Final = 5.0
"""Seconds for the body to arrive: the service waits no longer for its answer. Source: docs/contract.md 6."""
LOG_EVERY: Final = 60.0
"""Seconds between two messages about rejected deliveries with the same status."""


class IncompleteBody(Exception):
    """The connection ended, or its framing broke, before the body was complete."""


@attrs.frozen
class DeliveryAnswer:
    """The answer to a delivery: its status, and headers besides `Content-Length`."""

    status: int
    extra_headers: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {"Content-Type": "text/plain; charset=utf-8", **self.extra_headers}

    @property
    def body(self) -> bytes:
        """The reason phrase of the status, for people; empty after a success."""
        return b"" if self.status == HTTPStatus.OK else HTTPStatus(self.status).phrase.encode() + b"\n"


class AnswerDelivery(Protocol):
    """Answers one request."""

    async def __call__(
        self, method: str, authorization: bytes | None, length: bytes | None, chunks: AsyncIterator[bytes]
    ) -> DeliveryAnswer:
        """Return the answer."""
        ...


class DeliveryReceiver(Protocol):
    """What answers need of the receiver."""

    max_body: int

    def authenticate(self, authorization: str | bytes | None) -> None:
        """Raise InvalidCredentials unless the header is that of the sender."""

    async def submit(self, event: WebhookEvent) -> bool:
        """Accept an event."""
        ...


class RejectionLog:
    """Logs rejected deliveries, once per status and minute: anybody can send them.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet: dict[int, tuple[float, int]] = {}

    def rejected(self, status: int, reason: str) -> None:
        """Log a rejection, or count it for the next message."""
        now = self._clock()
        until, skipped = self._quiet.get(status, (now, 0))
        if now < until:
            self._quiet[status] = until, skipped + 1
            log.debug("Webhook answered %d: %s", status, reason)
            return
        self._quiet[status] = now + LOG_EVERY, 0
        more = f" ({skipped} more since the last message)" if skipped else ""
        log.warning("Webhook answered %d: %s%s", status, reason, more)


async def answer(
    receiver: DeliveryReceiver,
    rejections: RejectionLog,
    counts: DeliveryCounts,
    *,
    method: str,
    authorization: bytes | None,
    length: bytes | None,
    chunks: AsyncIterable[bytes],
) -> DeliveryAnswer:
    """Answer one request.

    Args:
        receiver: Accepts the event.
        rejections: Logs what is not accepted.
        counts: Counts what is not accepted before the receiver has its event.
        method: The method.
        authorization: The header `Authorization`, if there is one.
        length: The header `Content-Length`, if there is one.
        chunks: The body; read only as far as it is needed.
    """
    if method != "POST":
        counts.add("rejected_method")
        rejections.rejected(405, "the method is not POST")
        return DeliveryAnswer(405, {"Allow": "POST"})
    try:
        # Before the body: that of a stranger is not read.
        receiver.authenticate(authorization)
        # Error reporters store the variables of the frames of an error.
        del authorization
        body = await read_body(chunks, length, receiver.max_body)
        await receiver.submit(parse_event(body))
    except DeliveryRejected as error:
        if isinstance(error, EventTooLarge | InvalidEvent):
            # The receiver has counted the others.
            counts.rejected(error)
        rejections.rejected(error.answer, error.message)
        return DeliveryAnswer(error.answer, error.headers)
    except TimeoutError:
        counts.add("rejected_incomplete")
        rejections.rejected(408, f"no complete body within {READ_WITHIN:g} s")
        return DeliveryAnswer(408)
    except IncompleteBody:
        counts.add("rejected_incomplete")
        rejections.rejected(400, "the body is incomplete")
        return DeliveryAnswer(400)
    except Exception:
        # Left to the server, its frames would hold the credentials.
        counts.add("rejected_error")
        log.exception("A webhook delivery was not accepted; answered 500.")
        return DeliveryAnswer(500)
    return DeliveryAnswer(200)


async def read_body(chunks: AsyncIterable[bytes], length: bytes | None, most: int) -> bytes:
    """Read a body, of at most `most` bytes.

    Raises:
        EventTooLarge: If it is larger, or announced to be.
        IncompleteBody: If it ends too early.
        TimeoutError: If it does not arrive in time.
    """
    announced = (length or b"").decode("latin-1").strip()
    if announced.isdecimal() and announced.isascii() and (len(announced) > 18 or int(announced) > most):
        raise too_large(most)
    body = bytearray()
    async with asyncio.timeout(READ_WITHIN):
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise too_large(most)
    return bytes(body)


def too_large(most: int) -> EventTooLarge:
    """Return the error for a body that is larger than `most` bytes."""
    return EventTooLarge(f"the body is larger than {most:,} bytes (max_body).")


def busy(reason: str) -> ReceiverBusy:
    """Return the error for an event that is not accepted now."""
    return ReceiverBusy(f"{reason}. Not accepted.", retryable=True)
