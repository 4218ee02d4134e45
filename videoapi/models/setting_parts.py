"""The parts of room settings, and the settings that every kind of room has."""

from collections.abc import Mapping
from typing import Any, TypedDict

import attrs

from videoapi.models.base import Kept, Model
from videoapi.models.redaction import redact_url


@attrs.frozen(repr=False, kw_only=True)
class LiveRecording(Model):
    """Recording of a composed view during the session.

    Brackets say how a field is known: see `RoomSettings`.

    Args:
        auto_recording: Whether this recording starts with the session. [doc]
        url: The address of the page to record; its form is unknown. The repr omits the query. [doc]
    """

    # Source: docs/contract.md 4.2.
    auto_recording: bool | None = None
    url: str | None = attrs.field(default=None, repr=redact_url)
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class LiveTranscription(Model):
    """Transcription during the session. Requires a subscription.

    Brackets say how a field is known: see `RoomSettings`.

    Args:
        language: The spoken language; the accepted codes are unknown. [doc]
        auto_transcribe: Whether transcription starts with the session. [doc]
        enable: Whether transcription is available in the room. [doc]
    """

    # Source: docs/contract.md 4.2.
    language: str | None = None
    auto_transcribe: bool | None = None
    enable: bool | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class RoleBasedRecording(Model):
    """The media that are recorded per role.

    Brackets say how a field is known: see `RoomSettings`.

    Args:
        moderator: `audio` or `audiovideo` (default). [doc]
        participant: `audio` or `audiovideo` (default). [doc]
    """

    # Source: docs/contract.md 4.2.
    moderator: str | None = None
    participant: str | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


class OtherSettings(TypedDict, total=False):
    """The settings that do not define when a room exists; see `RoomSettings`."""

    description: str | None
    mode: str | None
    moderators: int | str | None
    participants: int | str | None
    audiences: int | str | None
    send_audiences_stats: bool | None
    hls_view_url: str | None
    auto_recording: bool | None
    screen_share: bool | None
    canvas: bool | None
    knock: bool | None
    wait_for_moderator: bool | None
    wait_moderator: bool | None
    quality: str | None
    billing_code: str | int | None
    abwd: bool | None
    facex: bool | None
    active_talker: bool | None
    max_active_talkers: int | str | None
    single_file_recording: bool | None
    role_based_recording: RoleBasedRecording | Mapping[str, Any] | str | None
    live_recording: LiveRecording | Mapping[str, Any] | bool | None
    live_transcription: LiveTranscription | Mapping[str, Any] | bool | None
    media_zone: str | None
    watermark: bool | None
    media_configuration: str | None
    encryption: bool | None
    viewers: int | str | None
    peep: bool | None
    aor: str | None
