"""Room settings: `RoomSettings` for requests, `EffectiveSettings` in responses."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack, cast, get_args

import attrs

from videoapi.errors import ValidationError
from videoapi.models.base import Kept, Model, hashable, plain
from videoapi.models.descriptions import described_like
from videoapi.models.fields import field_types
from videoapi.models.redaction import redact_url
from videoapi.models.setting_parts import LiveRecording, LiveTranscription, OtherSettings, RoleBasedRecording
from videoapi.models.times import in_utc, parse_time, wire_time


class _Settings(Model):
    """What requested and effective settings have in common."""

    __slots__ = ()

    scheduled: bool | None
    adhoc: bool | None
    scheduled_time: str | None
    wait_for_moderator: bool | None
    wait_moderator: bool | None

    @property
    def is_scheduled(self) -> bool:
        """Whether the room opens at a set time."""
        return self.scheduled is True

    @property
    def is_one_session(self) -> bool:
        """Whether the service deletes the room after use."""
        return self.adhoc is True and not self.is_scheduled

    @property
    def is_permanent(self) -> bool:
        """Whether the room exists until it is deleted by a request."""
        return not self.is_scheduled and not self.is_one_session

    @property
    def starts_at(self) -> datetime | None:
        """The start of a scheduled room (aware, UTC); None for other kinds."""
        return parse_time(self.scheduled_time) if self.is_scheduled else None

    @property
    def waits_for_moderator(self) -> bool:
        """Whether others wait until a moderator joins, under either name of the setting."""
        return self.wait_for_moderator is True or self.wait_moderator is True

    @property
    def extra_keys(self) -> frozenset[str]:
        """The names of white-label settings; empty if unknown fields were not kept."""
        return frozenset(self._extra_fields() or ())


class _Given(_Settings):
    """Requested settings, stored as a mapping of the given values so that they are cheap to build and send."""

    __slots__ = ("_given",)

    _given: dict[str, Any]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only called for empty slots, which is what all settings are.
            if name in _KNOWN:
                return self._given.get(name)
            return super().__getattr__(name)


@attrs.frozen(repr=False, eq=False, kw_only=True)
class RoomSettings(_Given):
    """The settings that you request for a room.

    A setting that you do not give reads None and is not sent: a new room gets the service's default, and an
    update leaves the setting unchanged. To send a null, name the setting in `extra`: `extra={"description": None}`.
    A room is permanent by default; `scheduled_at` and `one_session` are for the other two kinds.

    Two requests are equal if they send the same. Brackets say how a field is known: [wire] was seen in traffic of
    the service, [doc] is stated in its documentation, [code] was found in programs that call it, and the effect of
    [unknown] is not documented.

    Args:
        description: Free text; an empty one is not returned. [doc, wire]
        mode: `group` (default) or `lecture`, in which only moderators publish. Cannot be changed later. [doc]
        scheduled: Whether the room opens at `scheduled_time`; false by default. Cannot be changed later. [doc]
        adhoc: Whether the service deletes the room after use; false by default. Cannot be changed later. [doc]
        scheduled_time: The start of a scheduled room in UTC, `YYYY-MM-DD HH:MM:SS`, in the future. [doc, wire] A
            create whose start passed more than 5 minutes ago is a `ValidationError`; `validate=False` sends it.
        duration: Minutes, above 0: how long a scheduled room is open, or how long a one-session room exists after
            its first session has started. [doc] No effect in a permanent room. [wire]
        moderators: Most moderators at once, 1 to 5; 1 by default. [doc]
        participants: Most participants at once, not counting moderators; 0 (default) is unlimited. [doc, code]
        audiences: Most users of the role `audience`; requires a subscription. [doc]
        send_audiences_stats: Whether statistics of the audience are sent; to whom is unknown. [code]
        hls_view_url: The HTTPS address of the page that is shown in an HLS stream; `DEFAULT` by default. The repr
            omits the query. [doc]
        auto_recording: Whether recording starts with the session; false by default. [doc]
        screen_share: Whether users can share their screen; true by default. [doc, wire]
        canvas: Whether users can share a canvas; false by default. [doc, wire]
        knock: Whether a moderator admits each user; false by default. [doc]
        wait_for_moderator: Whether others wait until a moderator joins; false by default. [doc]
        wait_moderator: The older name of `wait_for_moderator`. [wire]
        quality: The highest video quality: `HD`, `SD` or `LD`, at most the project's, which is the default. [doc]
        billing_code: Your own code for billing. [doc, code]
        abwd: Whether bandwidth is detected and quality adapted to it; true by default. [doc]
        facex: Whether faces are analyzed; true by default. [doc]
        active_talker: Whether the users who talk are determined; true by default. An older setting. [wire]
        max_active_talkers: Most talking users that are shown at once, 1 to 16; 6 by default. [doc, wire]
        single_file_recording: Whether a session is recorded to a single file; false by default. [doc]
        role_based_recording: What is recorded per role: `RoleBasedRecording` or a mapping. [doc]
        live_recording: Recording of a composed view: `LiveRecording`, a mapping, or true or false. [doc]
        live_transcription: Transcription: `LiveTranscription`, a mapping, or true or false. Requires a
            subscription. [doc]
        media_zone: The region of the media servers: `IN`, `SG`, `US`, or `XX` (default: the service
            decides). [doc, wire]
        watermark: Whether a watermark is shown; false by default. [doc]
        media_configuration: Seen in responses as `default`. [wire, unknown]
        encryption: Seen in responses. [code, unknown]
        viewers: Seen in responses; probably the most users of the role `viewer`. [code, unknown]
        peep: Named only by an error code of the service. [doc, unknown]
        aor: Named only by an error code of the service, as a SIP URI. [doc, unknown]
        extra: A white-label's own settings by API field name, and settings to send as null. A setting that is also
            given as an argument is sent as in the argument.
    """

    # Source: docs/contract.md 4.1, 4.2.
    composed: ClassVar[bool] = True

    description: str | None = None
    mode: str | None = None
    scheduled: bool | None = None
    adhoc: bool | None = None
    scheduled_time: str | None = None
    duration: int | str | None = None
    moderators: int | str | None = None
    participants: int | str | None = None
    audiences: int | str | None = None
    send_audiences_stats: bool | None = None
    hls_view_url: str | None = attrs.field(default=None, repr=redact_url)
    auto_recording: bool | None = None
    screen_share: bool | None = None
    canvas: bool | None = None
    knock: bool | None = None
    wait_for_moderator: bool | None = None
    wait_moderator: bool | None = None
    quality: str | None = None
    billing_code: str | int | None = None
    abwd: bool | None = None
    facex: bool | None = None
    active_talker: bool | None = None
    max_active_talkers: int | str | None = None
    single_file_recording: bool | None = None
    role_based_recording: RoleBasedRecording | Mapping[str, Any] | str | None = None
    live_recording: LiveRecording | Mapping[str, Any] | bool | None = None
    live_transcription: LiveTranscription | Mapping[str, Any] | bool | None = None
    media_zone: str | None = None
    watermark: bool | None = None
    media_configuration: str | None = None
    encryption: bool | None = None
    viewers: int | str | None = None
    peep: bool | None = None
    aor: str | None = None
    _extra: Mapping[str, Any] | None = attrs.field(default=None, alias="extra", repr=False)

    # Type checkers see the arguments that attrs would generate.
    if not TYPE_CHECKING:
        # `self` by position only: otherwise, Python compares the name of each setting with it.
        def __init__(self, /, *, extra: Mapping[str, Any] | None = None, **given: Any) -> None:
            # Through a set, which takes half the time of comparing the keys.
            if not _KNOWN.issuperset(given):
                unknown = ", ".join(sorted(given.keys() - _KNOWN))
                raise TypeError(f"RoomSettings has no {unknown}; give a white-label's own settings as extra={{...}}.")
            if None in given.values():
                given = {name: value for name, value in given.items() if value is not None}
            _put_given(self, given)
            _put_extra(self, dict(extra) if extra else {})

    @classmethod
    def scheduled_at(
        cls,
        when: datetime | str,
        *,
        minutes: int,
        extra: Mapping[str, Any] | None = None,
        **settings: Unpack[OtherSettings],
    ) -> Self:
        """Return settings for a scheduled room, open from 15 minutes before its start until its end.

        A start in the past is valid here, so that a job can be run again after its rooms have started: it finds them.
        To create a room, the start must be in the future, give or take 5 minutes for clocks that differ.

        Args:
            when: The start, as an aware datetime or ISO 8601 text with a time zone.
            minutes: The duration in minutes from the start; at least 1.
            extra: As in `RoomSettings`.
            settings: Any other settings.

        Raises:
            ValidationError: If `when` is not a time with a zone, or `minutes` is not a positive integer.
        """
        # Source: docs/contract.md 4.1.
        _check_minutes(minutes)
        time = wire_time(_aware(when))
        return cls(scheduled=True, adhoc=False, scheduled_time=time, duration=minutes, extra=extra, **settings)

    @classmethod
    def one_session(
        cls,
        minutes: int | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
        **settings: Unpack[OtherSettings],
    ) -> Self:
        """Return settings for a room that the service deletes after use.

        Args:
            minutes: If None, the room is deleted when its first session ends; otherwise this many
                minutes after its first session started, regardless of the number of sessions.
            extra: As in `RoomSettings`.
            settings: Any other settings.

        Raises:
            ValidationError: If `minutes` is not a positive integer.
        """
        # Source: docs/contract.md 4.1.
        if minutes is not None:
            _check_minutes(minutes)
        return cls(scheduled=False, adhoc=True, duration=minutes, extra=extra, **settings)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build settings from the result of `to_dict`, or from parsed JSON.

        Args:
            fields: Values by API field name. Unknown ones, nulls and values that do not fit go to `extra`.

        Raises:
            ValidationError: If `fields` is not a mapping.
        """
        if not isinstance(fields, Mapping):
            raise ValidationError(f"Not a valid {cls.__name__}: expected an object.")
        read = EffectiveSettings.from_dict(fields)._values()
        given = {name: _as_written(name, fields[name], value) for name, value in read.items()}
        return cls(extra={name: value for name, value in fields.items() if name not in given}, **given)

    def _sends(self, name: str) -> bool:
        """Return whether a setting is sent with a value that is true."""
        given = self._given
        return bool(given[name] if name in given else (self._extra or {}).get(name))

    def to_wire(self) -> dict[str, Any]:
        """Return the settings to send, by API field name."""
        given, extra = self._given, self._extra or {}
        if not extra and _SCALARS.issuperset(map(type, given.values())):
            return dict(given)
        wire: dict[str, Any] = plain(given)
        return wire | {name: plain(value) for name, value in extra.items() if name not in wire}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings to send, as `to_wire` does."""
        return self.to_wire()

    def __eq__(self, other: object) -> bool:
        return self.to_wire() == other.to_wire() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), hashable(self.to_wire())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), self._given, self._extra)


@described_like(RoomSettings)
@attrs.frozen(repr=False, kw_only=True)
class EffectiveSettings(_Settings):
    """The settings of a room as the service returns them, including the defaults that it fills in.

    A setting that the response lacks reads None. To change settings, or to create another room with them, call
    `to_request()`. Brackets say how a field is known: see `RoomSettings`.
    """

    # Source: docs/contract.md 4.1, 4.2, 4.3.
    description: str | None = None
    mode: str | None = None
    scheduled: bool | None = None
    adhoc: bool | None = None
    scheduled_time: str | None = None
    duration: int | None = None
    moderators: int | None = None
    participants: int | None = None
    audiences: int | None = None
    send_audiences_stats: bool | None = None
    hls_view_url: str | None = attrs.field(default=None, repr=redact_url)
    auto_recording: bool | None = None
    screen_share: bool | None = None
    canvas: bool | None = None
    knock: bool | None = None
    wait_for_moderator: bool | None = None
    wait_moderator: bool | None = None
    quality: str | None = None
    billing_code: str | None = None
    abwd: bool | None = None
    facex: bool | None = None
    active_talker: bool | None = None
    max_active_talkers: int | None = None
    single_file_recording: bool | None = None
    role_based_recording: RoleBasedRecording | str | None = None
    live_recording: LiveRecording | bool | None = None
    live_transcription: LiveTranscription | bool | None = None
    media_zone: str | None = None
    watermark: bool | None = None
    media_configuration: str | None = None
    encryption: bool | None = None
    viewers: int | None = None
    peep: bool | None = None
    aor: str | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    def to_request(self) -> RoomSettings:
        """Return these settings as a request, to be changed with `attrs.evolve` and sent.

        A room keeps its kind and mode: `rooms.update` does not send them if they are those of the room.
        Settings that this version does not know are included if they were kept: read a list with `extra=True`.
        """
        return RoomSettings(extra=self._extra_fields(), **self._values())

    def _values(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in field_types(EffectiveSettings)}
        return {name: value for name, value in values.items() if value is not None}


_KNOWN: Final = frozenset(field_types(EffectiveSettings))
_put_given: Final = cast(Any, _Given)._given.__set__
_put_extra: Final = cast(Any, RoomSettings)._extra.__set__
_TIME_FORM: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)", re.ASCII)
_SCALARS: Final = frozenset({str, int, bool, float})


def _build(cls: type[RoomSettings], given: dict[str, Any], extra: dict[str, Any]) -> RoomSettings:
    settings = cls.__new__(cls)
    _put_given(settings, given)
    _put_extra(settings, extra)
    return settings


def _as_written(name: str, value: Any, read: Any) -> Any:
    """Return a value as it was written if the setting may be written so, otherwise as it is read."""
    kept = isinstance(value, Mapping) or type(value) in get_args(field_types(RoomSettings)[name])
    return value if kept else read


def _check_minutes(minutes: int) -> None:
    if type(minutes) is not int or minutes < 1:  # not isinstance: True is an int
        raise ValidationError(
            f"minutes must be a whole number of at least 1, not {minutes!r}.",
            field="settings.duration",
            code=10011,
        )


def _aware(when: object) -> datetime:
    if isinstance(when, str):
        text = when.strip()
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            is_impossible = is_impossible_time(text)
            problem = "is a day or a time that does not exist" if is_impossible else "is not an ISO 8601 time"
            raise _invalid_start(problem) from None
    if not isinstance(when, datetime):
        raise _invalid_start("must be a datetime or ISO 8601 text")
    if when.utcoffset() is None:
        raise _invalid_start("has no time zone; write 2026-01-31T10:00:00+00:00 or use datetime(..., tzinfo=UTC)")
    try:
        return in_utc(when)
    except OverflowError:
        raise _invalid_start("is not within the years 1 to 9999 in UTC") from None


def is_impossible_time(text: str) -> bool:
    """Return whether a text has the form of a time with its offset from UTC, but names none, as on 30 February."""
    if _TIME_FORM.fullmatch(text.strip()) is None:
        return False
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return True
    return False


def _invalid_start(problem: str) -> ValidationError:
    message = f"The start of a scheduled room {problem}."
    return ValidationError(message, field="settings.scheduled_time", code=10005)
