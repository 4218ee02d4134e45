"""Request and response bodies: the room that every client creates, and the server's responses.

Each other vendor's client gets a response in that vendor's format.
"""

from __future__ import annotations

import json
from typing import Any, Final

NAME: Final = "test Room"
DATA: Final = {"tenant": "t-1", "note": "x" * 640}
_ID: Final = "5f7f1f3a1f3a1f3a1f3a1f3a"
_FILLED_IN: Final = {
    "description": "weekly",
    "mode": "group",
    "scheduled": False,
    "adhoc": False,
    "duration": "60",
    "participants": "2",
    "auto_recording": False,
    "screen_share": True,
    "canvas": True,
    "media_configuration": "default",
    "quality": "SD",
    "moderators": 1,
    "active_talker": True,
    "max_active_talkers": 2,
    "single_file_recording": False,
    "media_zone": "XX",
    "billing_code": "b-12345",
}


def settings() -> dict[str, Any]:
    """Return new settings for the room, as callers build them for each call."""
    return {
        "description": "weekly",
        "mode": "group",
        "scheduled": False,
        "adhoc": False,
        "duration": "60",
        "moderators": 1,
        "participants": "2",
        "auto_recording": False,
        "screen_share": True,
        "canvas": True,
        "quality": "SD",
        "billing_code": "b-12345",
        "active_talker": True,
    }


def room(number: int) -> dict[str, Any]:
    """Return the body of a create, with a reference as long as the library's."""
    return {
        "name": NAME,
        "settings": settings(),
        "sip": {"enabled": False},
        "data": DATA,
        "owner_ref": f"row-{number:024d}",
    }


def _dumped(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def made_room() -> tuple[bytes, bytes, bytes]:
    """Return a room as in the service's response: the bytes before the reference, before the ID, and after it."""
    made = {
        "name": NAME,
        "service_id": _ID,
        "owner_ref": "@ref",
        "settings": _FILLED_IN,
        "sip": {"enabled": False},
        "data": DATA,
        "created": "2021-03-25T08:00:13.764Z",
        "room_id": "@id",
    }
    start, _, rest = _dumped(made).partition(b"@ref")
    middle, _, end = rest.partition(b"@id")
    return start, middle, end


def _twilio() -> dict[str, Any]:
    base = "https://video.twilio.com/v1/Rooms/RM" + "0" * 32
    return {
        "sid": "RM" + "0" * 32,
        "account_sid": "AC" + "0" * 32,
        "status": "in-progress",
        "type": "group",
        "date_created": "2021-03-25T08:00:13Z",
        "date_updated": "2021-03-25T08:00:13Z",
        "start_time": "2021-03-25T08:00:13Z",
        "end_time": None,
        "duration": None,
        "unique_name": "test Room",
        "enable_turn": True,
        "max_participants": 50,
        "max_concurrent_published_tracks": 170,
        "max_participant_duration": 14400,
        "status_callback": None,
        "status_callback_method": "POST",
        "record_participants_on_connect": False,
        "video_codecs": ["H264", "VP8"],
        "media_region": "us1",
        "empty_room_timeout": 5,
        "unused_room_timeout": 5,
        "audio_only": False,
        "large_room": False,
        "url": base,
        "links": {kind: f"{base}/{kind.title()}" for kind in ("recordings", "participants", "recording_rules")},
    }


def _stripe() -> dict[str, Any]:
    return {
        "id": "cus_NffrFeUfNV2Hib",
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": 1680893993,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": "weekly",
        "email": "room@example.com",
        "invoice_prefix": "0759376C",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {"tenant": "t-1", "note": "x" * 300},
        "name": "test Room",
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def _openai() -> dict[str, Any]:
    models = [{"id": f"model-{n}", "object": "model", "created": 1686935002, "owned_by": "openai"} for n in range(8)]
    return {"object": "list", "data": models}


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _livekit() -> bytes:
    """Return a `livekit.Room` in the protobuf wire format, without using the library."""

    def text(field: int, value: bytes) -> bytes:
        return _varint(field << 3 | 2) + _varint(len(value)) + value

    def number(field: int, value: int) -> bytes:
        return _varint(field << 3) + _varint(value)

    codecs = b"".join(text(7, text(1, mime)) for mime in (b"audio/opus", b"video/VP8", b"video/H264"))
    described = text(1, b"RM_abcdefghijkl") + text(2, b"test Room") + number(3, 300) + number(4, 50)
    return described + number(5, 1616659213) + text(6, b"p" * 48) + codecs + text(8, b"x" * 400)


ANSWERS: Final[dict[bytes, tuple[str, bytes]]] = {
    b"POST /v1/Rooms": ("application/json", _dumped(_twilio())),
    b"POST /v1/customers": ("application/json", _dumped(_stripe())),
    b"GET /v1/models": ("application/json", _dumped(_openai())),
    b"POST /twirp/livekit.RoomService/CreateRoom": ("application/protobuf", _livekit()),
}
"""Content type and body of the responses to other vendors' clients, by method and path."""
