"""Lists of any size as streams of records, in constant memory, resumable by cursor.

Knows no particular record and no files.
"""

from videoapi.streaming.records import RecordStream, room_list
from videoapi.streaming.splitter import Splitter
from videoapi.streaming.window_reader import Query

__all__ = ["Query", "RecordStream", "Splitter", "room_list"]
