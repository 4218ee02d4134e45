"""Record streams: lists of any size, in constant memory, resumable by cursor.

Independent of what a record means, of HTTP and of files.
"""

from videoapi.streaming.records import RecordStream, room_list
from videoapi.streaming.splitter import Splitter
from videoapi.streaming.window_reader import Query

__all__ = ["Query", "RecordStream", "Splitter", "room_list"]
