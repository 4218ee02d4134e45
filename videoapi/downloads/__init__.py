"""Downloads of archive files: resumable, verified, and renamed into place only when complete.

Independent of API routes and the APP_KEY.
"""

from __future__ import annotations

from videoapi.downloads.downloader import Downloader
from videoapi.downloads.transfer import DownloadProgress, RefreshUrl

__all__ = ["DownloadProgress", "Downloader", "RefreshUrl"]
