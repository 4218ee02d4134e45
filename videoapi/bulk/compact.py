"""A set and a map of 12-byte keys that take little more memory than the keys: a run may have millions of items."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Hashable, Iterator
from typing import Final

from videoapi.creation.references import key_bytes
from videoapi.errors import ValidationError

_KEY: Final = 12
_VALUE: Final = 4
_BUCKETS: Final = 4096


class CompactMap:
    """A map from 12-byte keys to integers below 2**32, with 18 bytes an entry.

    A dictionary needs ten times as much. An entry is appended to one of 4,096 byte arrays, and found by searching
    that.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, bytearray] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        for bucket in self._buckets.values():
            for at in range(0, len(bucket), _KEY + _VALUE):
                value = int.from_bytes(bucket[at + _KEY : at + _KEY + _VALUE], "little")
                yield bytes(bucket[at : at + _KEY]), value

    def get(self, key: bytes) -> int | None:
        """Return the value of a key, or None."""
        bucket = self._buckets.get(zlib.crc32(key) % _BUCKETS, b"")
        at = _place(bucket, key)
        return None if at < 0 else int.from_bytes(bucket[at + _KEY : at + _KEY + _VALUE], "little")

    def add(self, key: bytes, value: int) -> bool:
        """Add an entry, and return whether the key is new; an entry that exists is kept."""
        number = zlib.crc32(key) % _BUCKETS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
        elif _place(bucket, key) >= 0:
            return False
        bucket += key + value.to_bytes(_VALUE, "little")
        self._size += 1
        return True


def _place(bucket: bytes | bytearray, key: bytes) -> int:
    at = bucket.find(key)
    while at >= 0 and at % (_KEY + _VALUE):
        at = bucket.find(key, at + 1)
    return at


class SeenKeys:
    """The keys of the items so far: `7` and `"7"` are different."""

    def __init__(self) -> None:
        self._plain = CompactMap()
        self._others: set[tuple[type, Hashable]] = set()

    def add(self, key: object) -> bool:
        """Add a key, and return whether it is new.

        Raises:
            Exception: What the key raises when it is compared.
        """
        try:
            text = key_bytes(key)
        except ValidationError:
            pass
        else:
            return self._plain.add(hashlib.blake2s(text, digest_size=_KEY).digest(), 0)
        found = (type(key), key if isinstance(key, Hashable) else repr(key))
        if found in self._others:
            return False
        self._others.add(found)
        return True
