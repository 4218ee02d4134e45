"""The retry loop of one call: send attempts until one is final, or the policy, budget or timeout ends the call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from videoapi.errors import VideoAPIError
from videoapi.events import AttemptEvent, Listener, emit, log
from videoapi.pipeline.accounts import AccountState
from videoapi.pipeline.middleware import Send
from videoapi.protocol.backoff import FINAL, GiveUp, Retry, add_jitter, decide
from videoapi.protocol.classify import DONE
from videoapi.protocol.outcome import Outcome, no_response
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Classification, ErrorKind, Phase, Verdict

Attempt = Callable[[Request, float], Awaitable[Outcome]]
"""Sends a request once, before a deadline on the event loop's clock."""

_PAUSED: Final = Classification(Verdict.THROTTLED, ErrorKind.RATE)


def with_retries(attempt_once: Attempt, account: AccountState, listeners: Sequence[Listener] = ()) -> Send:
    """Return a `Send` that retries while the policy, the budget and the timeout allow it.

    Args:
        attempt_once: Sends one attempt.
        account: The state shared by the account's calls: clock, retry budget, pauses and rate limit.
        listeners: Called with each `AttemptEvent`.
    """
    clock, sleep = account.clock.now, account.clock.sleep

    async def send_until_final(request: Request) -> Outcome:
        began = clock()
        deadline = began + request.timeout
        attempt = unknown = 0
        spent = 0.0
        while True:
            if account.throttle.closed or account.rate.interval:
                held_back = await _wait_for_turn(account, request, deadline)
                if held_back is not None:
                    return attrs.evolve(held_back, attempts=attempt, may_have_executed=unknown > 0)
                began = clock()
            attempt += 1
            try:
                outcome = await attempt_once(request, deadline)
            except VideoAPIError as error:
                # This attempt was not made, for example because the client was closed; count the earlier ones.
                error.attempts, error.may_have_executed = attempt - 1, unknown > 0
                raise
            if attempt > 1 or outcome.classification.verdict is not Verdict.DONE:
                outcome = _with_history(outcome, request, attempt, unknown)
            if outcome.classification.verdict is Verdict.DONE:
                next_step: Retry | GiveUp = FINAL
                account.succeeded(began, spent)
            else:
                unknown += outcome.classification.verdict is Verdict.UNKNOWN
                _update_gates(account, outcome, began)
                next_step, cost = _next_step(account, request, outcome, attempt, unknown, deadline - clock())
                spent = cost or spent
            if listeners or log.isEnabledFor(logging.DEBUG):
                emit(listeners, _event(request, outcome, attempt, clock() - began, next_step))
            if isinstance(next_step, GiveUp):
                return outcome
            await sleep(next_step.delay)
            began = clock()

    return send_until_final


def _next_step(
    account: AccountState, request: Request, outcome: Outcome, attempt: int, unknown: int, left: float
) -> tuple[Retry | GiveUp, float]:
    """Return the next step after a failure and its cost to the retry budget."""
    step = decide(
        request.options.retry,
        request.route.operation,
        outcome.classification,
        attempt=attempt,
        unknown=unknown,
        retry_after=outcome.retry_after,
        left=left,
        random=account.clock.random,
    )
    if isinstance(step, GiveUp):
        return step, 0.0
    cost = account.budget.spend(outcome.verdict)
    return (GiveUp("budget"), 0.0) if cost is None else (step, cost)


def _with_history(outcome: Outcome, request: Request, attempt: int, unknown: int) -> Outcome:
    """Add the attempt count, and whether an earlier attempt may have been executed, to an outcome."""
    if outcome.verdict is Verdict.DONE:
        return attrs.evolve(outcome, attempts=attempt)
    gone = outcome.classification.kind is ErrorKind.NOT_FOUND and outcome.verdict is Verdict.REJECTED
    if gone and unknown and request.method == "DELETE":
        # An earlier attempt without a response deleted it.
        return attrs.evolve(outcome, classification=DONE, attempts=attempt, may_have_executed=True)
    return attrs.evolve(outcome, attempts=attempt, may_have_executed=outcome.may_have_executed or unknown > 0)


def _update_gates(account: AccountState, outcome: Outcome, began: float) -> None:
    # 425 and 429 request a pause, whether or not they prove that nothing was executed.
    if outcome.verdict is Verdict.THROTTLED or outcome.status in (425, 429):
        account.throttle.pause(outcome.retry_after)
    elif outcome.verdict is Verdict.NOT_SENT and outcome.classification.kind is ErrorKind.CONNECTION:
        account.connect.pause()
    elif outcome.phase is Phase.ANSWERED:
        # Any response shows that the server is reachable again.
        account.connect.resume(began)
        if outcome.verdict is not Verdict.UNKNOWN:
            account.throttle.resume(began)


async def _wait_for_turn(account: AccountState, request: Request, deadline: float) -> Outcome | None:
    """Wait for the account's pause and rate limit; return an outcome only if the call cannot wait that long."""
    clock, sleep = account.clock.now, account.clock.sleep
    pause = account.throttle.pause_left()
    if pause > 0:
        # Add jitter, so that calls waiting for the same pause do not all resume at once.
        wait = add_jitter(pause, account.clock.random())
        if wait >= deadline - clock() or pause > add_jitter(request.options.retry.max_retry_after, 1.0):
            reason = "the account is paused after an earlier 429"
            return Outcome(classification=_PAUSED, phase=Phase.NOT_SENT, reason=reason, retry_after=pause)
        await sleep(wait)
    if account.rate.interval:
        slot = account.rate.reserve(clock(), deadline - clock())
        if slot is None:
            return no_response(request, Phase.NOT_SENT, ErrorKind.TIMEOUT, "the rate gate had no slot in time (rate=)")
        await sleep(slot)
    return None


def _event(request: Request, outcome: Outcome, attempt: int, seconds: float, step: Retry | GiveUp) -> AttemptEvent:
    return AttemptEvent(
        route=request.route.name,
        method=request.method,
        path=request.route.template,
        attempt=attempt,
        status=outcome.status,
        code=outcome.code,
        verdict=outcome.verdict.value,
        seconds=seconds,
        waited=outcome.waited,
        retry_in=step.delay if isinstance(step, Retry) else None,
        request_id=outcome.details.request_id if outcome.details else None,
    )
