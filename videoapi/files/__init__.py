"""Files that appear whole: written under a temporary name, locked, synced to disk, and then renamed.

Independent of what is written, of HTTP and of the event loop.
"""

from __future__ import annotations

from videoapi.files.locks import lock, release
from videoapi.files.part_file import PART, FileTaken, PartFile, naming

__all__ = ["PART", "FileTaken", "PartFile", "lock", "naming", "release"]
