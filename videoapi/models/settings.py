"""Room settings: one class for reading and writing."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack, cast

import attrs

from videoapi.errors import ValidationError
from videoapi.models.base import UNSET, Model, Unset
from videoapi.models.fields import field_types, rebuild
from videoapi.models.redaction import redact_url
from videoapi.models.times import in_utc, parse_time, wire_time

__all__ = ["UNSET", "LiveRecording", "LiveTranscription", "RoleBasedRecording", "RoomSettings", "Unset"]


@attrs.frozen(repr=False, kw_only=True)
class LiveRecording(Model):
    """Recording of a composed view during the session. Source: docs/contract.md 4.2."""

    auto_recording: bool | None = None
    url: str | None = attrs.field(default=None, repr=redact_url)


@attrs.frozen(repr=False, kw_only=True)
class LiveTranscription(Model):
    """Transcription during the session. Source: docs/contract.md 4.2."""

    language: str | None = None
    auto_transcribe: bool | None = None
    enable: bool | None = None


@attrs.frozen(repr=False, kw_only=True)
class RoleBasedRecording(Model):
    """What is recorded per role: `audio` or `audiovideo`. Source: docs/contract.md 4.2."""

    moderator: str | None = None
    participant: str | None = None


class SettingsFields(TypedDict, total=False):
    """The arguments of `RoomSettings`. Numbers may also be text, and parts mappings."""

    description: str | Unset | None
    mode: str | Unset | None
    scheduled: bool | Unset | None
    adhoc: bool | Unset | None
    scheduled_time: str | Unset | None
    duration: int | str | Unset | None
    moderators: int | str | Unset | None
    participants: int | str | Unset | None
    audiences: int | str | Unset | None
    send_audiences_stats: bool | Unset | None
    hls_view_url: str | Unset | None
    auto_recording: bool | Unset | None
    screen_share: bool | Unset | None
    canvas: bool | Unset | None
    knock: bool | Unset | None
    wait_for_moderator: bool | Unset | None
    wait_moderator: bool | Unset | None
    quality: str | Unset | None
    billing_code: str | int | Unset | None
    abwd: bool | Unset | None
    facex: bool | Unset | None
    active_talker: bool | Unset | None
    max_active_talkers: int | str | Unset | None
    single_file_recording: bool | Unset | None
    role_based_recording: RoleBasedRecording | Mapping[str, Any] | str | Unset | None
    live_recording: LiveRecording | Mapping[str, Any] | bool | Unset | None
    live_transcription: LiveTranscription | Mapping[str, Any] | bool | Unset | None
    media_zone: str | Unset | None
    watermark: bool | Unset | None
    media_configuration: str | Unset | None
    encryption: bool | Unset | None
    viewers: int | str | Unset | None
    peep: bool | Unset | None
    aor: str | Unset | None


class _Written(Model):
    """Written settings, stored as a mapping of the given values so that they are cheap to build and send."""

    __slots__ = ("_given",)

    _given: dict[str, Any]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only called for empty slots; read settings have none.
            if name in _NAMES:
                return self._given.get(name, UNSET)
            return super().__getattr__(name)


@attrs.frozen(repr=False, init=False)
class RoomSettings(_Written):
    """The settings of a room.

    A setting that was not given is `UNSET` and not sent; an explicit None is sent as null.
    In settings that were read, a setting that the response lacks reads None.
    A room is permanent by default; `scheduled_at` and `one_session` are for the other two kinds.

    Source: docs/contract.md 4.1, 4.2.
    """

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

    def __init__(self, *, extra: Mapping[str, Any] | None = None, **given: Unpack[SettingsFields]) -> None:
        # Through sets, which take half the time of comparing the keys and searching the values.
        if not _KNOWN.issuperset(given):
            unknown = ", ".join(sorted(given.keys() - _NAMES.keys()))
            raise TypeError(f"RoomSettings has no {unknown}; give a white-label's own settings as extra={{...}}.")
        if not _UNSET.isdisjoint(map(type, given.values())):
            given = {name: value for name, value in given.items() if value is not UNSET}  # type: ignore[assignment]
        _put_given(self, given)
        _set_extra(self, dict(extra) if extra else {})

    @classmethod
    def scheduled_at(cls, when: datetime | str, *, minutes: int, **fields: Any) -> Self:
        """Return settings for a scheduled room, open from 15 minutes before its start until its end.

        Args:
            when: The start, as an aware datetime or ISO 8601 text with a time zone.
            minutes: The duration in minutes from the start; at least 1.
            fields: Any other settings.

        Raises:
            ValidationError: If `when` is not a time with a zone, or `minutes` is not a positive integer.

        Source: docs/contract.md 4.1.
        """
        _check_minutes(minutes)
        time = wire_time(_aware(when))
        return cls(scheduled=True, adhoc=False, scheduled_time=time, duration=minutes, **fields)

    @classmethod
    def one_session(cls, minutes: int | None = None, **fields: Any) -> Self:
        """Return settings for a room that the service deletes after use.

        Args:
            minutes: If None, the room is deleted when its first session ends; otherwise this many
                minutes after its first session started, regardless of the number of sessions.
            fields: Any other settings.

        Raises:
            ValidationError: If `minutes` is not a positive integer.

        Source: docs/contract.md 4.1.
        """
        if minutes is None:
            return cls(scheduled=False, adhoc=True, **fields)
        _check_minutes(minutes)
        return cls(scheduled=False, adhoc=True, duration=minutes, **fields)

    @classmethod
    def _empty(cls) -> Self:
        """Return the settings of a response without any, with None in every field."""
        return rebuild(cls, {}, None)

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

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by API field name; of written settings, only those that were given."""
        values = [(name, getattr(self, name)) for name in field_types(RoomSettings)]
        # Only written settings contain UNSET; a None in them was given explicitly and means null.
        written = any(value is UNSET for _, value in values)
        nulls = {name: None for name, value in values if written and value is None}
        return nulls | super().to_dict()

    def to_wire(self) -> dict[str, Any]:
        """Return the settings to send: `to_dict`, with a fast path for plain written settings."""
        given = getattr(self, "_given", _NAMES)
        # Every field is given only in settings evolved from read ones, where None means absent.
        if len(given) == len(_NAMES) or self._extra or not _SCALARS.issuperset(map(type, given.values())):
            return self.to_dict()
        return dict(given)


_NAMES: Final = dict.fromkeys(field_types(RoomSettings))
_KNOWN: Final = frozenset(_NAMES)
_UNSET: Final = frozenset({Unset})
_put_given: Final = cast(Any, _Written)._given.__set__
_set_extra: Final = cast(Any, RoomSettings)._extra.__set__
_SCALARS: Final = frozenset({str, int, bool, float, type(None)})


def _check_minutes(minutes: int) -> None:
    if type(minutes) is not int or minutes < 1:  # not isinstance: True is an int
        raise ValidationError(
            f"minutes must be a whole number of at least 1, not {minutes!r}.",
            field="settings.duration",
            code=10011,
        )


def _aware(when: object) -> datetime:
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when.strip())
        except ValueError:
            raise _invalid_start("is not an ISO 8601 time") from None
    if not isinstance(when, datetime):
        raise _invalid_start("must be a datetime or ISO 8601 text")
    if when.utcoffset() is None:
        raise _invalid_start("has no time zone; write 2026-01-31T10:00:00+00:00 or use datetime(..., tzinfo=UTC)")
    return in_utc(when)


def _invalid_start(problem: str) -> ValidationError:
    message = f"The start of a scheduled room {problem}."
    return ValidationError(message, field="settings.scheduled_time", code=10005)
