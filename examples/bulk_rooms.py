"""Create a room for each line of a CSV file with the columns name and owner_ref, and print each outcome.

For servers only: never put an APP_KEY into client-side code (browser, mobile, desktop).
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… python bulk_rooms.py rooms.csv
"""

import asyncio
import csv
import sys
from collections.abc import Iterator

from videoapi import RoomSpec, VideoAPIError, VideoClient


def specs(path: str) -> Iterator[RoomSpec]:
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            yield RoomSpec(name=row["name"], owner_ref=row["owner_ref"] or None, key=f"line {number}")


async def main(path: str) -> int:
    async with VideoClient() as client, client.rooms.create_each(specs(path), concurrency=16) as outcomes:
        try:
            async for outcome in outcomes:
                # "unknown": the room may exist. Look it up by its reference: creating it again could duplicate it.
                print(outcome.key, outcome.status, outcome.room_id or outcome.error, outcome.reference)
        except VideoAPIError as error:
            print(f"Stopped before the end: {error}")
        report = outcomes.report
    print(f"{report.total} rooms: {dict(report.counts)}")
    return 0 if report.exhausted and report.counts["created"] == report.total else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
