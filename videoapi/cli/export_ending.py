"""Whether the service may add records to a period after its export, and the words for it. Pure."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Final

import attrs

from videoapi.arrow.periods import LATE_DAYS, day_of, stays_open

READ_AGAIN: Final = "To read all again, also records that the service added later, give --overwrite."


@attrs.frozen
class Ending:
    """The end of an exported period, and the day of the export.

    Args:
        last: The last day of the period, in UTC.
        exported: The day on which the export began, in UTC.
    """

    last: date
    exported: date

    @classmethod
    def of(cls, last: date | None, exported: str | None) -> Ending | None:
        """Return the end of a period, or None if it has none, or if its state does not say when it was exported."""
        day = day_of(exported)
        return None if last is None or day is None else cls(last, day)

    @property
    def is_open(self) -> bool:
        """Whether the service may have added records since."""
        return stays_open(self.last, self.exported)

    @property
    def in_future(self) -> bool:
        """Whether the period had not ended when it was exported."""
        return self.last >= self.exported

    @property
    def settles(self) -> str:
        """From when on an export has all records."""
        return f"from {self.last + timedelta(LATE_DAYS + 1)} on"

    def notice(self, out: Path) -> str:
        """Return the notice of an export whose period is open."""
        again = f"Export it again {self.settles}, with --overwrite."
        if self.in_future:
            return f"The period has not ended (its last day is {self.last}): {out} lacks later records. {again}"
        return f"The period ended on {self.last}, and the service may still add records. {again}"

    def verdict(self, out: Path) -> str:
        """Return why a file that was exported on an earlier day may lack records."""
        again = f"To export it again, give --overwrite; {self.settles}, no more records are expected."
        if self.in_future:
            return f"{out} was exported on {self.exported}, before its period had ended (on {self.last}). {again}"
        return (
            f"{out} was exported on {self.exported}, soon after its period had ended (on {self.last}). The service may "
            f"have added records since. {again}"
        )
