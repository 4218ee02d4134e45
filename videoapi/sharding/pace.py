"""How many rooms a shard may have: what the account's rate and the redelivery time of the queue allow. Pure."""

from __future__ import annotations

import math
from typing import Final

import attrs

from videoapi.errors import ConfigurationError

_USUAL: Final = 250
_MOST: Final = 1e6
_SHARDS_PER_PROCESS: Final = 4
_UNLIMITED: Final = 10.0
"""Rooms per second that one process creates at least, if no rate is set."""
_WAITS: Final = 3
"""A look-back to what an earlier worker did, and a look at what became of lost responses; each may be repeated."""


@attrs.frozen(kw_only=True)
class ShardPace:
    """How long shards take.

    Args:
        rate: Requests per second of the account, for all processes together; None if it is not limited.
        processes: Number of processes that share the rate.
        settle: Settle time of the clients, in seconds.
        lease: For how long a lease is held without a sign of life, in seconds.
        redelivery: After how many seconds the queue delivers a shard a second time.
    """

    rate: float | None
    processes: int
    settle: float
    lease: float
    redelivery: float

    @property
    def per_process(self) -> float:
        """Rooms per second in one process."""
        return _UNLIMITED if self.rate is None else self.rate / self.processes

    @property
    def waits(self) -> float:
        """How long one shard may wait for proof, in seconds."""
        return _WAITS * max(self.settle, self.lease)

    @property
    def largest(self) -> int:
        """The most rooms that a shard may have, 0 if the waits alone take too long."""
        return max(0, math.floor(min((self.redelivery - self.waits) * self.per_process, _MOST)))

    def seconds(self, size: int) -> float:
        """Return how long a shard may take, waits included."""
        return size / self.per_process + self.waits

    def size(self, rooms: int) -> int:
        """Return the size of the shards of a job.

        Args:
            rooms: Number of rooms of the job.

        Raises:
            ConfigurationError: If a shard of a single room would be delivered twice.
        """
        self.check(1)
        share = math.ceil(rooms / (_SHARDS_PER_PROCESS * self.processes))
        return max(1, min(_USUAL, share, self.largest))

    def check(self, size: int) -> None:
        """Check that a shard ends before the queue delivers it again.

        Raises:
            ConfigurationError: If it would not.
        """
        if size <= self.largest:
            return
        speed = f"{self.per_process:g} rooms/s"
        source = (
            f"{speed} assumed, as no rate is given"
            if self.rate is None
            else f"{self.rate:g}/s / {self.processes} processes = {speed}"
        )
        advice = f"Give shard_size={self.largest} or less, or" if self.largest else "Give"
        raise ConfigurationError(
            f"shard_size={size} takes up to {self.seconds(size):,.0f} s, and the queue delivers it again after "
            f"{self.redelivery:g} s: {size} rooms / ({source}) = {size / self.per_process:,.1f} s, plus {_WAITS} waits "
            f"for proof of {max(self.settle, self.lease):g} s. {advice} a longer redelivery. Not sent."
        )
