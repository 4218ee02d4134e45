"""The rows that belong to a report: those of its period, its room or its session. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from videoapi.report.calendar import Calendar, ReportPeriod
from videoapi.report.rows import UsageRow


@attrs.define
class Selection:
    """A selection of rows.

    Args:
        calendar: Says on which day a time is.
        period: The days, or None for all.
        room_id: The room, or None for all.
        conf_num: The session, or None for all.
        outside: How many rows on other days were left out; rows without a readable time are always selected.
    """

    calendar: Calendar
    period: ReportPeriod | None = None
    room_id: str | None = None
    conf_num: str | None = None
    outside: int = 0

    def has(self, row: UsageRow) -> bool | None:
        """Return whether a row is selected; None if it is not, only because its room or its session is not known."""
        for wanted, one in ((self.room_id, row.room_id), (self.conf_num, row.conf_num)):
            if wanted is not None and one is not None and one != wanted:
                return False
        if self.period is not None and row.at is not None:
            day = self.calendar.place(row.at).day
            if not self.period.first.toordinal() <= day <= self.period.last.toordinal():
                return False
        unknown = (self.room_id and row.room_id is None) or (self.conf_num and row.conf_num is None)
        return None if unknown else True

    def of(self, rows: Iterable[UsageRow]) -> list[UsageRow]:
        """Return the rows that are selected."""
        if self.room_id is not None:
            rows = [row for row in rows if row.room_id == self.room_id]
        if self.conf_num is not None:
            rows = [row for row in rows if row.conf_num == self.conf_num]
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
