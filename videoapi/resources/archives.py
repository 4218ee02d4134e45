"""`client.archives`: what was recorded, and the files themselves."""

from __future__ import annotations

import os
from pathlib import Path

from videoapi.downloads import Downloader, DownloadProgress, RefreshUrl
from videoapi.errors import VideoAPIError
from videoapi.models.archives import Archive, ArchiveFile
from videoapi.pipeline.pipeline import Pipeline
from videoapi.resources.reports import ARCHIVES, Reports


class Archives(Reports[Archive]):
    """Stream the archive, and download its files."""

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
        """Download one file; its name appears on the disk only once it is there whole.

        Until then it grows in `<name>.part`, with its version noted in `<name>.part.json`. A broken
        connection is resumed within the call, a failed or cancelled call by the next one, both only
        if the server proves that the file is still the same; else it begins anew. Where a signed URL has
        expired, the archive is asked once for the file's new one. Only the owner may read the files.

        Args:
            file: One of `archive.files`, or a URL.
            to: An existing directory, a text that ends in `/` (that directory is made), or the file's
                own path. In a directory the file is called as in its URL, made harmless.
            overwrite: Whether a file of that name may be replaced.
            progress: Called with the bytes there are and the length, or None while unknown; at the
                start, at the end, and at most ten times a second. It must not block.
            timeout: The whole download, in seconds; none by default.
            name: Another name within the directory, such as for two archives' `chatdata.json`.

        Returns:
            The file's path.

        Raises:
            DownloadFailed: `reason` says why: `host` (name it in `recording_hosts=`), `exists`, `disk`,
                `incomplete`, `changed`, `credentials` (a login page came) or `refused`. Where
                `retryable`, the same call goes on from the bytes kept.
            AuthenticationFailed, PermissionDenied: The recording user or password is missing or wrong;
                see `recording_auth=`. APP_ID and APP_KEY are never sent for a file.
            NotFound: The file is gone: the service keeps it for 72 hours.
            CallTimeout: `timeout` ended; the same call goes on from the bytes kept.
            ConnectionFailed, RateLimited, ServerFault: It did not come after all attempts.
            ProtocolError: The answer is no HTTP, or its redirects lead nowhere.
            ConfigurationError: `to` and `name` contradict each other, or the client is closed.

        Source: docs/contract.md 5.3, 5.4.
        """
        options = self._pipeline.options
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
        """Return how to get the file's present URL; None where it is not signed, and so does not expire."""
        if isinstance(file, str) or "?" not in file.url or not file.conf_num:
            return None
        place, conf_num = file.url.partition("?")[0], file.conf_num

        async def renew() -> str | None:
            try:
                archives = await self.by_conference(conf_num).to_list()
            except VideoAPIError:
                # The refusal of the file itself says more than this one.
                return None
            urls = (found.url for archive in archives for found in archive.files if found.kind == file.kind)
            return next((url for url in urls if url != file.url and url.partition("?")[0] == place), None)

        return renew
