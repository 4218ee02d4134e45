"""Many creates, deletes and tokens at once."""

from videoapi.bulk.plan import BulkItem, Plan, key_of, single_attempt
from videoapi.bulk.report import BulkOutcome, BulkProgress, BulkReport, Status
from videoapi.bulk.run import GIVE_UP_AFTER, BulkRun

__all__ = [
    "GIVE_UP_AFTER",
    "BulkItem",
    "BulkOutcome",
    "BulkProgress",
    "BulkReport",
    "BulkRun",
    "Plan",
    "Status",
    "key_of",
    "single_attempt",
]
