"""The rows that belong to a report: those of its period, its room or its session. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from videoapi.report.calendar import Calendar, ReportPeriod
from videoapi.report.rows import UsageRow


@attrs.frozen
class Limits:
    """The room and the session to which a report is limited, and those to which its source is.

    Args:
        room_id: The room, or None for all.
        conf_num: The session, or None for all.
        only_room: The room of all that the source has, or None if it may have several.
        only_session: The session of all that it has, or None.
    """

    room_id: str | None = None
    conf_num: str | None = None
    only_room: str | None = None
    only_session: str | None = None

    def has(self, room_id: str | None, conf_num: str | None) -> bool | None:
        """Return whether what is of a room and a session belongs to the report; None if that is not known.

        It is not if an ID is missing, unless the source has nothing else than that room or session.
        """
        known: bool | None = True
        for wanted, only, one in (
            (self.room_id, self.only_room, room_id),
            (self.conf_num, self.only_session, conf_num),
        ):
            if wanted is None or one == wanted:
                continue
            if one:
                return False
            if only != wanted:
                known = None
        return known


@attrs.define
class Selection:
    """A selection of rows.

    Args:
        calendar: Says on which day a time is.
        period: The days, or None for all.
        limits: The room or the session.
        outside: How many rows on other days were left out; rows without a readable time are always selected.
        unknown: How many rows were left out because it is not known whether they are of the room or the session.
    """

    calendar: Calendar
    period: ReportPeriod | None = None
    limits: Limits = Limits()
    outside: int = 0
    unknown: int = 0

    def has(self, row: UsageRow) -> bool | None:
        """Return whether a row is selected; None if it is not, only because its room or its session is not known."""
        known = self.limits.has(row.room_id, row.conf_num)
        return False if known is False or not self._is_within(row) else known

    def of(self, rows: Iterable[UsageRow]) -> list[UsageRow]:
        """Return the rows that are selected."""
        has = self.limits.has
        if self.limits.room_id is not None or self.limits.conf_num is not None:
            found = [(row, known) for row in rows if (known := has(row.room_id, row.conf_num)) is not False]
            self.unknown += sum(known is None and self._is_within(row) for row, known in found)
            rows = [row for row, known in found if known]
        if self.period is None:
            return list(rows)
        first, last = self.period.first.toordinal(), self.period.last.toordinal()
        place, selected = self.calendar.place, []
        for row in rows:
            if row.at is None or first <= place(row.at).day <= last:
                selected.append(row)
            else:
                self.outside += 1
        return selected

    def _is_within(self, row: UsageRow) -> bool:
        if self.period is None or row.at is None:
            return True
        return self.period.first.toordinal() <= self.calendar.place(row.at).day <= self.period.last.toordinal()
