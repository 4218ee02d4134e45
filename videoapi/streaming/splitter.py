"""Splits a JSON body, fed in chunks of any size, into blocks of list items and a small envelope.

Performs no I/O. The body is an object, and one of its keys holds the list. Everything else is the
envelope: it keeps an empty list in that place and is classified like any other response, so `result`
may come before or after the list.

Blocks are found by trial: cut the bytes at the last `},{` and parse them as a list. Only a cut at the
end of an item parses, because one inside a string or a nested value leaves brackets open. After a
failure an earlier cut is tried, so all bytes are parsed in C. If the record decoder can decode a block
in one pass, that is its only parse. Bytes without such a cut, or that cannot be parsed, are scanned
item by item by following brackets and quotes.
"""

from __future__ import annotations

import enum
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final

import attrs
import msgspec

from videoapi.streaming.json_scanner import ValueScanner, split_points

# Small enough that a block's objects are freed before their number triggers the garbage collector, and that
# an unusual record forces few others to be decoded one by one.
BLOCK: Final = 24 * 1024
_FIRST: Final = 4 * 1024
MAX_ITEM: Final = 1024 * 1024
MAX_ENVELOPE: Final = 1024 * 1024
MAX_SUMMARY: Final = 1000

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_QUOTE, _COMMA, _COLON, _OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b'",:[]{}'

_items: Final = msgspec.json.Decoder(list[msgspec.Raw])


class ListValue(enum.Enum):
    """The kind of value found under the key of the list."""

    NOTHING = "missing"
    LIST = "a list"
    NULL = "null"
    OTHER = "something else"


@attrs.frozen(eq=False)
class Block:
    """Consecutive items of the list, decoded or as bytes.

    `index` is the first item's position in the list, `offset` that of its first byte in the body. A
    block without items and records represents one item that was too long to keep: its text is a summary.
    """

    index: int
    offset: int
    items: Sequence[bytes | msgspec.Raw] = attrs.field(default=(), repr=False)
    text: bytes = attrs.field(default=b"", repr=False)
    records: list[Any] | None = None

    @property
    def too_long(self) -> bool:
        return not self.items and self.records is None

    def raws(self) -> Sequence[bytes | msgspec.Raw]:
        """Return the items as bytes, also if they were decoded in one pass."""
        if self.too_long:
            return (self.text,)
        return self.items or _items.decode(b"".join((b"[", self.text, b"]")))

    def offset_of(self, nth: int) -> int:
        """Return the byte offset of the block's nth item in the body."""
        at = 0
        for item in self.items[:nth]:
            # Only white space and a comma separate two items, so the first match is the item itself.
            at = self.text.index(item, at) + len(memoryview(item))
        return self.offset + (self.text.index(self.items[nth], at) if self.items else 0)


Read = Callable[[bytes], list[Any] | None]
"""Decodes a JSON list of items in one pass; returns None if it is invalid or needs decoding item by item."""

# A parser yields None when it needs more bytes.
_Parse = Generator[Block | None, None, None]


@attrs.define
class _Dropped:
    """An item that is too long to keep: its beginning, its length in bytes, and its checksum."""

    beginning: bytes = b""
    length: int = 0
    checksum: int = 0

    def add(self, piece: bytes | bytearray) -> None:
        self.beginning = self.beginning or bytes(piece[:MAX_SUMMARY])
        self.length += len(piece)
        self.checksum = zlib.crc32(piece, self.checksum)

    @property
    def summary(self) -> bytes:
        return b"%b... (%d bytes, CRC-32 %08x)" % (self.beginning, self.length, self.checksum)


class _Broken(Exception):
    """Invalid JSON, trailing bytes, a second list, or an oversized envelope."""


