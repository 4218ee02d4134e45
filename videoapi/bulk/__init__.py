"""Many creates, deletes or tokens in one run: bounded concurrency, exactly one outcome per input.

Independent of HTTP, and of files other than the journal.
"""

from videoapi.bulk.outcome import BulkOutcome
from videoapi.bulk.report import BulkProgress, BulkReport
from videoapi.bulk.run import GIVE_UP_AFTER, BulkRun
from videoapi.bulk.sending import BulkItem, Plan, key_of

__all__ = [
    "GIVE_UP_AFTER",
    "BulkItem",
    "BulkOutcome",
    "BulkProgress",
    "BulkReport",
    "BulkRun",
    "Plan",
    "key_of",
]
