"""Streams of records over bodies of any size, with flat memory."""

from videoapi.streaming.record_filter import Rejected
from videoapi.streaming.records import Page, RecordStream, room_list
from videoapi.streaming.splitter import Block, ListValue, Splitter
from videoapi.streaming.window_reader import Query

__all__ = ["Block", "ListValue", "Page", "Query", "RecordStream", "Rejected", "Splitter", "room_list"]
