"""Call detail records (CDR): one per user connection to a finished session."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

import attrs
import msgspec

from videoapi.models.base import Kept, Model
from videoapi.models.flat import COLUMNS, flat_row
from videoapi.models.redaction import redact
from videoapi.models.rooms import Sip
from videoapi.models.settings import EffectiveSettings
from videoapi.models.times import parse_time

# The bounds reject "nan" and "inf", which the typed decoder would accept as numbers.
Number = Annotated[float, msgspec.Meta(ge=-1.7e308, le=1.7e308)]


@attrs.frozen(repr=False, kw_only=True)
class RoomDetails(Model):
    """The room's definition when the session ran.

    Of its fields, only `owner_ref` is known from programs; the others are assumed to be those of a room.

    Args:
        room_id: The room's ID. [unknown]
        name: The room's name. [unknown]
        owner_ref: Your own reference of the room; otherwise the one that the client generated. [code]
        service_id: The ID of your project. [unknown]
        settings: The room's settings at that time. [unknown]
        sip: The room's telephone access, or only whether it has any. [unknown]
        data: Your own keys, stored with the room. [unknown]
        created: When the room was created, as in the response. [unknown]

    Source: docs/contract.md 5.2.
    """

    room_id: str | None = None
    name: str | None = None
    owner_ref: str | None = None
    service_id: str | None = None
    settings: EffectiveSettings | None = None
    sip: Sip | bool | None = None
    data: dict[str, Any] | str | None = None
    created: str | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class CallRoom(Model):
    """The session of a record: its room, and how long it ran.

    Args:
        room_id: The ID of the room. [doc]
        connect_dt: When the session started, as in the response; `connected_at` is the parsed time. [doc]
        disconnect_dt: When the session ended, as in the response; `disconnected_at` is the parsed time. [doc]
        duration: Length of the session in seconds, whole or not. [doc, code] The records of all its users presumably
            have the same value, so do not add it up over records.
        room_details: The room's definition as received, only in newer responses. `details` is a typed view. [doc]
        sip: Only in newer responses; presumably whether the room has telephone access. [doc]

    Source: docs/contract.md 5.2.
    """

    room_id: str | None = None
    connect_dt: str | None = None
    disconnect_dt: str | None = None
    duration: Number | None = None
    room_details: dict[str, Any] | None = None
    sip: bool | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

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
    """The connected user.

    Args:
        ip: The user's IP address. [doc]
        name: The name for which the token was issued. [doc]
        role: The role in the session: usually `moderator`, `participant`, `viewer` or `audience`. [doc]
        ref: Your own reference of the user: the `user_ref` of the token. [doc]
        agent: The user agent of the browser or app. [doc]
        token: The token that the user joined with, a secret; only in older responses. [doc]
        confName: Only in older responses; meaning unknown, presumably the room's name. [doc]

    Source: docs/contract.md 5.2.
    """

    ip: str | None = None
    name: str | None = None
    role: str | None = None
    ref: str | None = None
    agent: str | None = None
    token: str | None = attrs.field(default=None, repr=redact)
    confName: str | None = None  # noqa: N815 - as on the wire
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class SignalServer(Model):
    """The user's own connection, as the signaling server saw it.

    Args:
        connect_dt: When the user connected, as in the response; `connected_at` is the parsed time. [doc]
        disconnect_dt: When the user disconnected, as in the response; `disconnected_at` is the parsed time. [doc]
        ip: The IP address of the connection; whether of the user or of the server is unknown. [doc]
        duration: Length of the connection, presumably in seconds like that of the session; whole or not. [doc]
        hold_duration: Time on hold, in the unit of `duration`; whether that includes it is unknown. [doc]

    Source: docs/contract.md 5.2.
    """

    connect_dt: str | None = None
    disconnect_dt: str | None = None
    ip: str | None = None
    duration: Number | None = None
    hold_duration: Number | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

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
    """The media that the user published. Older responses have the texts `"true"` and `"false"`.

    Args:
        audio: Whether the user published audio. [doc]
        data: Whether the user published data. [doc]
        video: Whether the user published video. [doc]
        screen: Whether the user shared the screen. [doc]
        url: Whether the user published from a URL. [doc]

    Source: docs/contract.md 5.2.
    """

    audio: bool | None = None
    data: bool | None = None
    video: bool | None = None
    screen: bool | None = None
    url: bool | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class Usage(Model):
    """Usage counters, all in minutes, whole or not. Which of them are billed is unknown.

    Args:
        subscribed_minutes: Minutes of media that the user received, presumably summed over streams. [doc]
        published_minutes: Minutes of media that the user sent, presumably summed over streams. [doc]
        screen_minutes: Minutes of screen sharing, only in newer responses. [doc]
        connect_minutes: Minutes that the user was connected, only in newer responses. [doc]
        connect_minutes_cal: Only in newer responses. By its name, perhaps what is billed; its meaning is unknown.
            [doc]
        room_connect_minutes: Minutes that the session ran, only in newer responses. Like `room.duration`, it is
            presumably the same for every user of the session. [doc]

    Source: docs/contract.md 5.2.
    """

    subscribed_minutes: Number | None = None
    published_minutes: Number | None = None
    screen_minutes: Number | None = None
    connect_minutes: Number | None = None
    connect_minutes_cal: Number | None = None
    room_connect_minutes: Number | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class MediaQuality(Model):
    """The quality of one kind of media in one direction.

    Args:
        avg_bitrate: Average bit rate; unit unknown, presumably kbit/s. [doc]
        avg_bitrate_quality: The average as a word, `Good` or `Bad`; there may be others. [doc]
        max_bitrate: Highest bit rate, in the unit of `avg_bitrate`. [doc]
        min_bitrate: Lowest bit rate, in the unit of `avg_bitrate`. [doc]
        bitrate_good_percent: Percentage of the time with a good bit rate, presumably 0 to 100. [doc]

    Source: docs/contract.md 5.2.
    """

    avg_bitrate: Number | None = None
    avg_bitrate_quality: str | None = None
    max_bitrate: Number | None = None
    min_bitrate: Number | None = None
    bitrate_good_percent: Number | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class DirectionQuality(Model):
    """The quality of the media that the user sent, or received.

    Args:
        video: Quality of the camera picture. [doc]
        audio: Quality of the sound. [doc]
        sharing: Quality of the shared screen. [doc]

    Source: docs/contract.md 5.2.
    """

    video: MediaQuality | None = None
    audio: MediaQuality | None = None
    sharing: MediaQuality | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class StatsQuality(Model):
    """The quality of a user's connection in both directions.

    Args:
        send: What the user sent. [doc]
        receive: What the user received. [doc]

    Source: docs/contract.md 5.2.
    """

    send: DirectionQuality | None = None
    receive: DirectionQuality | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class Price(Model):
    """The price of a connection. Seen only in code that uses the service.

    Args:
        connect_duration: The price of the connected time; its currency is unknown. [code]

    Source: docs/contract.md 5.2.
    """

    connect_duration: Number | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class CallRecord(Model):
    """The record of one user's connection to a finished session, in either schema of the service.

    A part that is missing from the record is still present here, with every field None. The contract leaves
    the shape of `room.room_details` and `stats_quality` open: both are kept as received, and `room.details`
    and `quality` are typed views of them.

    Each field says how it is known: "doc" means that the service documents it, "code" that programs use it. The
    documentation has names and sample values; meanings are inferred from these. None was confirmed by a response.

    Args:
        trans_date: When the record was created, ISO 8601 in UTC, as in the response. `trans_at` is the parsed time.
            The service presumably selects records by its day. [doc]
        conf_num: The session. All records of one session share it; opaque text. [doc]
        sip: Only in newer responses; presumably whether the user connected by telephone. [doc]
        call_num: The ID of the call; how it differs from `call_log_id` is unknown. [doc]
        call_log_id: The ID of the call's log entry. It identifies a record without `cdr_id`. [doc]
        parent_partner_id: The account above yours, only in newer responses; meaning unknown. [doc]
        room: The room and the session. [doc]
        user: The connected user. [doc]
        sigserver: The user's own connection: when, and for how long. [doc]
        published_track: The media that the user published. [doc]
        usage: Usage counters in minutes. [doc]
        stats_quality: Quality of the connection as received, only in newer responses. `quality` is a typed view. [doc]
        app_id: The APP_ID of your project. [doc]
        cdr_id: The ID of the record; opaque text. [doc]
        price: The price of the connection. [code]

    Source: docs/contract.md 5.2.
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
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

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
        """Your own reference of the room, otherwise the one that the client generated; None if the record has none."""
        found = (self.room.room_details or {}).get("owner_ref")
        return None if found is None else str(found)

    @property
    def quality(self) -> StatsQuality | None:
        """`stats_quality` as a model, built on access."""
        return None if self.stats_quality is None else StatsQuality.from_dict(self.stats_quality)

    columns: ClassVar[Mapping[str, type[Any]]] = COLUMNS
    """The columns of `flat()` in order, each with its type: `str`, `float`, `bool` or `datetime`."""

    def flat(self) -> dict[str, Any]:
        """Return the record as one flat row, the same for both schemas of the service.

        Returns:
            One value per name in `columns`, in that order. Times are aware and in UTC. A value that is missing,
            or that does not have the type of its column, is None. `user.token` is not included.
        """
        return flat_row(self)
