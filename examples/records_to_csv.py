"""Write the call records of a period to a CSV file, in constant memory.

For servers only: never put an APP_KEY into client-side code (browser, mobile, desktop).
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… python records_to_csv.py 2026-01-01 2026-01-31 calls.csv
"""

import asyncio
import csv
import sys
from typing import TextIO

from videoapi import VideoClient

COLUMNS = ("date", "conference", "room", "user", "role", "minutes")


def cell(value: object) -> str:
    """Prevent a spreadsheet from running a user-chosen name as a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip("'")[:1] in ("=", "+", "-", "@", "\t", "\r") else text


async def export(start: str, end: str, file: TextIO) -> int:
    rows = csv.writer(file)
    rows.writerow(COLUMNS)
    written = 0
    async with VideoClient() as client, client.cdr.by_period(start, end) as records:
        async for record in records:
            user, room = record.user, record.room
            minutes = round((record.sigserver.duration or 0) / 60, 1)  # of this user, not of the session
            values = (record.trans_date, record.conf_num, room.room_id, user.name, user.role, minutes)
            rows.writerow([cell(value) for value in values])
            written += 1
    print(f"{written} records, {records.rejected_count} that could not be parsed")
    return 1 if records.rejected_count else 0


def main(start: str, end: str, path: str) -> int:
    with open(path, "w", newline="", encoding="utf-8") as file:
        return asyncio.run(export(start, end, file))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
