"""Call detail records (CDR): one per user connection to a finished session."""

from datetime import datetime
from typing import Annotated, Any

import attrs
import msgspec

from videoapi.models.base import Model
from videoapi.models.redaction import redact
from videoapi.models.rooms import Sip
from videoapi.models.settings import RoomSettings
from videoapi.models.times import parse_time

# The bounds reject "nan" and "inf", which the typed decoder would accept as numbers.
Number = Annotated[float, msgspec.Meta(ge=-1.7e308, le=1.7e308)]


@attrs.frozen(repr=False, kw_only=True)
class RoomDetails(Model):
    """The room's definition when the session ran. Source: docs/contract.md 5.2."""

    room_id: str | None = None
    name: str | None = None
    owner_ref: str | None = None
    service_id: str | None = None
    settings: RoomSettings | None = None
    sip: Sip | bool | None = None
    data: dict[str, Any] | str | None = None
    created: str | None = None


@attrs.frozen(repr=False, kw_only=True)
class CallRoom(Model):
    """The room part of a record; `duration` in seconds. Source: docs/contract.md 5.2."""

    room_id: str | None = None
    connect_dt: str | None = None
    disconnect_dt: str | None = None
    duration: Number | None = None
    room_details: dict[str, Any] | None = None
    sip: bool | None = None

    @property
    def details(self) -> RoomDetails | None:
        """`room_details` as a model, built on access."""
        return None if self.room_details is None else RoomDetails.from_dict(self.room_details)

    @property
    def connected_at(self) -> datetime | None:
        """When the session started (aware, UTC)."""
        return parse_time(self.connect_dt)

    @property
    def disconnected_at(self) -> datetime | None:
        """When the session ended (aware, UTC)."""
        return parse_time(self.disconnect_dt)


@attrs.frozen(repr=False, kw_only=True)
class CallUser(Model):
    """The connected user. Source: docs/contract.md 5.2."""

    ip: str | None = None
    name: str | None = None
    role: str | None = None
    ref: str | None = None
    agent: str | None = None
    token: str | None = attrs.field(default=None, repr=redact)
    confName: str | None = None  # noqa: N815 - as on the wire


@attrs.frozen(repr=False, kw_only=True)
class SignalServer(Model):
    """The signaling connection; durations in seconds. Source: docs/contract.md 5.2."""

    connect_dt: str | None = None
    disconnect_dt: str | None = None
    ip: str | None = None
    duration: Number | None = None
    hold_duration: Number | None = None

    @property
    def connected_at(self) -> datetime | None:
        """When the user connected (aware, UTC)."""
        return parse_time(self.connect_dt)

    @property
    def disconnected_at(self) -> datetime | None:
        """When the user disconnected (aware, UTC)."""
        return parse_time(self.disconnect_dt)


@attrs.frozen(repr=False, kw_only=True)
class PublishedTrack(Model):
    """The media that the user published. Source: docs/contract.md 5.2."""

    audio: bool | None = None
    data: bool | None = None
    video: bool | None = None
    screen: bool | None = None
    url: bool | None = None


@attrs.frozen(repr=False, kw_only=True)
class Usage(Model):
    """Usage counters in minutes. Source: docs/contract.md 5.2."""

    subscribed_minutes: Number | None = None
    published_minutes: Number | None = None
    screen_minutes: Number | None = None
    connect_minutes: Number | None = None
    connect_minutes_cal: Number | None = None
    room_connect_minutes: Number | None = None


@attrs.frozen(repr=False, kw_only=True)
class MediaQuality(Model):
    """The quality of one kind of media. Source: docs/contract.md 5.2."""

    avg_bitrate: Number | None = None
    avg_bitrate_quality: str | None = None
    max_bitrate: Number | None = None
    min_bitrate: Number | None = None
    bitrate_good_percent: Number | None = None


@attrs.frozen(repr=False, kw_only=True)
class DirectionQuality(Model):
    """The quality of sent or received media. Source: docs/contract.md 5.2."""

    video: MediaQuality | None = None
    audio: MediaQuality | None = None
    sharing: MediaQuality | None = None


@attrs.frozen(repr=False, kw_only=True)
class StatsQuality(Model):
    """The quality of a connection in both directions. Source: docs/contract.md 5.2."""

    send: DirectionQuality | None = None
    receive: DirectionQuality | None = None


@attrs.frozen(repr=False, kw_only=True)
class Price(Model):
    """The price of a connection. Source: docs/contract.md 5.2."""

    connect_duration: Number | None = None


@attrs.frozen(repr=False, kw_only=True)
class CallRecord(Model):
    """One connection of one user, in either schema of the service. Source: docs/contract.md 5.2.

    A part that is missing from the record is still present here, with every field None. The contract leaves
    the shape of `room.room_details` and `stats_quality` open: both are kept as received, and `room.details`
    and `quality` are typed views of them.
    """

    trans_date: str | None = None
    conf_num: str | None = None
    sip: bool | None = None
    call_num: str | None = None
    call_log_id: str | None = None
    parent_partner_id: str | None = None
    room: CallRoom = attrs.field(factory=CallRoom)
    user: CallUser = attrs.field(factory=CallUser)
    sigserver: SignalServer = attrs.field(factory=SignalServer)
    published_track: PublishedTrack = attrs.field(factory=PublishedTrack)
    usage: Usage = attrs.field(factory=Usage)
    stats_quality: dict[str, Any] | None = None
    app_id: str | None = None
    cdr_id: str | None = None
    price: Price | None = None

    @property
    def trans_at(self) -> datetime | None:
        """When the record was created (aware, UTC)."""
        return parse_time(self.trans_date)

    @property
    def identity(self) -> str | None:
        """The ID that identifies the record when it is read again; None if it has no ID."""
        return self.cdr_id or self.call_log_id or None

    @property
    def owner_ref(self) -> str | None:
        """Your own reference of the room; None if the record does not contain it."""
        found = (self.room.room_details or {}).get("owner_ref")
        return None if found is None else str(found)

    @property
    def quality(self) -> StatsQuality | None:
        """`stats_quality` as a model, built on access."""
        return None if self.stats_quality is None else StatsQuality.from_dict(self.stats_quality)
