"""Many creates, deletes and tokens at once."""

from videoapi.bulk.plan import Emit, Item, Plan, Settling, key_of, single_attempt
from videoapi.bulk.report import BulkOutcome, BulkReport, Progress, Status
from videoapi.bulk.run import GIVE_UP_AFTER, BulkRun

__all__ = [
    "GIVE_UP_AFTER",
    "BulkOutcome",
    "BulkReport",
    "BulkRun",
    "Emit",
    "Item",
    "Plan",
    "Progress",
    "Settling",
    "Status",
    "key_of",
    "single_attempt",
]
