"""The file on disk: written as `.part`, then renamed. Blocking; called from threads only.

Files are opened relative to one directory descriptor, never through a link, and with mode 0600.
The `.part` is locked, so that two downloads never write to the same file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any, Final

import attrs

from videoapi.downloads.ranges import Version
from videoapi.errors import ConfigurationError, DownloadFailed

_NO_LINKS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
_MAX_STATE: Final = 4096


class PartFile:
    """The target of one download.

    Args:
        to: A directory, a path that ends in `/` (a directory to create), or the path of the file itself.
        name: The file name within a directory; already sanitized.
        source: The fingerprint of the URL, stored in `.part.json`; only a matching `.part` is resumed.
        overwrite: Whether an existing file may be replaced.
        named: Whether the caller passed `name`, which requires a directory.
    """

    def __init__(
        self, to: str | os.PathLike[str], *, name: str, source: str, overwrite: bool, named: bool = False
    ) -> None:
        self._to = to
        self._named = named
        self._source = source
        self._overwrite = overwrite
        self._directory = Path()
        self._folder = -1
        self._file = -1
        self.name = name
        self.received = 0
        self.version = Version()

    @property
    def path(self) -> Path:
        """The final path of the file, which `finish` creates."""
        return self._directory / self.name

    def open(self) -> None:
        """Open and lock the `.part` file, and load the state that an earlier download left.

        Raises:
            DownloadFailed: If the file exists, or another download is writing it; `reason` is `exists`.
            OSError: If a file operation fails.
        """
        self._directory, self.name = self._place()
        self._folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._must_be_free()
        self._file = self._lock_part()
        size = os.fstat(self._file).st_size
        version = Version.parse(self._state())
        if size and version and version.validator and (version.total is None or size <= version.total):
            self.received, self.version = size, version

    def begin(self, version: Version) -> None:
        """Discard the bytes kept, and store the version about to be received."""
        self._unlink(self._state_name)
        os.ftruncate(self._file, 0)
        self.received, self.version = 0, version
        if version.validator is None:
            return
        state = json.dumps({"source": self._source, **attrs.asdict(version)}).encode()
        file = os.open(self._state_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o600, dir_fd=self._folder)
        try:
            os.write(file, state)
        finally:
            os.close(file)

    def write(self, data: bytes) -> None:
        """Append bytes to the `.part` file."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file, rest, self.received)
            self.received += written
            rest = rest[written:]

    def finish(self) -> Path:
        """Sync the file to disk, then rename it to its final name.

        Raises:
            DownloadFailed: If a file of that name has been created since `open`; `reason` is `exists`.
            OSError: If a file operation fails.
        """
        os.fsync(self._file)
        if self._overwrite:
            self._rename()
        else:
            self._link()
        self._unlink(self._state_name)
        os.fsync(self._folder)
        return self.path

    def close(self) -> None:
        """Close the file; delete the `.part` file only if it is empty. Idempotent."""
        if self._file >= 0:
            if not os.fstat(self._file).st_size and self._is_ours(self._file):
                self._unlink(self._state_name)
                self._unlink(self._part_name)
            os.close(self._file)
            self._file = -1
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    @property
    def _part_name(self) -> str:
        return f"{self.name}.part"

    @property
    def _state_name(self) -> str:
        return f"{self.name}.part.json"

    def _place(self) -> tuple[Path, str]:
        text = os.fspath(self._to)
        if not text or "\0" in text:
            raise ConfigurationError("to= is empty, or holds a NUL.")
        path = Path(text)
        if text.endswith(("/", os.sep)):
            path.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            return path, self.name
        if self._named:
            raise ConfigurationError(f"to={text!r} is not a directory: give name= only with one, or end it in '/'.")
        return path.parent, path.name

    def _must_be_free(self) -> None:
        try:
            found = os.stat(self.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise self._exists("it is a directory; give name= another name")
        if not self._overwrite:
            raise self._exists("it exists; give overwrite=True, or name= another name")

    def _lock_part(self) -> int:
        # Retry: a download that has just finished may have renamed the file opened here.
        while True:
            file = self._open_part()
            try:
                self._lock(file)
                if self._is_ours(file):
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
                return os.open(self._part_name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._folder)
            except FileExistsError:
                pass
            try:
                file = os.open(self._part_name, flags, dir_fd=self._folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
                    raise
            else:
                found = os.fstat(file)
                if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and found.st_uid == os.geteuid():
                    return file
                os.close(file)
            raise self._exists(f"{self._part_name} next to it is a link, or no file of yours; remove it")

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._exists("another download is writing it") from None
        except OSError as error:
            # Without support for locks, concurrent downloads are not detected, but a single one works.
            if error.errno not in _NO_LOCKS:
                raise

    def _is_ours(self, file: int) -> bool:
        try:
            there = os.stat(self._part_name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(file))

    def _state(self) -> Any:
        try:
            file = os.open(self._state_name, os.O_RDONLY | _NO_LINKS, dir_fd=self._folder)
        except OSError:
            return None
        try:
            state = json.loads(os.read(file, _MAX_STATE))
        except (OSError, ValueError, RecursionError):
            return None
        finally:
            os.close(file)
        return state if isinstance(state, dict) and state.get("source") == self._source else None

    def _rename(self) -> None:
        os.replace(self._part_name, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _link(self) -> None:
        """Link the final name only if it is free; a rename would replace a file created since `open`."""
        try:
            os.link(self._part_name, self.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            raise self._exists("it has come up during the download; give overwrite=True") from None
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._must_be_free()
            self._rename()
        else:
            self._unlink(self._part_name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def _exists(self, why: str) -> DownloadFailed:
        return DownloadFailed(f"{self.path} cannot be written: {why}.", reason="exists", received=self.received)
