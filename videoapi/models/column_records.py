"""Decoding of call records for columns, without models, which would only be taken apart again."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from videoapi.models.cdr import CallRecord
from videoapi.models.codec import UNREADABLE, RecordDecoder
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
        """Decode as other decoders do, but return None also if a known part of `stats_quality` is not an object."""
        try:
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
    try:
        return cast("list[Any]", _decode_known(texts))
    except msgspec.ValidationError:
        # What a struct has no field for is skipped unchecked, but must be as good as in other streams.
        _check(texts)
        return cast("list[Any]", _decode_some(texts))


def _structs(*, forbid_unknown_fields: bool) -> tuple[Any, Any, Any]:
    """Return the structs of one kind of media, of one direction, and of both directions."""

    def struct(names: tuple[str, ...], kind: Any) -> Any:
        fields = [(name, kind | None, None) for name in names]
        return msgspec.defstruct("_Figures", fields, gc=False, forbid_unknown_fields=forbid_unknown_fields)

    media = struct(_FIGURES, str | int | float)
    direction = struct(_MEDIA, media)
    return media, direction, struct(_DIRECTIONS, direction)


def _list_decoder(kind: Any, *, strict: bool = True) -> Any:
    return msgspec.json.Decoder(list[kind], strict=strict).decode


_KNOWN: Final = _structs(forbid_unknown_fields=True)
_SOME: Final = _structs(forbid_unknown_fields=False)
NO_MEDIA, NO_DIRECTION, NO_FIGURES = (struct() for struct in _KNOWN)
"""What is used for a missing part of a `ReceivedQuality`."""

_RECORD: Final[Any] = struct_of(CallRecord)
_COLUMN_RECORD: Final = msgspec.defstruct(
    "_ColumnRecord", [("stats_quality", msgspec.Raw, msgspec.Raw(b"null"))], bases=(_RECORD,), kw_only=True
)
_OPEN: Final = next(field.type for field in msgspec.structs.fields(_RECORD) if field.name == "stats_quality")
_decode_records: Final = _list_decoder(_COLUMN_RECORD, strict=False)
_decode_known: Final = _list_decoder(_KNOWN[-1] | None)
_decode_some: Final = _list_decoder(_SOME[-1] | None)
_check: Final = _list_decoder(_OPEN, strict=False)
