"""A file that appears whole: written under another name, locked, synced to disk, and then renamed. Blocking.

Files are opened relative to one directory descriptor, never through a link, and with mode 0600.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Generator, Iterator
from io import BufferedRandom
from pathlib import Path
from typing import Final, Literal

from videoapi.files.locks import lock, release
from videoapi.files.temporary import remove_abandoned, temporary_name, temporary_names

# Windows lacks these.
_NO_LINKS: Final[int] = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"))
_DIRECTORY: Final[int] = sum(getattr(os, name, 0) for name in ("O_DIRECTORY", "O_CLOEXEC"))
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO})
_BLOCK: Final = 1 << 20

PART: Final = ".part"
"""How the name of an incomplete file ends."""

TakenReason = Literal["exists", "busy", "directory", "link"]


@contextlib.contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """Give an error of the system the path that it lacks, because it is of a descriptor, or of a name in a folder.

    Close the file within the block: a buffered file that could not be written raises the error again when it is closed.
    """
    try:
        yield
    except OSError as error:
        # Without a number, it is not of the system: a timeout is an OSError, too.
        name = error.filename
        if error.errno is not None and not (isinstance(name, str) and os.path.dirname(name)):
            error.filename = str(path)
        raise


class FileTaken(Exception):
    """The name of a file, or of its part, is in use.

    Args:
        path: What is in the way.
        reason: `exists` (a complete file), `busy` (another process or task is writing it), `directory`, or `link`
            (a link, or anything else that is not a regular file of this user).
        late: Whether it was created while the part was written.
    """

    def __init__(self, path: Path, reason: TakenReason, *, late: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason: TakenReason = reason
        self.late = late


class PartFile:
    """The incomplete file `<name>.part`; nothing has the final name until `finish`.

    Files next to it, such as `<name>.state`, are written whole, too; only the holder of the lock may do so.

    Args:
        directory: An existing directory.
        name: The final name in it.
        overwrite: Whether an existing file of that name may be replaced.
        is_temporary: Whether no later process continues the part. It then has a hidden name that no other file has,
            and `open` removes the parts of killed processes.
    """

    def __init__(self, directory: Path, name: str, *, overwrite: bool, is_temporary: bool = False) -> None:
        self._directory = directory
        self._overwrite = overwrite
        self._is_temporary = is_temporary
        self._part = temporary_name(name) if is_temporary else name + PART
        self._folder = -1
        self._file = -1
        self._owner = os.getpid()
        self.name = name
        self.size: int = 0
        """Number of bytes written, and the offset of the next write."""

    @property
    def path(self) -> Path:
        """The final path."""
        return self._directory / self.name

    @property
    def part(self) -> Path:
        """The path of the incomplete file."""
        return self._directory / self._part

    @property
    def is_there(self) -> bool:
        """Whether the part is open, and has its name: it was neither removed nor given the final one."""
        return self._file >= 0 and self._is_ours(self._file)

    def open(self) -> None:
        """Open and lock the part, which an earlier process may have left; `size` is its length.

        Raises:
            FileTaken: If the final name is in use, or another process or task is writing the part.
            OSError: If a file operation fails.
        """
        self._owner = os.getpid()
        self._folder = os.open(self._directory, os.O_RDONLY | _DIRECTORY)
        if self._is_temporary:
            remove_abandoned(self._directory, temporary_names(re.escape(self.name.lstrip("."))))
        if self._was_finished(self._stat(self._part)):
            self._unlink(self._part)
        self._must_be_free()
        with naming(self._named):
            self._file = self._locked_part()
        self.size = os.fstat(self._file).st_size
        # Again: another process may have finished in between.
        self._must_be_free()

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes.

        Raises:
            OSError: If they cannot be written; `size` says how many were.
        """
        rest = memoryview(data)
        with naming(self._named):
            while rest:
                written = os.pwrite(self._file, rest, self.size)
                self.size += written
                rest = rest[written:]

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `stop` in blocks; fewer if the part is shorter."""
        while start < stop and (block := os.pread(self._file, min(_BLOCK, stop - start), start)):
            start += len(block)
            yield block

    def truncate(self, size: int) -> None:
        """Discard everything after the first `size` bytes."""
        with naming(self._named):
            os.ftruncate(self._file, size)
        self.size = size

    def sync(self) -> None:
        """Wait until the bytes written are on disk."""
        with naming(self._named):
            os.fsync(self._file)

    def read_beside(self, tail: str, limit: int) -> bytes | None:
        """Return the file `<name><tail>`, up to `limit` bytes; None if it does not exist, or is not a regular file."""
        try:
            file = os.open(self.name + tail, os.O_RDONLY | _NO_LINKS, dir_fd=self._folder)
        except OSError:
            return None
        try:
            # Python opens no directory.
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return None
            with open(file, "rb", closefd=False) as held:
                return held.read(limit)
        finally:
            os.close(file)

    def write_beside(self, tail: str, data: bytes) -> None:
        """Write the file `<name><tail>`, which has either its old content or all of the new one.

        Raises:
            OSError: If it cannot be written; the old content stays.
        """
        new = f"{self.name}{tail}.new"
        with naming(self._directory / (self.name + tail)):
            self._unlink(new)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o600, dir_fd=self._folder)
            try:
                with open(file, "wb") as held:
                    held.write(data)
                    held.flush()
                    os.fsync(file)
                self._replace(new, self.name + tail)
            except BaseException:
                self._unlink(new)
                raise

    def remove_beside(self, tail: str) -> None:
        """Remove the file `<name><tail>`, if it exists."""
        self._unlink(self.name + tail)

    def new_beside(self, tail: str) -> BufferedRandom:
        """Return a new, empty file `<name><tail>`, open for writing; what an earlier process has left is removed.

        Raises:
            OSError: If it cannot be created.
        """
        self._unlink(self.name + tail)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS
        return open(os.open(self.name + tail, flags, 0o600, dir_fd=self._folder), "w+b")

    def finish(self, tail: str = PART) -> Path:
        """Sync the part to disk, rename it to its final name, and sync the directory.

        Args:
            tail: What gets the final name: the part, or a synced file next to it; the part is removed.

        Raises:
            FileTaken: If a file of that name was created since `open`, and may not be replaced.
            OSError: If a file operation fails.
        """
        self.sync()
        if not self.is_there:
            # Another process may have begun a new one, and its bytes must not get the final name.
            raise OSError(errno.ENOENT, "it was removed while it was written", str(self._named))
        source = self._part if tail == PART else self.name + tail
        with naming(self.path):
            if self._overwrite:
                self._replace(source, self.name)
            else:
                self._link(source)
        if tail != PART and self.is_there:
            self._unlink(self._part)
        with naming(self._directory):
            os.fsync(self._folder)
        return self.path

    def remove_left_over(self, sha256: str, tail: str) -> None:
        """Remove what a killed `finish` has left of a complete file, for which `open` raised `FileTaken`.

        Args:
            sha256: The digest of the complete part. A part with another digest stays, and so does a locked one.
            tail: As for `finish`. The file is removed only if it is a link to the final one.
        """
        final, other = self._stat(self.name), self._stat(self.name + tail)
        if final is not None and other is not None and os.path.samestat(final, other):
            self._unlink(self.name + tail)
        try:
            file = os.open(self._part, os.O_RDONLY | _NO_LINKS, dir_fd=self._folder)
        except OSError:
            return
        try:
            # Python opens no directory.
            if not stat.S_ISREG(os.fstat(file).st_mode) or not lock(file):
                return
            with open(file, "rb", closefd=False) as part:
                if hashlib.file_digest(part, "sha256").hexdigest() == sha256 and self._is_ours(file):
                    self._unlink(self._part)
        finally:
            os.close(file)

    def discard(self) -> None:
        """Remove the part, if no later process can continue it. A part that has the final name already stays."""
        if self.is_there:
            self._unlink(self._part)

    def close(self) -> None:
        """Close the part, and remove it if it is empty. Idempotent."""
        if self._file >= 0:
            # A forked process leaves it to its parent.
            is_owner = os.getpid() == self._owner
            if is_owner and not os.fstat(self._file).st_size and self.is_there:
                self._unlink(self._part)
            release(self._file, self._owner)
            self._file = -1
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    @property
    def _named(self) -> Path:
        # Messages do not name a hidden file.
        return self.path if self._is_temporary else self.part

    def _must_be_free(self, *, late: bool = False) -> None:
        found = self._stat(self.name)
        if found is None:
            return
        if stat.S_ISDIR(found.st_mode):
            raise FileTaken(self.path, "directory", late=late)
        if not self._overwrite:
            raise FileTaken(self.path, "exists" if stat.S_ISREG(found.st_mode) else "link", late=late)

    def _locked_part(self) -> int:
        # Retry: a process that has just finished may have renamed the file opened here.
        while True:
            file = self._open_part()
            try:
                is_locked = lock(file)
                # Another process may be about to remove a temporary file that is not locked yet.
                if not is_locked and not self._is_temporary:
                    raise FileTaken(self.part, "busy")
                if is_locked and self._is_ours(file):
                    with contextlib.suppress(AttributeError):
                        os.fchmod(file, 0o600)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)
            self._must_be_free()

    def _open_part(self) -> int:
        while True:
            flags = os.O_RDWR | _NO_LINKS
            try:
                return os.open(self._part, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._folder)
            except FileExistsError:
                pass
            try:
                file = os.open(self._part, flags, dir_fd=self._folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in _NOT_A_FILE:
                    raise
                raise FileTaken(self.part, "directory" if error.errno == errno.EISDIR else "link") from None
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                if found.st_nlink <= 1:
                    return file
                if self._was_finished(found):
                    os.close(file)
                    self._unlink(self._part)
                    continue
            os.close(file)
            raise FileTaken(self.part, "link")

    def _was_finished(self, part: os.stat_result | None) -> bool:
        """Return whether the part has the final name already: `finish` was killed before it removed the other one."""
        final = self._stat(self.name)
        return final is not None and part is not None and os.path.samestat(final, part) and part.st_nlink == 2

    def _is_ours(self, file: int) -> bool:
        there = self._stat(self._part)
        return there is not None and os.path.samestat(there, os.fstat(file))

    def _link(self, source: str) -> None:
        """Link the final name only if it is free; a rename would replace a file created since `open`."""
        try:
            os.link(source, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            self._must_be_free(late=True)
            raise
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._must_be_free(late=True)
            self._replace(source, self.name)
        else:
            # Another process may have removed it already, and begun a new one.
            if self.is_there:
                self._unlink(source)

    def _replace(self, old: str, new: str) -> None:
        os.replace(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)
