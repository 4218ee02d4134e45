"""`client.archives`: streams of archive records, and downloads of their files."""

from __future__ import annotations

import os
from pathlib import Path

from videoapi.downloads import Downloader, DownloadProgress, RefreshUrl
from videoapi.errors import VideoAPIError
from videoapi.models.archives import Archive, ArchiveFile
from videoapi.pipeline.pipeline import Pipeline
from videoapi.resources.reports import ARCHIVES, Reports


class Archives(Reports[Archive]):
    """The project's archive: records of recorded sessions, and their files."""

    def __init__(self, pipeline: Pipeline, downloader: Downloader) -> None:
        super().__init__(pipeline, ARCHIVES)
        self._downloader = downloader

    async def download(
        self,
        file: ArchiveFile | str,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: DownloadProgress | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Path:
        """Download one file. It appears under its final name only once it is complete.

        Until then, data goes to `<name>.part`, with the file's version in `<name>.part.json`. The call
        resumes after a broken connection, and the next call resumes a failed or cancelled one, if the
        server confirms that the file is unchanged; otherwise the download starts over. If a signed URL has
        expired, the archive is queried once for a new one. The files are readable by their owner only.

        Args:
            file: One of `archive.files`, or a URL.
            to: A directory, or the path of the file itself. A path that does not exist is a directory, and
                created, if it ends in `/`, or if its last name has no suffix, such as `Path("recordings")`.
                In a directory, the name is taken from the URL and sanitized.
            overwrite: Whether an existing file may be replaced.
            progress: Called with the bytes on disk and the total length, None while unknown: at the
                start, at the end, and at most ten times per second. It must not block.
            timeout: Limit for the whole download, in seconds; none by default.
            name: File name to use in the directory, for example if two archives have a `chatdata.json`.

        Returns:
            The path of the file.

        Raises:
            DownloadFailed: If the file cannot be fetched or stored; `reason` is `host` (add it to
                `recording_hosts=`), `disk`, `incomplete`, `changed`, `credentials` (a login page was returned),
                `refused`, or what has the name: `exists` (a complete file), `busy` (another download is
                writing it), `directory`, or `link` (a link, or anything but a regular file of yours).
                If `retryable`, the same call resumes from the bytes on disk.
            AuthenticationFailed, PermissionDenied: If the recording user or password is missing or
                wrong; see `recording_auth=`. APP_ID and APP_KEY are never sent for a file.
            NotFound: If the file no longer exists; the service keeps it for 72 hours.
            CallTimeout: If `timeout` expires; the same call resumes from the bytes on disk.
            ConnectionFailed, RateLimited, ServerFault: If all attempts fail.
            ProtocolError: If the response is not valid HTTP, or its redirects are invalid.
            ConfigurationError: If `to` and `name` contradict each other, or the client is closed.

        Source: docs/contract.md 5.3, 5.4.
        """
        options = self._pipeline.options
        with self._pipeline.recording("archives.download"):
            return await self._downloader.download(
                file,
                to,
                overwrite=overwrite,
                progress=progress,
                timeout=timeout,
                name=name,
                refresh_url=self._renewal(file),
                policy=options.retry,
                head_timeout=options.attempt_timeout,
            )

    def _renewal(self, file: ArchiveFile | str) -> RefreshUrl | None:
        """Return a function that looks up the current URL, or None if the URL is not signed and never expires."""
        if isinstance(file, str) or "?" not in file.url or not file.conf_num:
            return None
        place, conf_num = file.url.partition("?")[0], file.conf_num

        async def renew() -> str | None:
            try:
                archives = await self.by_conference(conf_num).to_list()
            except VideoAPIError:
                # The error of the download itself is more informative than this one.
                return None
            files = (found for archive in archives for found in archive.files)
            alike = (found for found in files if (found.kind, found.archive_id) == (file.kind, file.archive_id))
            urls = {found.url for found in alike if found.url.partition("?")[0] == place}
            # Files that differ only in their queries may be different ones.
            return urls.pop() if len(urls) == 1 and file.url not in urls else None

        return renew
