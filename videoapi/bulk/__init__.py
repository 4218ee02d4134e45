"""Many creates, deletes and tokens at once."""

from videoapi.bulk.plan import Item, Plan, key_of, single_attempt
from videoapi.bulk.report import BulkOutcome, BulkReport, Progress, Status
from videoapi.bulk.run import GIVE_UP_AFTER, BulkRun

__all__ = [
    "GIVE_UP_AFTER",
    "BulkOutcome",
    "BulkReport",
    "BulkRun",
    "Item",
    "Plan",
    "Progress",
    "Status",
    "key_of",
    "single_attempt",
]
