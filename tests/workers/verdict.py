"""The judgement of a job: what its report says, compared with what the service has executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import attrs

from videoapi import BulkReport, RoomSpec, reference_for
from videoapi.creation.references import with_location
from videoapi.sandbox.ledger import Ledger


@attrs.frozen(kw_only=True)
class Verdict:
    """What is wrong with a job.

    Args:
        twice: Keys whose room was created more than once.
        lost: Keys without a room.
        left: IDs of the self-check rooms that still exist.
        wrong: Keys for which the report names no room, another one, or one twice.
        audited: Whether the report proves the job complete.
    """

    twice: Collection[str]
    lost: Collection[str]
    left: Collection[str]
    wrong: Collection[str]
    audited: bool

    def __str__(self) -> str:
        numbers = {name: len(getattr(self, name)) for name in ("twice", "lost", "left", "wrong")}
        return f"{', '.join(f'{count:,} {name}' for name, count in numbers.items())}, audited: {self.audited}"

    @property
    def innocent(self) -> bool:
        return self.audited and not (self.twice or self.lost or self.left or self.wrong)


def judge(ledger_file: Path, job_id: str, specs: Collection[RoomSpec], report: BulkReport) -> Verdict:
    """Compare a report with the ledger of the service."""
    ledger = Ledger.read(ledger_file)
    key_of = {with_location(reference_for(job_id, spec.key), in_data=False): spec.key for spec in specs}
    created: Counter[str] = Counter()
    rooms: dict[str, set[str]] = {}
    for entry in ledger.created:
        key = key_of.get(with_location(entry.reference, in_data=False)) if entry.reference else None
        if key is not None:
            created[key] += 1
            if entry.room_id in ledger.rooms:
                rooms.setdefault(key, set()).add(entry.room_id)
    reported: dict[str, list[str | None]] = {}
    for outcome in report.made:
        reported.setdefault(outcome.key, []).append(outcome.room_id)
    keys = list(key_of.values())
    return Verdict(
        twice=[key for key, count in created.items() if count > 1],
        lost=[key for key in keys if not rooms.get(key)],
        left=[room_id for room_id, room in ledger.rooms.items() if "self-check" in str(room["name"])],
        wrong=[key for key in keys if reported.get(key) != list(rooms.get(key, ()))],
        audited=report.audited is not None,
    )
