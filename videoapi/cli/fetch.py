"""Concurrent downloads: the files of a stream of archives into a folder."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Final

import attrs

from videoapi.cli import exit_codes
from videoapi.cli.progress import Show, display
from videoapi.cli.terminal import counted, for_people, print_json, print_status
from videoapi.downloads.filenames import extension_of, fingerprint, name_from_id
from videoapi.errors import AuthenticationFailed, DownloadFailed, PermissionDenied, VideoAPIError
from videoapi.models.archives import Archive, ArchiveFile
from videoapi.resources.archives import Archives
from videoapi.streaming import RecordStream

MOST_SHOWN: Final = 5
MOST_REFUSED: Final = 20
"""After how many refusals, without any file served, the credentials are wrong, and not a file expired."""


async def fetch(
    archives: Archives,
    stream: RecordStream[Archive],
    *,
    folder: Path,
    kinds: Collection[str],
    concurrency: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Download every file, and return the exit code. A failed download does not stop the others.

    Args:
        archives: The namespace that downloads the files.
        stream: The archives.
        folder: Where to put the files, in a subfolder per session.
        kinds: The kinds of files to download; all if empty.
        concurrency: Maximum number of concurrent downloads.
        overwrite: Whether to download files again that are there already.
        as_json: Whether to print a JSON report on stdout.
        quiet: Whether to print no progress and no summary.
    """
    began = time.monotonic()
    queue = DownloadQueue(archives, folder, overwrite=overwrite)
    complete = False
    try:
        with display("files", quiet=quiet) as show:
            async with stream, aclosing(files_of(stream, kinds)) as files:
                turn = asyncio.Lock()
                try:
                    async with asyncio.TaskGroup() as workers:
                        for _ in range(concurrency):
                            workers.create_task(queue.work(files, turn, show))
                except* VideoAPIError as group:
                    # The first error cancelled the other workers.
                    raise first_of(group) from None
            if queue.only_refusals is not None:
                raise queue.only_refusals
        complete = True
    except asyncio.CancelledError:
        print_status("Interrupted. To continue, repeat the command.", quiet=quiet)
        raise
    finally:
        queue.tell(as_json, quiet, time.monotonic() - began, complete=complete)
    if stream.rejected_count:
        print_status(f"{counted(stream.rejected_count, 'archive', 'archives')} could not be read")
        return exit_codes.REJECTED
    return exit_codes.FAILED if queue.counts["failed"] else exit_codes.DONE


@attrs.frozen
class WantedFile:
    """A file to download, and the folder and name that no other file has.

    Args:
        file: The file.
        folder: The folder of its session.
        name: The name.
        longer_name: The name if a file of another archive has the former: it depends on the complete URL.
    """

    file: ArchiveFile
    folder: str
    name: str
    longer_name: str


async def files_of(stream: RecordStream[Archive], kinds: Collection[str]) -> AsyncGenerator[WantedFile, None]:
    """Yield the files of the archives that are of the given kinds, each once: an archive may be listed again."""
    # By name, as digests: there may be a million files.
    urls: dict[bytes, bytes] = {}
    async for archive in stream:
        for wanted in named_files(archive):
            if kinds and wanted.file.kind not in kinds:
                continue
            url = _digest(wanted.file.url)
            for name in (wanted.name, wanted.longer_name):
                mark = _digest(f"{wanted.folder}/{name}")
                if mark not in urls:
                    urls[mark] = url
                    yield attrs.evolve(wanted, name=name)
                    break
                if urls[mark] == url:
                    break


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def named_files(archive: Archive) -> list[WantedFile]:
    """Return the files of an archive with their names: archive, kind, number, and a fingerprint of the address.

    The number counts the files of one kind in the order of their addresses; the order in which the service lists
    them may change. The fingerprint keeps a file that is listed later from taking the name of another one. Its query
    counts only if nothing else distinguishes a file from another: signed ones change, and such a file comes again.
    """
    folder = name_from_id(archive.conf_num or archive.archive_id or "session")
    of = name_from_id(archive.archive_id or archive.trans_date or "archive")
    # The same link twice is one file.
    files = {(file.kind, file.url): file for file in archive.files}.values()
    alike = Counter((file.kind, _place(file.url)) for file in files)
    numbers: Counter[str] = Counter()
    wanted: list[WantedFile] = []
    for place, url, file in sorted(((_place(file.url), file.url, file) for file in files), key=itemgetter(0, 1)):
        numbers[file.kind] += 1
        begin, end = f"{of}-{file.kind}-{numbers[file.kind]}-", extension_of(place, file.kind)
        name, longer_name = (f"{begin}{fingerprint(address)}{end}" for address in (place, url))
        wanted.append(WantedFile(file, folder, name if alike[file.kind, place] == 1 else longer_name, longer_name))
    return wanted