class Splitter:
    """An incremental splitter: takes a body's bytes as they arrive and yields complete items.

    Args:
        key: The key of the list.
        read: Decodes items; without it they stay bytes.

    After the last byte, `envelope` holds the rest of the document, `found` the kind of value under the
    key, and `complete` whether the document ended. `broken` describes what is wrong with the bytes;
    once it is set, no more blocks are yielded.
    """

    def __init__(self, key: str, read: Read | None = None) -> None:
        self.found: ListValue = ListValue.NOTHING
        self.complete: bool = False
        self.broken: str | None = None
        self._key = key
        self._read = read
        self._buffer = bytearray()
        self._at = 0
        self._base = 0
        self._index = 0
        self._kept = bytearray()
        self._parse = self._document()
        next(self._parse)

    @property
    def envelope(self) -> bytes:
        """The document without the items."""
        return bytes(self._kept)

    @property
    def begun(self) -> bool:
        """Whether the body begins like a JSON object."""
        return self._kept[:1] == b"{"

    def feed(self, chunk: bytes | memoryview) -> Iterator[Block]:
        """Add the next bytes and yield the blocks they complete, in order; each is decoded just before."""
        if self.broken is not None:
            return
        del self._buffer[: self._at]
        self._base += self._at
        self._at = 0
        self._buffer += chunk
        try:
            while (block := next(self._parse)) is not None:
                yield block
        except _Broken as error:
            self.broken = str(error)

    # The grammar, as generators that pause wherever bytes are missing.

    def _document(self) -> _Parse:
        while len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            yield None
        if self._buffer.startswith(_BOM):
            self._at = len(_BOM)
        if (yield from self._next()) != _OPEN_OBJECT:
            yield from self._foreign()
        self._keep(1)
        if (yield from self._next()) != _CLOSE_OBJECT:
            yield from self._members()
        self._keep(1)
        self.complete = True
        yield from self._next()
        raise _Broken(f"bytes follow the document at byte {self._where}")

    def _foreign(self) -> _Parse:
        # Not an API response, perhaps an HTML page: its beginning is enough to classify it.
        while True:
            self._keep(min(len(self._buffer) - self._at, MAX_ENVELOPE - len(self._kept)))
            self._at = len(self._buffer)
            yield None

    def _members(self) -> _Parse:
        while True:
            yield from self._member()
            byte = yield from self._next()
            if byte == _CLOSE_OBJECT:
                return
            self._expect(byte, _COMMA)
            self._keep(1)
            yield from self._next()

    def _member(self) -> _Parse:
        self._expect((yield from self._next()), _QUOTE)
        length = yield from self._value()
        named = _is_name(bytes(self._buffer[self._at : self._at + length]), self._key)
        self._keep(length)
        self._expect((yield from self._next()), _COLON)
        self._keep(1)
        byte = yield from self._next()
        if named and self.found is not ListValue.NOTHING:
            raise _Broken(f"the list appears twice, again at byte {self._where}")
        if named and byte == _OPEN_LIST:
            self.found = ListValue.LIST
            self._kept += b"[]"
            self._at += 1
            yield from self._list()
            return
        length = yield from self._value()
        if named:
            null = self._buffer[self._at : self._at + length] == b"null"
            self.found = ListValue.NULL if null else ListValue.OTHER
        self._keep(length)

    def _list(self) -> _Parse:
        if (yield from self._next()) == _CLOSE_LIST:
            self._at += 1
            return
        while True:
            block = self._cut_block()
            yield block or (yield from self._item())
            byte = yield from self._next()
            if byte == _CLOSE_LIST:
                self._at += 1
                return
            self._expect(byte, _COMMA)
            self._at += 1
            yield from self._next()

    def _item(self) -> Generator[None, None, Block]:
        scan, offset, dropped = ValueScanner(), self._where, _Dropped()
        tried = len(self._buffer) - self._at
        while not scan.advance(self._buffer, self._at):
            if scan.length > MAX_ITEM:
                dropped.add(self._buffer[self._at : self._at + scan.length])
                self._at += scan.length
                scan.length = 0
            yield
            # With twice the bytes, the item may be part of a block; not trying earlier keeps the work linear.
            there = len(self._buffer) - self._at
            if tried < BLOCK and there >= 2 * tried:
                tried = there
                if (block := self._cut_block()) is not None:
                    return block
        text = bytes(self._buffer[self._at : self._at + scan.length])
        if not text and not dropped.length:
            raise _Broken(f"no item at byte {offset}")
        self._at += len(text)
        if dropped.length or len(text) > MAX_ITEM:
            dropped.add(text)
            return self._block(offset, dropped.summary, ())
        return self._block(offset, text, (text,))

    def _value(self) -> Generator[None, None, int]:
        scan = ValueScanner()
        while not scan.advance(self._buffer, self._at):
            if scan.length > MAX_ENVELOPE:
                raise _Broken("too many bytes outside the list")
            yield
        if not scan.length:
            raise _Broken(f"no value at byte {self._where}")
        return scan.length

    def _next(self) -> Generator[None, None, int]:
        """Skip white space; return the next byte without consuming it."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            yield

    # Helpers of the grammar.

    def _cut_block(self) -> Block | None:
        start = self._at
        # The first block is short, so that the first records are yielded early.
        size = BLOCK if self._index else _FIRST
        for cut in split_points(self._buffer, start, min(len(self._buffer), start + size)):
            text = b"".join((b"[", memoryview(self._buffer)[start:cut], b"]"))
            records = self._read(text) if self._read is not None else None
            items: Sequence[msgspec.Raw] = ()
            if records is None:
                try:
                    items = _items.decode(text)
                except (msgspec.DecodeError, RecursionError):
                    continue
            self._at = cut
            return self._block(self._base + start, text[1:-1], items, records)
        return None

    def _block(
        self, offset: int, text: bytes, items: Sequence[bytes | msgspec.Raw], records: list[Any] | None = None
    ) -> Block:
        block = Block(self._index, offset, items, text, records)
        self._index += len(items) or len(records or ()) or 1
        return block

    def _keep(self, length: int) -> None:
        if len(self._kept) + length > MAX_ENVELOPE:
            raise _Broken("too many bytes outside the list")
        self._kept += self._buffer[self._at : self._at + length]
        self._at += length

    def _expect(self, byte: int, wanted: int) -> None:
        if byte != wanted:
            raise _Broken(f"{chr(wanted)!r} is missing at byte {self._where}")

    @property
    def _where(self) -> int:
        return self._base + self._at


def _is_name(text: bytes, key: str) -> bool:
    if b"\\" not in text:
        return text[1:-1] == key.encode()
    try:
        return bool(json.loads(text) == key)
    except ValueError:
        return False
