"""Streams of records over bodies of any size, with flat memory."""

from videoapi.streaming.records import Page, RecordStream, room_list
from videoapi.streaming.sifting import Rejected
from videoapi.streaming.splitter import Block, Found, Splitter
from videoapi.streaming.walk import Query

__all__ = ["Block", "Found", "Page", "Query", "RecordStream", "Rejected", "Splitter", "room_list"]