def _place(url: str) -> str:
    # The query of a signed URL changes with each answer.
    return url.partition("?")[0].partition("#")[0]


class DownloadQueue:
    """A queue of downloads, with counts of their results."""

    def __init__(self, archives: Archives, folder: Path, *, overwrite: bool) -> None:
        self._archives = archives
        self._overwrite = overwrite
        self._folder = folder
        self._refused: list[VideoAPIError] = []
        self.counts: Counter[str] = Counter()
        self.bytes: int = 0

    @property
    def only_refusals(self) -> VideoAPIError | None:
        """The first refusal, if every file that was requested was refused."""
        all_refused = self._refused and len(self._refused) == self.counts["failed"] and not self.counts["downloaded"]
        return self._refused[0] if all_refused else None

    async def work(self, files: AsyncIterator[WantedFile], turn: asyncio.Lock, show: Show) -> None:
        """Download one file after another until none is left.

        Raises:
            AuthenticationFailed, PermissionDenied: If file after file is refused, and none is served.
            VideoAPIError: If the stream of archives fails.
        """
        while True:
            async with turn:
                wanted = await anext(files, None)
            if wanted is None:
                return
            await self._fetch(wanted)
            show(self.counts.total(), f"{self.bytes / 1e6:,.1f} MB")

    async def _fetch(self, wanted: WantedFile) -> None:
        file = wanted.file
        try:
            path = await self._archives.download(
                file, to=f"{self._folder / wanted.folder}/", name=wanted.name, overwrite=self._overwrite
            )
        except (AuthenticationFailed, PermissionDenied) as error:
            # A store answers this also for a single file whose link has expired.
            self._refused.append(error)
            self._failed(file, error)
            if len(self._refused) >= MOST_REFUSED and self.only_refusals is not None:
                raise
        except DownloadFailed as error:
            if error.reason == "exists":
                self.counts["there already"] += 1
            else:
                self._failed(file, error)
        except VideoAPIError as error:
            self._failed(file, error)
        else:
            self.counts["downloaded"] += 1
            self.bytes += path.stat().st_size

    def _failed(self, file: ArchiveFile, error: VideoAPIError) -> None:
        self.counts["failed"] += 1
        if self.counts["failed"] <= MOST_SHOWN:
            session = file.conf_num or file.archive_id
            print_status(f"{file.kind}{f' of {session}' if session else ''}: {for_people(error)}")

    def tell(self, as_json: bool, quiet: bool, seconds: float, *, complete: bool) -> None:
        """Print a summary of the downloads; `complete` says whether every file was tried."""
        done = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        if done:
            print_status(f"{done}, {self.bytes / 1e6:,.1f} MB in {seconds:.1f} s: {self._folder}", quiet=quiet)
        elif complete:
            print_status("No files found.", quiet=quiet)
        if self.counts["failed"] > MOST_SHOWN:
            print_status(f"Only the first {MOST_SHOWN} failures are shown.")
        if as_json:
            summary = {
                "downloaded": self.counts["downloaded"],
                "there_already": self.counts["there already"],
                "failed": self.counts["failed"],
                "bytes": self.bytes,
                "folder": str(self._folder),
                "seconds": round(seconds, 3),
            }
            print_json(summary)


def first_of(group: BaseExceptionGroup[VideoAPIError]) -> VideoAPIError:
    """Return the first error of a group, at any depth."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
