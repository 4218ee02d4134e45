"""What the first answers need: importing this module, and `prepare`, does now what they would wait for.

The namespaces are imported at first use, cattrs at the first odd record, and decoders and hooks are built when
the first object of a model is read. That keeps the start short, and makes the first calls long.
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
    """Read an empty object of every kind in both ways, the fast one and the tolerant one."""
    for decoder in _ANSWERS:
        with suppress(DecodeError):
            decoder.fast(b"{}")
        with suppress(DecodeError):
            decoder.tolerant([{}] if decoder.many else {})
    for model in _RECORDS:
        for extra in (False, True):
            # The fast way refuses null, so that is read in the tolerant one.
            RecordDecoder(model, extra=extra).decode_block((b"{}", b"null"))
