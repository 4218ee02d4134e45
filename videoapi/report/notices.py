"""What a reader must know about the figures of a report before using them, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import date
from typing import Final

from videoapi.report.odd import LEFT_OUT, ODD
from videoapi.report.summary import UsageSummary

_NAMES: Final = {"cdr": "call records", "archives": "archives"}
_SHOWN: Final = 5
"""How many spans of days are listed."""


def notices_of(summary: UsageSummary, day_text: Callable[[date], str] = str) -> Iterator[str]:
    """Yield the notices of a report.

    Args:
        summary: The figures.
        day_text: Returns a day as text.
    """

    def span(first: date, last: date) -> str:
        return day_text(first) if first == last else f"{day_text(first)} to {day_text(last)}"

    for kind in summary.partial:
        yield (
            f"The export of {_NAMES[kind]} has no manifest: it was interrupted, or its windows were exported one by "
            "one. Only the days that it has are in the figures. To complete it, repeat the export."
        )
    for days in summary.missing:
        yield (
            f"The export has no {_NAMES[days.records]} of {span(days.first, days.last)} (UTC): they are not in any "
            "figure."
        )
    if summary.lost_minutes:
        reasons = (
            ("without_minutes", "no duration, although {they} ended"),
            ("minutes_impossible", "a duration that is negative, or over 31 days"),
            ("still_connected", "no duration, and no end"),
        )
        why = "; ".join(
            f"{count:,} {'has' if count == 1 else 'have'} {reason.format(they='it' if count == 1 else 'they')}"
            for name, reason in reasons
            if (count := summary.odd[name])
        )
        records = summary.total.records
        yield (
            f"The participant minutes are those of {records - summary.without_minutes:,} of the {records:,} records: "
            f"{why}."
        )
    if undated := summary.odd["without_day"]:
        have, they, are = ("record has", "it", "is") if undated == 1 else ("records have", "they", "are")
        yield f"{undated:,} {have} no readable date: {they} {are} in the totals, whichever day {they} {are} of."
    for name in LEFT_OUT:
        if count := summary.odd[name]:
            yield f"{ODD[name][0]}: {count:,} ({ODD[name][1]})."
    yield from _odd_notices(summary)
    if summary.archives_refused:
        yield f"The service refused the archives, and the report has no recordings: {summary.archives_refused}"
    if (needed := summary.days_in_utc) is not None:
        for kind in summary.unstated:
            why = (
                f"The export of {_NAMES[kind]} has changed since it was made, and no longer says which days it has."
                if kind in summary.changed
                else f"The export does not say which days of {_NAMES[kind]} it has: a file needs its .state."
            )
            empty = summary.unknown if kind == "cdr" else summary.unknown_archives
            lacks = f" It has none of {_listed(empty, span)} ({summary.timezone})." if empty else ""
            yield (
                f"{why}{lacks} Check that it has all of {span(needed.first, needed.last)} (UTC): other days are not in "
                "any figure."
            )
    for kind in summary.untimed:
        yield (
            f"The export of {_NAMES[kind]} does not say when it was made: its last day may not have been over then, "
            "and may lack records. Export the period again, with --overwrite."
        )
    final = "" if summary.final_from is None else f" from {day_text(summary.final_from)} on."
    if (rest := summary.unfinished) is not None and not summary.is_live:
        yield (
            f"The period had not ended when the export was made: of {span(rest.first, rest.last)} "
            f"({summary.timezone}), only the records that existed then are in the figures."
            f" Export them again{final or '.'}"
        )
    elif rest is not None:
        yield (
            f"The period has not ended: of {span(rest.first, rest.last)} ({summary.timezone}), only the records that "
            f"exist so far are in the figures.{' Make the report again' + final if final else ''}"
        )
    elif (late := summary.open_days) is not None and summary.is_live:
        yield (
            f"The period ended on {day_text(late.last)}, and the service may still add records. Make the report again"
            f"{final}"
        )
    elif late is not None:
        yield (
            f"The service may have added records of {span(late.first, late.last)} (UTC) since the export was made. "
            f"Export them again{final}"
        )


def standing_of(summary: UsageSummary, period: str, day_text: Callable[[date], str] = str) -> str:
    """Return in one line whether a report is complete, and when its records were read; empty if neither is known.

    Args:
        summary: The figures.
        period: The period as text, such as `October 2026`.
        day_text: Returns a day as text.
    """
    return " ".join(filter(None, (_completeness(summary, period), _reading(summary, day_text))))


def _completeness(summary: UsageSummary, period: str) -> str:
    if summary.period is None or summary.is_complete is None:
        return ""
    if not summary.is_complete:
        return "Incomplete: the notices below say why."
    days = period if summary.period.first == summary.period.last else f"all days of {period}"
    if summary.open_days is None:
        return f"Complete: {days}."
    later = "may still add records" if summary.is_live else "may have added records since the export was made"
    return f"Not final: {days}, but the service {later}."


def _reading(summary: UsageSummary, day_text: Callable[[date], str]) -> str:
    if summary.as_of is None:
        return ""
    verb = "Read" if summary.is_live else "Exported"
    first, last = (f"{day_text(when.date())} {when:%H:%M} UTC" for when in summary.as_of)
    return f"{verb} on {first}." if first == last else f"{verb} from {first} to {last}."


def _listed(days: Collection[date], span: Callable[[date, date], str]) -> str:
    """Return the first spans of days as text, and how many more there are."""
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and (day - spans[-1][1]).days == 1:
            spans[-1] = spans[-1][0], day
        else:
            spans.append((day, day))
    more = len(spans) - _SHOWN
    return ", ".join(span(*one) for one in spans[:_SHOWN]) + (f", and {more:,} more" if more > 0 else "")


def _odd_notices(summary: UsageSummary) -> Iterator[str]:
    if unreadable := summary.odd["unreadable"]:
        yield f"{_records(unreadable, 'could', 'could')} not be read. Unreadable records are not in any figure." + (
            " It is not known whether all of them belong to this report." if "unreadable" in summary.uncertain else ""
        )
    if values := summary.odd["unreadable_values"]:
        which = (
            "It is not known whether all of their records belong to this report. Those that are in the figures are "
            "counted without them."
            if "unreadable_values" in summary.uncertain
            else "Their records are counted without them."
        )
        yield f"Values that could not be read, or times that are missing: {values:,}. {which}"
    # The scope names the room, the session, or both.
    ids = " or ".join(limit.partition(" ")[0] for limit in summary.scope.split(" and "))
    for name, one in (("unknown_scope", "record"), ("archives_unknown_scope", "archive")):
        if count := summary.odd[name]:
            yield (
                f"{count:,} {one}{' has' if count == 1 else 's have'} no {ids} ID, and may belong to this report. Such "
                f"{one}s are not in any figure."
            )
    if repeated := summary.odd["repeated"]:
        yield (
            f"{_records(repeated, 'repeats', 'repeat')} an earlier one, with the same values. Such records are counted "
            f"again: they are {summary.repeated_minutes:,.1f} of the participant minutes."
        )
    if same := summary.odd["same_id"]:
        yield (
            f"{_records(same, 'has', 'have')} the ID of an earlier one, and other values. Such records are counted, as "
            "it is not known whether they are the same."
        )
    if same := summary.odd["archives_same_id"]:
        have = "archive has" if same == 1 else "archives have"
        yield f"{same:,} {have} the ID of an earlier one, and other values. Such archives are counted."


def _records(count: int, one: str, many: str) -> str:
    return f"{count:,} record {one}" if count == 1 else f"{count:,} records {many}"
