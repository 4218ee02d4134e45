"""Rooms, as returned by the service and as requested."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from videoapi.models.base import Model, plain
from videoapi.models.redaction import redact
from videoapi.models.settings import (
    UNSET,
    LiveRecording,
    LiveTranscription,
    RoleBasedRecording,
    RoomSettings,
    Unset,
)
from videoapi.models.times import parse_time

__all__ = [
    "UNSET",
    "LiveRecording",
    "LiveTranscription",
    "RoleBasedRecording",
    "Room",
    "RoomSettings",
    "RoomSpec",
    "Sip",
    "Unset",
]


@attrs.frozen(repr=False, kw_only=True)
class Sip(Model):
    """Telephone (SIP) access to a room. Source: docs/contract.md 4.3."""

    enabled: bool | None = None
    pin: int | str | None = attrs.field(default=None, repr=redact)
    meeting_id: int | str | None = None
    uri: str | None = None
    name: str | None = None
    auth: str | None = attrs.field(default=None, repr=redact)
    secret: str | None = attrs.field(default=None, repr=redact)
    proxy: str | None = None


@attrs.frozen(repr=False, kw_only=True)
class Room(Model):
    """A room of the account. Optional fields that the response lacks read None.

    Source: docs/contract.md 4.3, 4.4, 4.5.
    """

    room_id: str
    name: str | None = None
    owner_ref: str | None = None
    service_id: str | None = None
    settings: RoomSettings = attrs.field(factory=RoomSettings._empty)
    sip: Sip | bool | None = None
    data: dict[str, Any] | str | None = None
    created: str | None = None
    updated: str | None = None
    configured_media_zone: str | None = None
    isMediaServerAvailable: bool | None = None  # noqa: N815 - as on the wire
    enablexControllerId: str | None = None  # noqa: N815 - as on the wire

    @property
    def created_at(self) -> datetime | None:
        """When the room was created (aware, UTC)."""
        return parse_time(self.created)

    @property
    def updated_at(self) -> datetime | None:
        """When the room was last changed (aware, UTC); None if never."""
        return parse_time(self.updated)

    @property
    def media_server_available(self) -> bool | None:
        """Whether a media server is available for the room."""
        return self.isMediaServerAvailable

    @property
    def controller_id(self) -> str | None:
        """The media controller that last ran the room; None before the first join."""
        return self.enablexControllerId


@attrs.frozen(kw_only=False)
class RoomSpec:
    """The definition of a room to create in bulk.

    Args:
        name: The room's name.
        owner_ref: Your own reference of the room; if None, the client generates one.
        settings: `RoomSettings`, or a mapping by API field name.
        sip: True or False, `Sip`, or a mapping by API field name.
        data: Your own keys, stored with the room.
        key: Identifies this input in the outcome; never sent.
    """

    name: str
    owner_ref: str | int | None = None
    settings: RoomSettings | Mapping[str, Any] | None = None
    sip: Sip | Mapping[str, Any] | bool | None = None
    data: Mapping[str, Any] | None = None
    key: Any = None

    def to_wire(self) -> dict[str, Any]:
        """Return the request body, without omitted fields. Source: docs/contract.md 4.2."""
        settings = self.settings
        settings = settings.to_wire() if isinstance(settings, RoomSettings) else plain(settings)
        body: dict[str, Any] = {"name": self.name, "settings": settings or {}}
        if self.owner_ref is not None:
            body["owner_ref"] = self.owner_ref
        if self.sip is not None:
            body["sip"] = {"enabled": self.sip} if isinstance(self.sip, bool) else plain(self.sip)
        if self.data is not None:
            body["data"] = plain(self.data)
        return body
