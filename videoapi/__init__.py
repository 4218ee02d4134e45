"""Async client for the Video API: rooms, join tokens, call detail records and recordings.

For servers only: the APP_KEY grants full control of the project, so never put it in client-side code
(browser, mobile, desktop).
"""

from __future__ import annotations

from importlib import import_module

# Type checkers recognize this name; importing `typing` would take 90 % of the package's import time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from videoapi.arrow.periods import Period, windows
    from videoapi.bulk import BulkOutcome, BulkReport, BulkRun
    from videoapi.bulk.job_audit import JobAudit
    from videoapi.bulk.lease import Lease
    from videoapi.client import VideoClient
    from videoapi.config import Credentials, Secret
    from videoapi.creation.create_request import new_reference
    from videoapi.creation.references import reference_for
    from videoapi.errors import (
        AuthenticationFailed,
        CallTimeout,
        ConfigurationError,
        Conflict,
        ConnectionFailed,
        CreateOutcomeUnknown,
        CredentialsUnavailable,
        DownloadFailed,
        LeaseHeld,
        LeaseLost,
        NotFound,
        PermissionDenied,
        ProtocolError,
        RateLimited,
        RequestRejected,
        ResultError,
        ServerFault,
        TokenDenied,
        ValidationError,
        VideoAPIError,
    )
    from videoapi.events import AttemptEvent, CallEvent, CallStarted, Listener
    from videoapi.models.archives import Archive, ArchiveFile
    from videoapi.models.cdr import CallRecord
    from videoapi.models.dialin import DialIn, DialInNumber, DialInSip
    from videoapi.models.rooms import EffectiveSettings, Room, RoomSettings, RoomSpec, Sip
    from videoapi.models.tokens import Participant, Role, Token, TokenSpec
    from videoapi.pipeline.gate import Gate, GateFailed, Slots
    from videoapi.pipeline.middleware import Middleware, Send
    from videoapi.protocol.backoff import RetryPolicy
    from videoapi.protocol.outcome import Outcome, answered
    from videoapi.protocol.response import Response
    from videoapi.protocol.routes import Request
    from videoapi.protocol.types import Verdict
    from videoapi.redis.gate import RedisGate
    from videoapi.redis.leases import RedisLeases
    from videoapi.session import SessionManager
    from videoapi.stats import ClientStats
    from videoapi.streaming.records import Page, RecordStream
    from videoapi.telemetry.settings import Telemetry

_HOMES = {
    "bulk": "BulkOutcome BulkReport BulkRun",
    "bulk.job_audit": "JobAudit",
    "bulk.lease": "Lease",
    "client": "VideoClient",
    "config": "Credentials Secret",
    "errors": "AuthenticationFailed CallTimeout ConfigurationError Conflict ConnectionFailed CreateOutcomeUnknown "
    "CredentialsUnavailable DownloadFailed LeaseHeld LeaseLost NotFound PermissionDenied ProtocolError RateLimited "
    "RequestRejected ResultError ServerFault TokenDenied ValidationError VideoAPIError",
    "events": "AttemptEvent CallEvent CallStarted Listener",
    "arrow.periods": "Period windows",
    "models.archives": "Archive ArchiveFile",
    "models.cdr": "CallRecord",
    "models.dialin": "DialIn DialInNumber DialInSip",
    "models.rooms": "EffectiveSettings Room RoomSettings RoomSpec Sip",
    "models.tokens": "Participant Role Token TokenSpec",
    "pipeline.gate": "Gate GateFailed Slots",
    "pipeline.middleware": "Middleware Send",
    "protocol.backoff": "RetryPolicy",
    "protocol.outcome": "Outcome answered",
    "protocol.routes": "Request",
    "streaming.records": "Page RecordStream",
    "protocol.types": "Verdict",
    "protocol.response": "Response",
    "creation.create_request": "new_reference",
    "creation.references": "reference_for",
    "redis.gate": "RedisGate",
    "redis.leases": "RedisLeases",
    "session": "SessionManager",
    "stats": "ClientStats",
    "telemetry.settings": "Telemetry",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Archive",
    "ArchiveFile",
    "AttemptEvent",
    "AuthenticationFailed",
    "BulkOutcome",
    "BulkReport",
    "BulkRun",
    "CallEvent",
    "CallRecord",
    "CallStarted",
    "CallTimeout",
    "ClientStats",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "CreateOutcomeUnknown",
    "Credentials",
    "CredentialsUnavailable",
    "DialIn",
    "DialInNumber",
    "DialInSip",
    "DownloadFailed",
    "EffectiveSettings",
    "Gate",
    "GateFailed",
    "JobAudit",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Listener",
    "Middleware",
    "NotFound",
    "Outcome",
    "Page",
    "Participant",
    "Period",
    "PermissionDenied",
    "ProtocolError",
    "RateLimited",
    "RecordStream",
    "RedisGate",
    "RedisLeases",
    "Request",
    "RequestRejected",
    "Response",
    "ResultError",
    "RetryPolicy",
    "Role",
    "Room",
    "RoomSettings",
    "RoomSpec",
    "Secret",
    "Send",
    "ServerFault",
    "SessionManager",
    "Sip",
    "Slots",
    "Telemetry",
    "Token",
    "TokenDenied",
    "TokenSpec",
    "ValidationError",
    "Verdict",
    "VideoAPIError",
    "VideoClient",
    "answered",
    "new_reference",
    "reference_for",
    "windows",
]


def __getattr__(name: str) -> Any:
    # Resolve names at first use, so that importing the package is fast.
    home = "config" if name == "__version__" else _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'videoapi' has no attribute {name!r}")
    value = getattr(import_module(f"videoapi.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
