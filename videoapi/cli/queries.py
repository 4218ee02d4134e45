"""The four queries for call records and archives: by period, by room, both, or by conference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from videoapi.models.archives import Archive
    from videoapi.models.cdr import CallRecord
    from videoapi.resources.reports import Reports
    from videoapi.streaming import RecordStream

    R = TypeVar("R", bound=CallRecord | Archive)


class ReportQuery(NamedTuple):
    """What a command asks for.

    Args:
        start: First day, or None.
        end: Last day, or None.
        room_id: Only this room's, or None.
        conf_num: Only this conference's, or None.
    """

    start: str | None
    end: str | None
    room_id: str | None
    conf_num: str | None

    def checked(self) -> ReportQuery:
        """Return the query itself.

        Raises:
            click.UsageError: If it asks for nothing, or for a conference of a period.
        """
        if (self.start is None) != (self.end is None):
            raise click.UsageError("give both FROM and TO, or neither with --room or --conference")
        if self.conf_num is not None and (self.start is not None or self.room_id is not None):
            raise click.UsageError("--conference takes neither a period nor --room")
        if self.start is None and self.room_id is None and self.conf_num is None:
            raise click.UsageError("give FROM and TO, --room or --conference")
        return self

    def stream(self, reports: Reports[R], **limits: Any) -> RecordStream[R]:
        """Return the stream of the records.

        Raises:
            ValidationError: If a day, an ID or a cursor is invalid.
        """
        if self.conf_num is not None:
            return reports.by_conference(self.conf_num, **limits)
        if self.start is None or self.end is None:
            return reports.by_room(self.room_id, **limits)
        if self.room_id is None:
            return reports.by_period(self.start, self.end, **limits)
        return reports.by_room_period(self.room_id, self.start, self.end, **limits)


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that asks for records; it receives the fields of `ReportQuery`."""
    for decorate in (
        click.argument("start", metavar="[FROM", required=False),
        click.argument("end", metavar="TO]", required=False),
        click.option("--room", "room_id", metavar="ROOM_ID", help="Only records of this room."),
        click.option("--conference", "conf_num", metavar="NUMBER", help="Only records of this session."),
    )[::-1]:
        command = decorate(command)
    return command


def target_last(query: ReportQuery, target: str | None, name: str) -> tuple[ReportQuery, str]:
    """Return the query, and the last argument, which may be the only one.

    Args:
        query: The query, whose days are the first two arguments.
        target: The third argument.
        name: What the last argument is called.

    Raises:
        click.UsageError: If the last argument is missing, or the query is incomplete.
    """
    if target is None and query.end is None:
        query, target = query._replace(start=None), query.start
    if target is None:
        raise click.UsageError(f"missing argument {name}: give FROM TO {name}, or {name} with --room or --conference")
    return query.checked(), target
