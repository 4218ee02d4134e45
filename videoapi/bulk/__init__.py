"""Many creates, deletes or tokens in one run: bounded concurrency, exactly one outcome per input.

Independent of HTTP, and of files other than the journal.
"""

from videoapi.bulk.plan import BulkItem, Plan, key_of, single_attempt
from videoapi.bulk.report import BulkOutcome, BulkProgress, BulkReport
from videoapi.bulk.run import GIVE_UP_AFTER, BulkRun

__all__ = [
    "GIVE_UP_AFTER",
    "BulkItem",
    "BulkOutcome",
    "BulkProgress",
    "BulkReport",
    "BulkRun",
    "Plan",
    "key_of",
    "single_attempt",
]
