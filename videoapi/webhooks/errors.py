"""The errors of received deliveries."""

from collections.abc import Mapping
from typing import Any, ClassVar

from videoapi.errors import VideoAPIError


class DeliveryRejected(VideoAPIError):
    """The base class of the errors that reject a delivery.

    Respond with `status` and `headers`. The message contains nothing of the body and no credentials.
    """

    # Always given, so that a view can return it.
    status: int  # pyright: ignore[reportIncompatibleVariableOverride]
    answer: ClassVar[int] = 400
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, message: str = "", **facts: Any) -> None:
        facts.setdefault("status", self.answer)
        super().__init__(message, **facts)


class InvalidEvent(DeliveryRejected, ValueError):
    """The body is not an event: not JSON, not an object, or without a `type`. Respond with 400."""


class InvalidCredentials(DeliveryRejected):
    """The user or the password is missing or wrong. Respond with 401."""

    answer = 401
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Basic realm="webhooks", charset="UTF-8"'}


class EventTooLarge(DeliveryRejected, ValueError):
    """The body is larger than `max_body`. Respond with 413."""

    answer = 413


class ReceiverBusy(DeliveryRejected):
    """The event was not accepted: the queue is full, the receiver is closing, or its store failed. Respond with 503."""

    answer = 503
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "5"}


class EventNotHandled(VideoAPIError):
    """The receiver closed before the handlers of an accepted event had finished.

    A store of your own still contains the event: pass it to `resume` when you start again.
    """
