"""Names of temporary files that no other file has, and the removal of those that a killed process has left."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from videoapi.files.locks import lock

_ENDING: Final = r"\.[0-9a-f]{16}\.tmp"


def temporary_name(name: str) -> str:
    """Return a new name for a temporary file; the file must be locked until it has its final name."""
    return f".{name.lstrip('.')}.{secrets.token_hex(8)}.tmp"


def temporary_names(name: str) -> re.Pattern[str]:
    """Return a pattern of the names that `temporary_name` returns; `name` is a pattern, too."""
    return re.compile(rf"\.{name}{_ENDING}")


def remove_abandoned(folder: Path, names: re.Pattern[str]) -> None:
    """Remove the temporary files in a folder whose process has ended.

    Args:
        folder: The folder.
        names: A pattern from `temporary_names`.
    """
    for path in folder.iterdir():
        if names.fullmatch(path.name):
            _remove_abandoned(path)


def is_same(path: Path, file: int) -> bool:
    """Return whether a path is that of an open file; a link to it is not."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _remove_abandoned(path: Path) -> None:
    flags = os.O_RDWR | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"))
    try:
        file = os.open(path, flags)
    except OSError:
        return
    try:
        found = os.fstat(file)
        # A second link is the final name: the process was killed before it removed this one.
        is_own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if is_own and lock(file) and is_same(path, file):
            path.unlink(missing_ok=True)
    finally:
        os.close(file)
