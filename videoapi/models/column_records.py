"""Decoding of call records for columns, without models, which would only be taken apart again."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from videoapi.models.cdr import CallRecord
from videoapi.models.codec import UNREADABLE, RecordDecoder, check_text
from videoapi.models.decoded import struct_of

_FIGURES: Final = ("avg_bitrate", "min_bitrate", "max_bitrate", "bitrate_good_percent", "avg_bitrate_quality")
_MEDIA: Final = ("video", "audio", "sharing")
_DIRECTIONS: Final = ("send", "receive")


class ReceivedQuality(msgspec.Struct, gc=False, frozen=True):
    """The `stats_quality` of a record: its JSON text as received, and a struct with the values that have columns."""

    text: bytes
    figures: Any


class ColumnDecoder(RecordDecoder[CallRecord]):
    """A decoder of call records that returns what the JSON decoder builds, with `stats_quality` as a `ReceivedQuality`.

    A record that the typed decoder rejects is a model, as it is for other decoders.
    """

    def __init__(self) -> None:
        super().__init__(CallRecord, extra=False)

    def decode_list(self, text: bytes) -> list[CallRecord] | None:
        try:
            # Also where a raw text, or one that a later value of the same key replaces, is skipped.
            check_text(text)
            decoded = _decode_records(text)
            figures = _decode_figures(b"[%b]" % b",".join([one.stats_quality for one in decoded]))
        except UNREADABLE:
            return None
        for one, found in zip(decoded, figures, strict=True):
            one.stats_quality = None if found is None else ReceivedQuality(bytes(one.stats_quality), found)
        return cast("list[CallRecord]", decoded)

    def _decode_one(self, raw: bytes | msgspec.Raw) -> tuple[CallRecord, tuple[str, ...]]:
        alone = self.decode_list(b"[%b]" % raw)
        return super()._decode_one(raw) if alone is None else (alone[0], ())


def _decode_figures(texts: bytes) -> list[Any]:
    """Return the figures of each `stats_quality`; None for one that other streams read as None."""
    try:
        return cast("list[Any]", _decode_known(texts))
    except msgspec.ValidationError:
        # As other streams decode it: a struct decoder would skip unknown fields unchecked.
        return [None if one is None else _read(one, _KINDS) or NO_FIGURES for one in _decode_open(texts)]


def _read(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return a part of `stats_quality` as a struct of the first kind; None if it is empty, or not an object."""
    if type(value) is not dict or not value:
        return None
    kind, inner = kinds[0], kinds[1:]
    values = [value.get(name) for name in kind.__struct_fields__]
    if inner:
        return kind(*[_read(one, inner) for one in values])
    return kind(*[one if type(one) in _SCALARS else None for one in values])


def _struct(names: tuple[str, ...], kind: Any) -> Any:
    fields = [(name, kind | None, None) for name in names]
    return msgspec.defstruct("_Figures", fields, gc=False, forbid_unknown_fields=True)


def _list_decoder(kind: Any, *, strict: bool = True) -> Any:
    return msgspec.json.Decoder(list[kind], strict=strict).decode


_SCALARS: Final = (str, int, float)
_MEDIUM: Final = _struct(_FIGURES, str | int | float)
_DIRECTION: Final = _struct(_MEDIA, _MEDIUM)
_KINDS: Final = (_struct(_DIRECTIONS, _DIRECTION), _DIRECTION, _MEDIUM)
NO_FIGURES, NO_DIRECTION, NO_MEDIA = (kind() for kind in _KINDS)
"""What is used for a missing part of `stats_quality`."""

_RECORD: Final[Any] = struct_of(CallRecord)
_COLUMN_RECORD: Final = msgspec.defstruct(
    "_ColumnRecord", [("stats_quality", msgspec.Raw, msgspec.Raw(b"null"))], bases=(_RECORD,), kw_only=True
)
_OPEN: Final = next(field.type for field in msgspec.structs.fields(_RECORD) if field.name == "stats_quality")
_decode_records: Final = _list_decoder(_COLUMN_RECORD, strict=False)
_decode_known: Final = _list_decoder(_KINDS[0] | None)
_decode_open: Final = _list_decoder(_OPEN, strict=False)
