"""The mark that every logical create carries, so that its room can be found again.

The service knows no idempotency keys (contract 11), so a create is told apart by a reference of
ours: in `owner_ref` where the caller names none, else in `data.videoapi_ref`. All attempts of one
create carry the same one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

DATA_KEY: Final = "videoapi_ref"
"""Where the reference stands in a room's `data`."""

ENTROPY_BYTES: Final = 26
"""How many random bytes make a reference."""
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_ALPHABET: Final = bytes(ord(_LETTERS[byte % 32]) for byte in range(256))
_SHAPE: Final = re.compile(r"vx[a-z2-7]{26}")


def reference_of(job_id: str, key: str) -> str:
    """Return the reference of one item of one job: the same whenever and wherever it is computed.

    >>> reference_of("import-7", "row-1") == reference_of("import-7", "row-1")
    True
    """
    return references_of(job_id)(key)


def references_of(job_id: str) -> Callable[[str], str]:
    """Return `reference_of` for one job; what is the same for all its items is computed once."""
    mark = job_prefix(job_id)
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    begun = _hash(f"{len(job_id)}:{job_id}")

    def reference(key: str) -> str:
        named = begun.copy()
        named.update(_encoded(key))
        return mark + _spell(named.digest()[:21])

    return reference


def job_prefix(job_id: str) -> str:
    """Return what all references of one job begin with, so that a scan can tell them from others."""
    return "vx" + _spell(_hash(job_id).digest()[:5])


def _hash(text: str) -> hashlib.blake2s:
    return hashlib.blake2s(_encoded(text), digest_size=26)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def reference_from(entropy: bytes) -> str:
    """Return the reference that `NOISE` random bytes spell."""
    return "vx" + _spell(entropy)


def _spell(digest: bytes) -> str:
    """Spell five bits of each byte as one of 32 characters."""
    return digest.translate(_ALPHABET).decode()


def with_location(reference: str, *, in_data: bool) -> str:
    """Return a reference whose last character tells where it stands: a to p in `data`, else in `owner_ref`.

    So that a process which has nothing but the reference knows which control rooms can prove that it
    stands nowhere.
    """
    letter = _LETTERS.index(reference[-1]) % 16 + (0 if in_data else 16)
    return reference[:-1] + _LETTERS[letter]


def is_in_data(reference: str) -> bool:
    """Tell where a reference stands, by its last character."""
    return _LETTERS.index(reference[-1]) < 16


def is_reference(text: object) -> bool:
    """Tell whether a text is shaped like one of our references."""
    return isinstance(text, str) and _SHAPE.fullmatch(text) is not None


def reference_in(owner_ref: object, data: object) -> str | None:
    """Return the reference that a room carries, or None."""
    if isinstance(data, Mapping):
        marked: Any = data.get(DATA_KEY)
        if is_reference(marked):
            return str(marked)
    return str(owner_ref) if is_reference(owner_ref) else None
