"""A name on disk for a file that somebody else named. Pure: what comes out is one harmless path segment."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote

MAX_NAME: Final = 200
"""Longest name in bytes of UTF-8, so that `.part.json` fits behind it on every file system."""

_EXTENSIONS: Final = {"recording": "mkv", "transcoded": "mp4", "chatdata": "json", "metadata": "json"}
_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9]{1,8})\Z")
_RESERVED: Final = frozenset('/\\<>:"|?*')
# Control, format (bidi overrides among them), lone surrogates, line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"]
)
# Names under which a download in progress keeps its own state.
_OURS: Final = (".part", ".part.json")


def safe_name(text: str) -> str | None:
    """Return the harmless file name in a text, or None where nothing of it can be used.

    The last segment by either separator counts; control, bidi and reserved characters go, so do dots
    and dashes in front; Unicode is composed (NFC); at most 200 bytes. Names that Windows gives to
    devices, and names that a download in progress uses, are refused.

    Args:
        text: Any text at all, as another party sent it.
    """
    segment = re.split(r"[/\\]", text)[-1]
    name = _plain(unicodedata.normalize("NFC", _plain(segment)))
    name = _plain(_shortened(name))
    device = name.partition(".")[0].rstrip().upper() in _DEVICES
    if not name or device or name.lower().endswith(_OURS):
        return None
    return name


def filename_from_url(url_path: str, kind: str | None = None, archive_id: str | None = None) -> str:
    """Return the name for a file that lies at a URL's path.

    Args:
        url_path: The path of the URL, percent-encoded as it stands there.
        kind: What the file is: `recording`, `transcoded`, `chatdata` or `metadata`.
        archive_id: The archive it belongs to; names the file where the URL does not.
    """
    last = url_path.rpartition("/")[2]
    if name := safe_name(unquote(last)):
        return name
    found = _EXTENSION.search(last)
    extension = found[1] if found else _EXTENSIONS.get(kind or "")
    stem = safe_name(archive_id or "") or "recording"
    return f"{_cut(stem, MAX_NAME - 10)}.{extension}" if extension else stem


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
