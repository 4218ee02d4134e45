"""Async client for the Video API: rooms, join tokens, call detail records and recordings.

For servers only: who holds the APP_KEY can do everything in the project, so it must never get into a
program that runs at a user's.
"""

from __future__ import annotations

from importlib import import_module

# Type checkers know the name, and `typing` itself would take nine tenths of the time that this import does.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from videoapi.bulk import BulkOutcome, BulkReport, BulkRun
    from videoapi.client import VideoClient
    from videoapi.config import Credentials, Secret
    from videoapi.errors import (
        AuthenticationFailed,
        CallTimeout,
        ConfigurationError,
        Conflict,
        ConnectionFailed,
        CreateOutcomeUnknown,
        DownloadFailed,
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
    from videoapi.events import AttemptEvent, CallEvent
    from videoapi.models.archives import Archive, ArchiveFile
    from videoapi.models.cdr import CallRecord
    from videoapi.models.dialin import DialIn, DialInNumber, DialInSip
    from videoapi.models.rooms import Room, RoomSettings, RoomSpec, Sip
    from videoapi.models.tokens import Participant, Role, Token, TokenSpec
    from videoapi.pipeline.middleware import Middleware, Send
    from videoapi.protocol.backoff import RetryPolicy
    from videoapi.protocol.outcome import Outcome, answered
    from videoapi.protocol.routes import Request
    from videoapi.session import SessionManager

_HOMES = {
    "bulk": ("BulkOutcome", "BulkReport", "BulkRun"),
    "client": ("VideoClient",),
    "config": ("Credentials", "Secret"),
    "errors": (
        "AuthenticationFailed",
        "CallTimeout",
        "ConfigurationError",
        "Conflict",
        "ConnectionFailed",
        "CreateOutcomeUnknown",
        "DownloadFailed",
        "NotFound",
        "PermissionDenied",
        "ProtocolError",
        "RateLimited",
        "RequestRejected",
        "ResultError",
        "ServerFault",
        "TokenDenied",
        "ValidationError",
        "VideoAPIError",
    ),
    "events": ("AttemptEvent", "CallEvent"),
    "pipeline.middleware": ("Middleware", "Send"),
    "models.archives": ("Archive", "ArchiveFile"),
    "models.cdr": ("CallRecord",),
    "models.dialin": ("DialIn", "DialInNumber", "DialInSip"),
    "models.tokens": ("Participant", "Role", "Token", "TokenSpec"),
    "models.rooms": ("Room", "RoomSettings", "RoomSpec", "Sip"),
    "protocol.backoff": ("RetryPolicy",),
    "protocol.outcome": ("Outcome", "answered"),
    "protocol.routes": ("Request",),
    "session": ("SessionManager",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

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
    "CallTimeout",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "CreateOutcomeUnknown",
    "Credentials",
    "DialIn",
    "DialInNumber",
    "DialInSip",
    "DownloadFailed",
    "Middleware",
    "NotFound",
    "Outcome",
    "Participant",
    "PermissionDenied",
    "ProtocolError",
    "RateLimited",
    "Request",
    "RequestRejected",
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
    "Token",
    "TokenDenied",
    "TokenSpec",
    "ValidationError",
    "VideoAPIError",
    "VideoClient",
    "answered",
]


def __getattr__(name: str) -> Any:
    # Names are resolved at first use, so that importing the package costs next to nothing.
    if name == "__version__":
        from importlib.metadata import version

        return version("videoapi")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'videoapi' has no attribute {name!r}")
    value = getattr(import_module(f"videoapi.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
