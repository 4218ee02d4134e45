"""The settings of the judge's workers, with times short enough for a test."""

from __future__ import annotations

import logging
import os
from typing import Final

from videoapi import VideoClient
from videoapi.bulk.lease import Fence

log = logging.getLogger(__name__)

SETTLE: Final = 2.0
ATTEMPT: Final = 3.0
LEASE: Final = 8.0
STOPPED: Final = 12.0
"""For longer than a lease and the redelivery time, so that another worker has the shard when it wakes up."""
REDELIVERY: Final = 9.0
"""Shorter than a coordinator allows for such leases: shards are delivered again while they run."""
WORKER_TTL: Final = 4.5
"""After 5 s of silence, the least with ten heartbeats, Dask's scheduler dismisses a worker. It looks this often."""


def worker_client() -> VideoClient:
    """Return the client of a worker, with a rate of its own; without the fence, if the environment says so."""
    if os.environ.get("JUDGE_FENCE") == "no":
        _without_fence()
    return VideoClient(settle=SETTLE, attempt_timeout=ATTEMPT, rate=os.environ.get("JUDGE_RATE") or None)


def _without_fence() -> None:
    lets_pass, stands = Fence.lets_pass, Fence.stands

    def says(self: Fence) -> bool:
        # In the log of the workers: what the fence would have held back.
        if not lets_pass(self):
            log.warning("a create passes without a lease: %s", self.error)
            self.error = None
        return True

    def goes_on(self: Fence) -> bool:
        if not stands(self):
            self.error = None
        return True

    Fence.lets_pass, Fence.stands = says, goes_on  # type: ignore[method-assign]
