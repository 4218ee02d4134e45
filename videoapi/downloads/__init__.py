"""Downloads: fetched in parts, kept in a `.part` file, and given their name only when whole."""

from __future__ import annotations

from videoapi.downloads.downloader import Downloader
from videoapi.downloads.transfer import DownloadProgress, RefreshUrl

__all__ = ["DownloadProgress", "Downloader", "RefreshUrl"]
