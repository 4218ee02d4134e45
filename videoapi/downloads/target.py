"""The target of a download: its directory and name, and the version of the bytes kept.

Blocking; called from threads only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from videoapi.downloads.ranges import Version
from videoapi.errors import ConfigurationError, DownloadFailed
from videoapi.files import FileTaken, PartFile

_STATE: Final = ".part.json"
_MAX_STATE: Final = 4096
_WHY: Final = {
    "exists": "it exists; give overwrite=True, or name= another name",
    "busy": "another download is writing it",
    "directory": "{path.name} is a directory; give name= another name",
    "link": "{path.name} is a link, or no file of yours; remove it",
}
_LATE: Final = "it was created during the download; give overwrite=True"


class DownloadTarget:
    """The target of one download.

    Args:
        to: A directory, the path of the file itself, or a directory to create: a path that ends in `/`, or one that
            does not exist and whose last name has no suffix.
        name: The file name within a directory; already sanitized.
        source: The fingerprint of the URL, stored in `.part.json`; only a matching `.part` is resumed.
        overwrite: Whether an existing file may be replaced.
        named: Whether the caller passed `name`, which requires a directory.
    """

    def __init__(
        self, to: str | os.PathLike[str], *, name: str, source: str, overwrite: bool, named: bool = False
    ) -> None:
        self._to = to
        self._name = name
        self._named = named
        self._source = source
        self._overwrite = overwrite
        self._file: PartFile | None = None
        self.received: int = 0
        self.version: Version = Version()

    def open(self) -> None:
        """Open and lock the `.part` file, and load the state that an earlier download left.

        Raises:
            DownloadFailed: If the name is in use; `reason` is `exists`, `busy`, `directory` or `link`.
            OSError: If a file operation fails.
        """
        directory, name = self._place()
        self._file = PartFile(directory, name, overwrite=self._overwrite)
        with self._refused():
            self._file.open()
        size = self._file.size
        version = Version.parse(self._state(self._file))
        if size and version and version.validator and (version.total is None or size <= version.total):
            self.received, self.version = size, version

    def begin(self, version: Version) -> None:
        """Discard the bytes kept, and store the version about to be received."""
        assert self._file is not None
        self._file.remove_beside(_STATE)
        self._file.truncate(0)
        self.received, self.version = 0, version
        if version.validator is not None:
            state = json.dumps({"source": self._source, **attrs.asdict(version)}).encode()
            self._file.write_beside(_STATE, state)

    def write(self, data: bytes) -> None:
        """Append bytes to the `.part` file."""
        assert self._file is not None
        try:
            self._file.write(data)
        finally:
            self.received = self._file.size

    def finish(self) -> Path:
        """Sync the file to disk, then rename it to its final name.

        Raises:
            DownloadFailed: If the name has come into use since `open`; `reason` as there.
            OSError: If a file operation fails.
        """
        assert self._file is not None
        with self._refused():
            path = self._file.finish()
        self._file.remove_beside(_STATE)
        return path

    def close(self) -> None:
        """Close the file; delete the `.part` file only if it is empty. Idempotent."""
        if self._file is not None:
            self._file.close()

    def _place(self) -> tuple[Path, str]:
        text = os.fspath(self._to)
        if not text or "\0" in text:
            raise ConfigurationError("to= is empty, or holds a NUL.")
        path = Path(text)
        # pathlib drops a slash at the end.
        if text.endswith(("/", os.sep)) or not (path.suffix or os.path.lexists(path)):
            path.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            return path, self._name
        if self._named:
            raise ConfigurationError(f"to={text!r} is not a directory: give name= only with one, or end it in '/'.")
        return path.parent, path.name

    def _state(self, file: PartFile) -> Any:
        try:
            state = json.loads(file.read_beside(_STATE, _MAX_STATE) or b"")
        except (OSError, ValueError, RecursionError):
            return None
        return state if isinstance(state, dict) and state.get("source") == self._source else None

    @contextmanager
    def _refused(self) -> Generator[None, None, None]:
        try:
            yield
        except FileTaken as taken:
            why = _LATE if taken.late and taken.reason == "exists" else _WHY[taken.reason].format(path=taken.path)
            assert self._file is not None
            text = f"{self._file.path} cannot be written: {why}."
            error = DownloadFailed(text, reason=taken.reason, received=self.received)
        else:
            return
        raise error
