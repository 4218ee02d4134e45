"""What can be odd in the records of a report, and which of it makes the report incomplete. Pure."""

from __future__ import annotations

from typing import Final

ODD: Final = {
    "repeated": ("Records that repeat an earlier record, with the same values", "counted again each time"),
    "same_id": (
        "Records with the ID of an earlier record, and other values",
        "counted, as it is not known whether they are the same",
    ),
    "unfinished": ("Records without a readable time of the disconnection", "counted, with the minutes they have"),
    "without_start": ("Records without a readable time of the connection", "counted, but in no hour of the heat map"),
    "without_minutes": (
        "Records that have ended, without a readable duration",
        "counted as records, without participant minutes",
    ),
    "still_connected": (
        "Records without a readable duration and any end",
        "counted as records, without participant minutes",
    ),
    "minutes_impossible": ("Records with a negative duration, or over 31 days", "counted as records, without minutes"),
    "counted_impossible": ("Records with service-counted minutes below 0, or over 31 days", "those minutes left out"),
    "ends_before_start": ("Records that end before they start", "counted, with the minutes they have"),
    "without_day": ("Records without a readable date", "in the totals, but on no day"),
    "without_session": ("Records without a session number", "counted, but in no session"),
    "session_without_times": ("Sessions without a readable start or end", "counted as sessions, without room minutes"),
    "session_impossible": (
        "Sessions that end before they start, or last over 31 days",
        "counted as sessions, without room minutes",
    ),
    "without_room": ("Records without a room", "in the totals, and under (none) by room"),
    "without_owner_ref": ("Records without an owner_ref of your own", "in the totals, and under (none) by owner_ref"),
    "without_user_ref": ("Records without a user_ref", "in the totals, but not among the users"),
    "percent_impossible": ("Records with a good share below 0 % or over 100 %", "that share left out"),
    "odd_fields": (
        "Fields of an unexpected type",
        "their records counted, without what they say; not known from CSV and Parquet files",
    ),
    "unreadable_values": (
        "Values that cannot be read, and times that ended records lack",
        "left out; the records in the figures are counted without them",
    ),
    "unreadable": ("Records that cannot be read", "not in any figure"),
    "unknown_scope": ("Records without the ID that says whether they are of this room or session", "not in any figure"),
    "archives_unknown_scope": (
        "Archives without the ID that says whether they are of this room or session",
        "not in any figure",
    ),
    "archives_repeated": (
        "Archives with the ID, the session, the time and the files of an earlier archive",
        "counted once",
    ),
    "archives_same_id": (
        "Archives with the ID of an earlier archive, and other values",
        "counted, as it is not known whether they are the same",
    ),
    "outside": ("Records of the export on other days", "not in any figure"),
}
"""What can be odd: its name, and how the report treats it."""
LEFT_OUT: Final = ("counted_impossible", "percent_impossible", "session_impossible", "without_session")
"""What is odd so that a figure lacks something, but for what is unreadable or has no participant minutes."""
INCOMPLETE: Final = (
    *("without_minutes", "minutes_impossible", *LEFT_OUT),
    *("unreadable", "unreadable_values", "unknown_scope", "archives_unknown_scope", "repeated"),
)
"""What is odd so that the report is incomplete."""
