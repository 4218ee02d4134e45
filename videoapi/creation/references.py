"""The reference that every logical create carries, so that its room can be found again.

The service has no idempotency keys (contract 11), so this library identifies a create by a reference:
in `owner_ref` if the caller sets none, else in `data.videoapi_ref`. All attempts of one create carry
the same reference.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeGuard
from uuid import UUID

from videoapi.errors import ValidationError

DATA_KEY: Final = "videoapi_ref"
"""The key of the reference in a room's `data`."""

ENTROPY_BYTES: Final = 26
"""Number of random bytes in a reference."""
LENGTH: Final = 28
"""Number of characters of a reference."""
_JOB_PREFIX: Final = 7
_CHECK_PREFIX: Final = 15
"""Leaves 13 letters to be random; an item has such a prefix by chance in one of 10**12 cases."""
_SHARD_LETTERS: Final = 6
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_IN_DATA: Final = _LETTERS[:16]
_ALPHABET: Final = bytes(ord(_LETTERS[byte % 32]) for byte in range(256))
_SHAPE: Final = re.compile(r"vx[a-z2-7]{26}")


Key = str | int | float | bytes | UUID | Decimal | date | tuple[Any, ...]
"""The key of an item of a job. `7` and `"7"` are two keys."""
_PLAIN_KEYS: Final = frozenset({int, bool, float, Decimal, UUID})


def reference_for(job_id: str, key: Key) -> str:
    """Return the reference of one item of a job. It depends only on the two arguments.

    With it, `rooms.resolve` finds the room in any process. It does not prevent a second create: a job whose journal has
    begun creates a room that the journal does not know. The reference also
    determines where `rooms.create` stores it in the room: for half of all references, always in `data`; for the
    others, in `data` only if you pass an `owner_ref`.

    Args:
        job_id: Name of the job.
        key: The key of the item in the job: text, a number, a date, a UUID, bytes, or a tuple of these.

    Raises:
        ValidationError: If another process would not recognize the key, for example because it is of a type of your
            own.

    >>> reference_for("import-7", "row-1") == reference_for("import-7", "row-1")
    True
    """
    return JobReferences(job_id).of_key(key)


class JobReferences:
    """The references of one job; the part common to all items is computed once.

    UTF-8 contains no byte from 0xFC on, so no text is mistaken for a number, a position or a self-check room.
    """

    __slots__ = ("_job_hash", "prefix", "self_check_prefix")

    def __init__(self, job_id: str) -> None:
        self.prefix: str = job_prefix(job_id)
        """The common prefix, by which a scan recognizes the job's rooms."""
        # The length distinguishes ("a", "bc") from ("ab", "c").
        self._job_hash = _hash(f"{len(job_id)}:{job_id}")
        self.self_check_prefix: str = self._of(b"\xfd")[:_CHECK_PREFIX]
        """The start of the references of the job's self-check rooms."""

    def check_prefix_of_shard(self, key: object) -> str:
        """Return the start of the references of a shard's self-check rooms, within that of the job's.

        Args:
            key: The key of the first item of the shard, by which a later run of the shard finds them.
        """
        try:
            first = key_bytes(key)
        except ValidationError:
            first = b""
        return self.self_check_prefix + self._of(b"\xfc" + first)[-_SHARD_LETTERS:]

    def of_key(self, key: Key) -> str:
        """Return the reference of the item with this key.

        Raises:
            ValidationError: If the key is of another type.
        """
        return self._of(key_bytes(key))

    def of_position(self, index: int) -> str:
        """Return the reference of an item without a key."""
        return self._of(b"\xfe%d" % index)

    def _of(self, item: bytes) -> str:
        item_hash = self._job_hash.copy()
        item_hash.update(item)
        return self.prefix + _spell(item_hash.digest()[:21])


def key_bytes(key: object) -> bytes:
    """Return a key as bytes that no key of another type has, in every process and version of Python.

    Raises:
        ValidationError: If the key is of another type.
    """
    if type(key) is str:
        return key.encode("utf-8", "surrogatepass")
    # No text contains this byte.
    return b"\xff" + _typed(key)


def _typed(key: object) -> bytes:
    value: bytes
    if type(key) in _PLAIN_KEYS:
        try:
            value = str(key).encode()
        except ValueError:
            raise ValidationError("The key of an item of a job has too many digits.", field="key") from None
    elif type(key) is str:
        value = key.encode("utf-8", "surrogatepass")
    elif type(key) is bytes:
        value = key
    elif type(key) is date or type(key) is datetime:
        value = key.isoformat().encode()
    elif type(key) is tuple:
        value = b"".join(b"%d:%b" % (len(part), part) for part in map(_typed, key))
    else:
        raise ValidationError(
            "The key of an item of a job is text, a number, bytes, a UUID, a date or a tuple of these, "
            f"not {type(key).__name__}.",
            field="key",
        )
    return b"%b:%b" % (type(key).__name__.encode(), value)


def self_check_reference(prefix: str, entropy: bytes) -> str:
    """Return a new reference of a self-check room, from the prefix of its job and random bytes."""
    return with_location((prefix + _spell(entropy))[:LENGTH], in_data=True)


def job_prefix(job_id: str) -> str:
    """Return the common prefix of all references of a job."""
    return "vx" + _spell(_hash(job_id).digest()[: _JOB_PREFIX - 2])


def prefix_of(reference: str) -> str:
    """Return the common prefix of the references of the job to which a reference belongs."""
    return reference[:_JOB_PREFIX]


def _hash(text: str) -> hashlib.blake2s:
    return hashlib.blake2s(text.encode("utf-8", "surrogatepass"), digest_size=26)


def reference_from(entropy: bytes) -> str:
    """Return the reference that encodes `ENTROPY_BYTES` random bytes."""
    return "vx" + _spell(entropy)


def _spell(digest: bytes) -> str:
    """Encode five bits of each byte as one of 32 characters."""
    return digest.translate(_ALPHABET).decode()


def with_location(reference: str, *, in_data: bool) -> str:
    """Return the reference with its location in the last character: a to p for `data`, else `owner_ref`.

    A process that has only the reference then knows which known rooms can prove that it is absent.
    """
    if is_in_data(reference) == in_data:
        return reference
    return reference[:-1] + _LETTERS[_LETTERS.index(reference[-1]) ^ 16]


def variants(reference: str) -> tuple[str, str]:
    """Return a reference in both forms in which a room can carry it, its own first."""
    in_data = is_in_data(reference)
    return reference, with_location(reference, in_data=not in_data)


def is_in_data(reference: str) -> bool:
    """Return whether a reference is in `data`, by its last character."""
    return reference[-1] in _IN_DATA


def is_reference(text: object) -> TypeGuard[str]:
    """Return whether a text has the form of a reference."""
    return isinstance(text, str) and _SHAPE.fullmatch(text) is not None


def reference_in(owner_ref: object, data: object) -> str | None:
    """Return the reference that a room carries, or None."""
    if isinstance(data, Mapping):
        value: Any = data.get(DATA_KEY)
        if is_reference(value):
            return str(value)
    return str(owner_ref) if is_reference(owner_ref) else None
