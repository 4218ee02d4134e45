"""Files of the archive on disk: resumed, verified, and named only when complete.

Knows no API routes and no APP_KEY.
"""

from __future__ import annotations

from videoapi.downloads.downloader import Downloader
from videoapi.downloads.transfer import DownloadProgress, RefreshUrl

__all__ = ["DownloadProgress", "Downloader", "RefreshUrl"]
