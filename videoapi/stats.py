"""What a client is doing now, as one value: for health endpoints, metrics and people in a shell."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from videoapi.pipeline.call import Call, Wait
from videoapi.pipeline.pipeline import Pipeline
from videoapi.transport.pool import ConnectionPool

_PERMIT: Final = frozenset({Wait.TURN, Wait.CONNECTION})
_RATE: Final = frozenset({Wait.GATE, Wait.RATE})


@attrs.frozen(kw_only=True)
class ClientStats:
    """The state of a client at one moment, from `client.stats()`. It contains no secrets.

    Connections and permits are those of the client's `SessionManager`, which other clients may share. Retry budget and
    pause are those of the account of the latest attempt.

    Args:
        state: `idle` before the first call, then `open`, then `closed`, in which all numbers but `doubts` are 0.
        connections_open: Connections to the API, idle ones included.
        connections_idle: Connections that no request uses now.
        permits_total: Maximum number of concurrent calls, `max_connections`. Streams have permits of their own.
        permits_in_use: Permits held by calls.
        streams_open: Permits held by streams.
        calls_in_flight: Calls of this client that have not ended: their attempts, and their waits for a permit, the
            account's pause or rate, or the next attempt. The wait of a create for its lost room is in `settling`, and
            a stream with response headers in `streams_open`.
        waiting: Calls in flight that wait for a permit, the account's pause or its rate: the sum of the next three.
        waiting_for_permit: Those that wait for a permit, as all are in use.
        waiting_for_pause: Those that wait for the end of the account's pause after HTTP 429.
        waiting_for_rate: Those that wait for the account's rate, or for the answer of its gate.
        backing_off: Calls in flight that wait between two attempts.
        settling: Waits for proof of what became of creates: creates that look for their lost room, `rooms.resolve`
            calls, and bulk runs (each run once).
        retry_budget_left: The remaining part of the account's retry budget of 500; a retry costs 10, or 5 after HTTP
            429.
        pause_left: Seconds until the account's pause after HTTP 429 ends; 0 without a pause.
        doubts: Creates of this client that are in doubt: they may have been executed, and nothing is proven yet. Only
            proof that this client finds lowers it: if another process resolves such a create, it still counts.
        gate: `shared` if the account's rate is shared with other processes, `fallback` while the gate does not respond
            and this process uses a rate of its own, `none` without `gate=`.
    """

    state: Literal["idle", "open", "closed"]
    connections_open: int = 0
    connections_idle: int = 0
    permits_total: int = 0
    permits_in_use: int = 0
    streams_open: int = 0
    calls_in_flight: int = 0
    waiting: int = 0
    waiting_for_permit: int = 0
    waiting_for_pause: int = 0
    waiting_for_rate: int = 0
    backing_off: int = 0
    settling: int = 0
    retry_budget_left: float = 0.0
    pause_left: float = attrs.field(default=0.0, repr=lambda seconds: f"{seconds:.1f}")
    doubts: int = 0
    gate: Literal["none", "shared", "fallback"] = "none"


def stats_of(pipeline: Pipeline, pool: ConnectionPool, *, doubts: int, settling: int) -> ClientStats:
    """Return the state of a client; callable from any thread.

    Args:
        pipeline: The client's pipeline.
        pool: Its connections.
        doubts: Its unresolved creates.
        settling: How many creates, look-ups and runs wait for proof.
    """
    if pipeline.timer.closed or pool.closed:
        return ClientStats(state="closed", doubts=doubts)
    # A copy, because another thread may ask while calls begin and end.
    waits = [_wait_of(pipeline, call) for call in tuple(pipeline.timer.limits.values()) if isinstance(call, Call)]
    permit, pause, rate = (
        sum(map(_PERMIT.__contains__, waits)),
        waits.count(Wait.PAUSE),
        sum(map(_RATE.__contains__, waits)),
    )
    usage, account = pool.usage, pipeline.account
    shared = account.shared_gate
    return ClientStats(
        state="open" if pool.state == "open" else "idle",
        connections_open=usage.connections,
        connections_idle=usage.idle,
        permits_total=pool.max_connections,
        permits_in_use=usage.permits,
        streams_open=usage.streams,
        calls_in_flight=len(waits),
        waiting=permit + pause + rate,
        waiting_for_permit=permit,
        waiting_for_pause=pause,
        waiting_for_rate=rate,
        backing_off=waits.count(Wait.BACKOFF),
        settling=settling,
        retry_budget_left=account.budget.left,
        pause_left=account.throttle.pause_left(),
        doubts=doubts,
        gate="none" if shared is None else "fallback" if shared.away else "shared",
    )


def _wait_of(pipeline: Pipeline, call: Call) -> Wait:
    """Return what a call waits for, or what a middleware's task waits for on its behalf."""
    parts = [part for part in (call, *call.parts) if part is call or not part.over]
    waiting = next((part for part in parts if part.waiting is not Wait.NOTHING), call)
    if waiting.waiting is not Wait.TURN:
        return waiting.waiting
    # In line, and so for what the first in line waits for.
    head = pipeline.account.admission.head_waits(pipeline.retries.transport.permits_for(waiting.request))
    return head if head in _RATE or head is Wait.PAUSE else Wait.TURN
