"""Locks on open files, where the system has them."""

from __future__ import annotations

import contextlib
import errno
import os
from types import ModuleType
from typing import Final

fcntl: ModuleType | None
try:
    import fcntl
except ModuleNotFoundError:
    # Windows.
    fcntl = None

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


def lock(file: int) -> bool:
    """Lock an open file until it is closed; return False if another open file holds the lock.

    Without support for locks, returns True: a second writer is not detected, but a single one works.

    Args:
        file: The descriptor of the file.

    Raises:
        OSError: If the file cannot be locked for any other reason.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def release(file: int, owner: int) -> None:
    """Close a file, and release its lock, even if a forked process has inherited the file.

    Args:
        file: The descriptor of the file.
        owner: The process that has locked it. A process forked from it only closes the file.
    """
    if fcntl is not None and os.getpid() == owner:
        # Fails without support for locks.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)
