"""Call detail records and archives: the same four queries under two path prefixes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs

from videoapi.arrow.optional import require_pyarrow
from videoapi.arrow.periods import Period, period_of
from videoapi.errors import ValidationError
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.times import utc_day
from videoapi.models.validation import check_conf_num, check_room_id, period_day
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol import routes
from videoapi.protocol.routes import Request, Route
from videoapi.streaming import Query, RecordStream
from videoapi.streaming.windows import UNBOUNDED, Cursor, Window, split_period

if TYPE_CHECKING:
    from videoapi.arrow.data_set import DataSet

R = TypeVar("R", bound=CallRecord | Archive)


@attrs.frozen(kw_only=True)
class ReportKind(Generic[R]):
    """One path prefix of the service: its routes, and the records they return."""

    name: str
    key: str
    model: type[R]
    identity: Callable[[R], str | None]
    by_period: Route
    by_room: Route
    by_room_period: Route
    by_conference: Route


CDR: Final = ReportKind(
    name="cdr",
    key="cdr",
    model=CallRecord,
    # As `record.identity`, but also of what the JSON decoder builds.
    identity=lambda record: record.cdr_id or record.call_log_id or None,
    by_period=routes.CDR_PERIOD,
    by_room=routes.CDR_ROOM,
    by_room_period=routes.CDR_ROOM_PERIOD,
    by_conference=routes.CDR_CONFERENCE,
)
ARCHIVES: Final = ReportKind(
    name="archives",
    key="archive",
    model=Archive,
    identity=lambda record: record.identity,
    by_period=routes.ARCHIVE_PERIOD,
    by_room=routes.ARCHIVE_ROOM,
    by_room_period=routes.ARCHIVE_ROOM_PERIOD,
    by_conference=routes.ARCHIVE_CONFERENCE,
)


class Reports(Generic[R]):
    """Streams of records about sessions that have ended.

    Records appear after a session has ended. To find records that the service adds later, read the same days again.
    """

    def __init__(self, pipeline: Pipeline, kind: ReportKind[R]) -> None:
        self._pipeline = pipeline
        self._kind = kind

    def by_period(
        self,
        start: date | str,
        end: date | str,
        *,
        cursor: Cursor | str | None = None,
        extra: bool = False,
        strict: bool = False,
        timeout: float | None = None,
    ) -> RecordStream[R]:
        """Stream the records of a period, for all rooms.

        Args:
            start: First day in UTC, inclusive: a date, `YYYY-MM-DD`, or an aware datetime at midnight UTC.
            end: Last day in UTC, inclusive.
            cursor: The position of an earlier stream of the same query; the stream resumes after it.
            extra: Whether to keep fields that the models do not define, for `record.extra`.
            strict: Whether to raise on a record that cannot be parsed, instead of adding it to `stream.rejected`.
            timeout: Total seconds to wait for the service; your own processing time does not count.

        Returns:
            A stream of records; no request is sent until you iterate over it.

        Raises:
            ValidationError: If the period is invalid, or the cursor belongs to another query.

        Iterating raises any `VideoAPIError`, with a `cursor` to resume from; with `strict` also
        `ProtocolError`. Source: docs/contract.md 5.2, 5.3.
        """
        windows = split_period(period_day(start, field="start"), period_day(end, field="end"))
        return self._stream(self._kind.by_period, (), windows, cursor, extra, strict, timeout)

    def by_room(
        self,
        room_id: str | None,
        *,
        cursor: Cursor | str | None = None,
        extra: bool = False,
        strict: bool = False,
        timeout: float | None = None,
    ) -> RecordStream[R]:
        """Stream all records of one room.

        Args:
            room_id: The room's ID.
            cursor: As in `by_period`, like the other arguments.
            extra: Whether to keep unknown fields.
            strict: Whether to raise on a record that cannot be parsed.
            timeout: Total seconds to wait for the service.

        Returns:
            A stream of records; no request is sent until you iterate over it.

        Raises:
            ValidationError: If `room_id` is invalid, or the cursor belongs to another query.

        Source: docs/contract.md 5.2, 5.3.
        """
        segments = (check_room_id(room_id),)
        return self._stream(self._kind.by_room, segments, (UNBOUNDED,), cursor, extra, strict, timeout)

    def by_room_period(
        self,
        room_id: str | None,
        start: date | str,
        end: date | str,
        *,
        cursor: Cursor | str | None = None,
        extra: bool = False,
        strict: bool = False,
        timeout: float | None = None,
    ) -> RecordStream[R]:
        """Stream the records of one room in a period.

        Args:
            room_id: The room's ID.
            start: First day in UTC, inclusive, as in `by_period`.
            end: Last day in UTC, inclusive.
            cursor: As in `by_period`, like the other arguments.
            extra: Whether to keep unknown fields.
            strict: Whether to raise on a record that cannot be parsed.
            timeout: Total seconds to wait for the service.

        Returns:
            A stream of records; no request is sent until you iterate over it.

        Raises:
            ValidationError: If `room_id` or the period is invalid, or the cursor belongs to another query.

        Source: docs/contract.md 5.2, 5.3.
        """
        segments = (check_room_id(room_id),)
        windows = split_period(period_day(start, field="start"), period_day(end, field="end"))
        return self._stream(self._kind.by_room_period, segments, windows, cursor, extra, strict, timeout)

    def by_conference(
        self,
        conf_num: str | None,
        *,
        cursor: Cursor | str | None = None,
        extra: bool = False,
        strict: bool = False,
        timeout: float | None = None,
    ) -> RecordStream[R]:
        """Stream the records of one conference, which is one session of a room.

        Args:
            conf_num: The conference number, as given in a record or a notification.
            cursor: As in `by_period`, like the other arguments.
            extra: Whether to keep unknown fields.
            strict: Whether to raise on a record that cannot be parsed.
            timeout: Total seconds to wait for the service.

        Returns:
            A stream of records; no request is sent until you iterate over it.

        Raises:
            ValidationError: If `conf_num` is invalid, or the cursor belongs to another query.

        Source: docs/contract.md 5.2, 5.3.
        """
        segments = (check_conf_num(conf_num),)
        return self._stream(self._kind.by_conference, segments, (UNBOUNDED,), cursor, extra, strict, timeout)

    async def export_window(
        self,
        window: Period,
        folder: Path | str,
        *,
        overwrite: bool = False,
        late: int = 3,
        today: date | None = None,
        strict: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Write the records of a period to one Parquet file of a folder. Requires the extra `data`.

        The file appears only when it is complete. The same records result in the same bytes, even if two processes
        export them at once. If the file exists and its window is closed, nothing is requested. A window stays open
        until `late` days have passed since its end: the next call reads it again. The file of an open window is
        replaced by that of a window with all of its days. Otherwise, no two files contain the same days.

        Args:
            window: One of `videoapi.windows(start, end)`.
            folder: The folder, which is created if it does not exist. It contains records of one kind and account.
            overwrite: Whether to read closed windows again, and to replace files that have changed, or that contain
                only days of this window.
            late: Number of days after its last day for which a window stays open for late records.
            today: The current day in UTC; by default, that of the system clock.
            strict: Whether to raise on a record that cannot be parsed, instead of logging a WARNING.
            timeout: Total seconds to wait for the service.

        Returns:
            The manifest entry of the file: `file` (its name), `first` and `last` (days), `rows`, `sha256` and
            `exported` (when it was read, in UTC).

        Raises:
            ValidationError: If the window is invalid.
            ConfigurationError: If pyarrow is not installed, the folder has records of another account, an unknown file
                has this name, or another file contains some of these days. The folder is unchanged.
            VideoAPIError: If the records cannot be read; no file appears.
            OSError: If a file operation fails.
        """
        period = period_of(window)
        if type(late) is not int or late < 0:
            raise ValidationError(f"late={late!r}: give a number of days from 0", field="late")
        require_pyarrow()
        from videoapi.arrow.periods import utc_today
        from videoapi.resources.window_export import PeriodExport

        job = PeriodExport(
            kind=self._kind.name,
            data_set=await self._data_set(Path(folder), overwrite=overwrite),
            source=self._source,
            ask=lambda one: self.by_period(one.first, one.last, strict=strict, timeout=timeout),
            late=late,
            today=today or utc_today(),
            overwrite=overwrite,
        )
        return await job.whole(period)

    async def _data_set(self, folder: Path, *, overwrite: bool) -> DataSet:
        from videoapi.arrow.data_set import DataSet

        found = DataSet(folder, self._source(), overwrite=overwrite)
        await asyncio.to_thread(found.open)
        return found

    def _source(self) -> dict[str, str]:
        pipeline = self._pipeline
        return {"app_id": pipeline.app_id or "", "origin": pipeline.origin, "records": self._kind.name}

    def _stream(
        self,
        route: Route,
        segments: tuple[str, ...],
        windows: tuple[Window, ...],
        cursor: Cursor | str | None,
        extra: bool,
        strict: bool,
        timeout: float | None,
    ) -> RecordStream[R]:
        first = windows[0]
        days = () if first.start is None else (f"{first.start}", f"{first.end}")
        query: Query[R] = Query(
            name=" ".join((route.name, *segments, *days)),
            windows=windows,
            request=self._requests(route, segments),
            key=self._kind.key,
            decoder=RecordDecoder(self._kind.model, extra=extra),
            identity=self._kind.identity,
            day=_day if days else None,
            # The service may return null for an account without records. Source: docs/contract.md 9, row 30.
            null_is_empty=True,
        )
        return RecordStream(self._pipeline, query, cursor=cursor, strict=strict, timeout=timeout)

    def _requests(self, route: Route, segments: tuple[str, ...]) -> Callable[[Window], Request]:
        def request(window: Window) -> Request:
            days = () if window.first is None else (f"{window.first}", f"{window.until}")
            return Request(route=route, path=route.path(*segments, *days), options=self._pipeline.options, stream=True)

        return request


def cdr(pipeline: Pipeline) -> Reports[CallRecord]:
    """Return the streams of call detail records."""
    return Reports(pipeline, CDR)


def _day(record: CallRecord | Archive) -> date | None:
    return utc_day(record.trans_date)
