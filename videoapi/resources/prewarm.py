"""Prewarming: importing this module and calling `prepare` does in advance what the first calls would wait for.

By default, namespaces are imported on first use, cattrs with the first unusual record, and decoders and hooks are
built with the first object of a model. That shortens the startup, but delays the first calls.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from videoapi.creation.create_request import ROOM
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError, RecordDecoder, ResponseDecoder
from videoapi.models.rooms import Room
from videoapi.resources import archives as archives
from videoapi.resources.dialin import NUMBERS
from videoapi.resources.rooms import USERS
from videoapi.resources.tokens import TOKEN
from videoapi.streaming.records import RecordStream as RecordStream

_ANSWERS: Final[tuple[ResponseDecoder[Any], ...]] = (ROOM, TOKEN, USERS, NUMBERS)
_RECORDS: Final = (Room, CallRecord, Archive)


def prepare() -> None:
    """Decode an empty object of every model on both paths, the fast one and the tolerant one."""
    for decoder in _ANSWERS:
        with suppress(DecodeError):
            decoder.fast(b"{}")
        with suppress(DecodeError):
            decoder.tolerant([{}] if decoder.many else {})
    for model in _RECORDS:
        for extra in (False, True):
            # The fast path rejects null, so null takes the tolerant one.
            RecordDecoder(model, extra=extra).decode_block((b"{}", b"null"))
