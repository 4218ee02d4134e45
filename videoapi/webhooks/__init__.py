"""Webhooks: typed events of the service, received in any framework and passed to your handlers.

Independent of the client and of any web framework: it supports ASGI, and imports aiohttp only if you use its adapter.
"""

from videoapi.webhooks.errors import (
    DeliveryRejected,
    EventNotHandled,
    EventTooLarge,
    InvalidCredentials,
    InvalidEvent,
    ReceiverBusy,
)
from videoapi.webhooks.events import (
    FileTransferred,
    RecordingReady,
    SessionEnded,
    Transcoded,
    TransferDestination,
    UnknownEvent,
    WebhookEvent,
)
from videoapi.webhooks.parsing import parse_event
from videoapi.webhooks.receiver import Webhooks
from videoapi.webhooks.stats import WebhookStats
from videoapi.webhooks.store import DedupeStore

__all__ = [
    "DedupeStore",
    "DeliveryRejected",
    "EventNotHandled",
    "EventTooLarge",
    "FileTransferred",
    "InvalidCredentials",
    "InvalidEvent",
    "ReceiverBusy",
    "RecordingReady",
    "SessionEnded",
    "Transcoded",
    "TransferDestination",
    "UnknownEvent",
    "WebhookEvent",
    "WebhookStats",
    "Webhooks",
    "parse_event",
]
