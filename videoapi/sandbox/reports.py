"""The call record and archive endpoints: the same four queries for both.

Source: docs/contract.md 5.2, 5.3 and 10.13.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

from videoapi.sandbox.record_templates import ArchiveRow, archive_item, call_record, milliseconds
from videoapi.sandbox.records import RecordQuery, Records
from videoapi.sandbox.responses import HttpResponse, Refusal, dump
from videoapi.sandbox.switches import Switches
from videoapi.sandbox.wire import blocks

_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")
_LAST_DAY = date.max - timedelta(days=1)
# Approximate bytes per record, to find the middle of a body before it is generated.
_CALL_BYTES, _ITEM_BYTES = 1550, 800


class ReportService:
    """The handler of CDR and archive requests.

    Args:
        records: The calls and archives.
        switches: The switches, read for each request.
        clock: Returns the service's time, an aware datetime.
        app_id: The project.
        origin: Returns the scheme, host and port that serve files.
    """

    def __init__(
        self,
        records: Records,
        switches: Switches,
        clock: Callable[[], datetime],
        app_id: str,
        origin: Callable[[], str],
    ) -> None:
        self._records = records
        self._switches = switches
        self._clock = clock
        self._app_id = app_id
        self._origin = origin

    def answer(self, route: str, args: tuple[str, ...]) -> HttpResponse:
        """Return the response to a CDR or archive request; its body is generated while it is sent.

        Args:
            route: The route's name.
            args: The values in its path.

        Raises:
            Refusal: If a date is invalid.
        """
        kind, by = route.split(".")
        query = self._query(by, args)
        return self._calls(query) if kind == "cdr" else self._archives(query)

    def _calls(self, query: RecordQuery) -> HttpResponse:
        found = self._records.calls(query, self._switches.cdr_order)
        app_id, schema = self._app_id, self._switches.cdr_schema
        pieces = (call_record(row, app_id, schema) for row in found)
        return HttpResponse(blocks(pieces, before=self._head("cdr") + b"[", after=b"]}"), size=found.size * _CALL_BYTES)

    def _archives(self, query: RecordQuery) -> HttpResponse:
        found = self._records.recordings(query, self._switches.cdr_order)
        app_id, origin = self._app_id, self._origin()
        if not found.size and self._switches.empty_archive != "[]":
            bare = archive_item(self._bare(query), app_id, origin)
            nothing = b"null" if self._switches.empty_archive == "null" else b"[" + bare + b"]"
            return HttpResponse(self._head("archive") + nothing + b"}")
        pieces = (archive_item(item, app_id, origin) for item in found)
        return HttpResponse(
            blocks(pieces, before=self._head("archive") + b"[", after=b"]}"), size=found.size * _ITEM_BYTES
        )

    def _head(self, key: str) -> bytes:
        result = "0" if self._switches.cdr_result == "string" else 0
        return b'{"result":' + dump(result) + b',"' + key.encode() + b'":'

    def _query(self, by: str, args: tuple[str, ...]) -> RecordQuery:
        if by == "by_room":
            return RecordQuery(room_id=args[0])
        if by == "by_conference":
            return RecordQuery(conf_num=args[0])
        first, last = _day(args[-2]), _day(args[-1])
        # No record is as late as the last day that a date can have.
        after = min(last, _LAST_DAY) + timedelta(days=self._switches.period_end == "inclusive")
        return RecordQuery(first, after, room_id=args[0] if by == "by_room_period" else None)

    def _bare(self, query: RecordQuery) -> ArchiveRow:
        at = self._clock()
        if query.first is not None:
            at = datetime.combine(query.first, at.timetz())
        digest = hashlib.blake2s(repr(query).encode()).hexdigest()
        room_id, conf_num = query.room_id or digest[:24], query.conf_num or digest[24:48]
        return ArchiveRow(milliseconds(at), conf_num, room_id, digest[8:32], 0)


def _day(text: str) -> date:
    try:
        if _DATE.match(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Refusal(10203, desc="A date is written YYYY-MM-DD")
