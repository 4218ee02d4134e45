"""Rooms, as returned by the service and as requested."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from videoapi.errors import ValidationError
from videoapi.models.base import Kept, Model, hashable, plain
from videoapi.models.redaction import redact, redact_within
from videoapi.models.setting_parts import LiveRecording, LiveTranscription, RoleBasedRecording
from videoapi.models.settings import EffectiveSettings, RoomSettings
from videoapi.models.strict_json import MAX_DEPTH
from videoapi.models.times import parse_time

__all__ = [
    "EffectiveSettings",
    "LiveRecording",
    "LiveTranscription",
    "RoleBasedRecording",
    "Room",
    "RoomSettings",
    "RoomSpec",
    "Sip",
]


@attrs.frozen(repr=False, kw_only=True)
class Sip(Model):
    """Telephone (SIP) access to a room.

    Brackets say how a field is known: see `RoomSettings`.

    Args:
        enabled: Whether the room can be joined by telephone. [doc, wire]
        pin: The PIN that a caller enters, as a number or text. The repr redacts it. [doc]
        meeting_id: The ID that a caller enters, as a number or text. [doc]
        uri: The SIP address. An older field, like those that follow. [wire]
        name: The name of the SIP account. [wire]
        auth: The user of the SIP account, probably. The repr redacts it. [wire, unknown]
        secret: The password of the SIP account, probably. The repr redacts it. [wire, unknown]
        proxy: The SIP proxy. [wire]
    """

    # Source: docs/contract.md 4.3.
    enabled: bool | None = None
    pin: int | str | None = attrs.field(default=None, repr=redact)
    meeting_id: int | str | None = None
    uri: str | None = None
    name: str | None = None
    auth: str | None = attrs.field(default=None, repr=redact)
    secret: str | None = attrs.field(default=None, repr=redact)
    proxy: str | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class Room(Model):
    """A room of the account. Optional fields that the response lacks read None.

    Brackets say how a field is known: see `RoomSettings`.

    Attributes:
        room_id: The room's ID, 24 hexadecimal digits. [wire]
        name: The room's name. [doc, wire]
        owner_ref: Your own reference, as given on creation; otherwise the one that the client generated. [doc]
        service_id: The project's ID, 24 hexadecimal digits; missing from older responses. [wire]
        settings: The settings in effect. Lists may contain fewer of them; that is unknown. [wire]
        sip: Telephone access, as an object, or true or false. [doc, wire]
        data: Your own keys, stored with the room. [doc]
        created: When the room was created, ISO 8601 in UTC; `created_at` is the same as a datetime. [wire]
        updated: When the room was last changed, ISO 8601 in UTC; missing before the first change. [wire]
        configured_media_zone: The region of the media servers; its difference from `settings.media_zone` is
            unknown. [code, unknown]
        isMediaServerAvailable: Whether a media server is available; also `media_server_available`. [wire]
        enablexControllerId: The media controller that last ran the room; missing before the first join; also
            `controller_id`. [wire]
    """

    # Source: docs/contract.md 4.3, 4.4, 4.5.
    room_id: str
    name: str | None = None
    owner_ref: str | None = None
    service_id: str | None = None
    settings: EffectiveSettings = attrs.field(factory=EffectiveSettings)
    sip: Sip | bool | None = None
    data: dict[str, Any] | str | None = None
    created: str | None = None
    updated: str | None = None
    configured_media_zone: str | None = None
    isMediaServerAvailable: bool | None = None  # noqa: N815 - as on the wire
    enablexControllerId: str | None = None  # noqa: N815 - as on the wire
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

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

    Brackets say how a field is known: see `RoomSettings`.

    Args:
        name: The room's name. [doc, wire]
        owner_ref: Your own reference of the room; if None, the client generates one. [doc, code]
        settings: `RoomSettings`, or a mapping by API field name. [doc]
        sip: True or False, `Sip`, or a mapping by API field name. [doc, wire, code]
        data: Your own keys, stored with the room. [doc]
        key: Identifies this input in the outcome; never sent.
    """

    name: str
    owner_ref: str | int | None = None
    settings: RoomSettings | Mapping[str, Any] | None = attrs.field(default=None, repr=redact_within)
    sip: Sip | Mapping[str, Any] | bool | None = attrs.field(default=None, repr=redact_within)
    data: Mapping[str, Any] | None = attrs.field(default=None, repr=redact_within)
    key: Any = None

    def to_wire(self) -> dict[str, Any]:
        """Return the request body, without omitted fields.

        Raises:
            ValidationError: If `settings` are those that the service returned, or a value is nested too deeply.
        """
        # Source: docs/contract.md 4.2.
        settings = self.settings
        if isinstance(settings, EffectiveSettings):
            raise ValidationError(
                "settings are those of a room, as the service returned them; give settings.to_request().",
                field="settings",
            )
        settings = settings.to_wire() if isinstance(settings, RoomSettings) else plain(settings)
        body: dict[str, Any] = {"name": self.name, "settings": settings or {}}
        if self.owner_ref is not None:
            body["owner_ref"] = self.owner_ref
        if self.sip is not None:
            body["sip"] = {"enabled": self.sip} if isinstance(self.sip, bool) else plain(self.sip)
        if self.data is not None:
            # Deeper, it would not be read again as it was sent: the room adds one level.
            body["data"] = plain(self.data, MAX_DEPTH - 1)
        return body

    def __hash__(self) -> int:
        # The generated one would fail for a mapping.
        return hash((type(self), hashable(attrs.astuple(self, recurse=False))))
