"""Safe file names from untrusted text: each result is a single path segment. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

MAX_NAME: Final = 200
"""Maximum length of a name in bytes of UTF-8; leaves room for `.part.json` on every file system."""
MAX_ID: Final = 80
"""Maximum length of an ID within a name."""

_EXTENSIONS: Final = {"recording": "mkv", "transcoded": "mp4", "chatdata": "json", "metadata": "json"}
_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9]{1,8})\Z")
_RESERVED: Final = frozenset('/\\<>:"|?*')
# Control and format characters (including bidi overrides), lone surrogates, line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"]
)
# Extensions of the files that a download in progress uses.
_OURS: Final = (".part", ".part.json")


def safe_name(text: str) -> str | None:
    """Return a safe file name from a text, or None if nothing usable is left.

    Keeps the last segment after either path separator; removes control, bidi and reserved characters
    and leading dots and dashes; normalizes to NFC; truncates to 200 bytes. Rejects Windows device names
    and the extensions of a download in progress.

    Args:
        text: Untrusted text.
    """
    segment = re.split(r"[/\\]", text)[-1]
    name = _plain(unicodedata.normalize("NFC", _plain(segment)))
    name = _plain(_shortened(name))
    device = name.partition(".")[0].rstrip().upper() in _DEVICES
    if not name or device or name.lower().endswith(_OURS):
        return None
    return name


def filename_from_url(url_path: str, kind: str | None = None, archive_id: str | None = None) -> str:
    """Return a safe name for the file at a URL.

    Args:
        url_path: The path of the URL, still percent-encoded.
        kind: The kind of file: `recording`, `transcoded`, `chatdata` or `metadata`.
        archive_id: The ID of its archive; used as the name if the URL has no usable one.
    """
    last = url_path.rpartition("/")[2]
    if name := safe_name(unquote(last)):
        return name
    stem = safe_name(archive_id or "") or "recording"
    return f"{_cut(stem, MAX_NAME - 10)}{extension_of(url_path, kind)}"


def name_from_id(text: str) -> str:
    """Return a safe name for an ID; two IDs never get the same name, also where case does not count.

    Args:
        text: The ID, as received; not empty.
    """
    name = safe_name(text)
    if name is not None and name == text == name.lower() and len(name) <= MAX_ID:
        return name
    return f"{_cut(name or 'id', MAX_ID)}-{fingerprint(text)}"


def fingerprint(text: str) -> str:
    """Return ten characters that differ if the text does."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=5).hexdigest()


def extension_of(url_path: str, kind: str | None = None) -> str:
    """Return the extension of the file at a URL, with its dot, or the usual one of its kind; empty if unknown."""
    found = _EXTENSION.search(url_path.rpartition("/")[2])
    extension = found[1] if found else _EXTENSIONS.get(kind or "")
    return f".{extension}" if extension else ""


def _plain(text: str) -> str:
    kept = "".join(
        character for character in text if character not in _RESERVED and unicodedata.category(character) not in _UNSEEN
    )
    return kept.lstrip(".-" + _BLANK).rstrip("." + _BLANK)


_BLANK: Final = "".join(character for character in map(chr, range(0x3001)) if character.isspace())


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME:
        return name
    found = _EXTENSION.search(name)
    ending = found[0] if found else ""
    return _cut(name[: len(name) - len(ending)], MAX_NAME - len(ending)) + ending


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
