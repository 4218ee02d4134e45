"""The pipeline of one call: send a request, then return its value or raise its error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from videoapi.errors import VideoAPIError
from videoapi.events import CallEvent, Listener, emit, log
from videoapi.pipeline.accounts import AccountState
from videoapi.pipeline.middleware import Send
from videoapi.protocol.backoff import Retry, decide
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import BufferedStream, Outcome, answered, no_response, truncated
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.types import ErrorKind, Phase, Verdict


class Pool(Protocol):
    """The connection pool, as far as the pipeline uses it."""

    @property
    def max_connections(self) -> int: ...

    def check(self) -> None:
        """Raise ConfigurationError if the connections are closed or belong to another event loop."""
        ...

    def may_prefetch(self) -> bool:
        """Return whether a stream may be opened before it is needed."""
        ...


@attrs.frozen(kw_only=True)
class Pipeline:
    """The request pipeline shared by all namespaces: middleware, retries, limits.

    Args:
        chain: Sends a request through all middleware.
        options: The limits of each call.
        pool: The connection pool.
        account: The state shared by all calls of this account.
        listeners: Called with each `CallEvent`.
        has_middleware: Whether the chain contains user middleware, which `timeout` must bound too.
        redact: Removes the credentials from the outcome of a streamed failure.
    """

    chain: Send
    options: Options
    pool: Pool
    account: AccountState
    listeners: Sequence[Listener] = ()
    has_middleware: bool = False
    redact: Callable[[Outcome], Outcome] = lambda outcome: outcome

    async def run(self, request: Request) -> Any:
        """Send a request and return its decoded payload.

        Raises:
            VideoAPIError: If the call failed; its class and attributes give the cause.
        """
        outcome = await self.send(request)
        if outcome.classification.verdict is Verdict.DONE:
            return outcome.value
        raise error_from_outcome(request, outcome)

    async def open_stream(self, request: Request) -> Outcome:
        """Send a request and return its outcome with the body still open; retries end with the response headers.

        Raises:
            VideoAPIError: If no attempt got the headers of a successful response.
        """
        outcome = await self.send(request)
        if outcome.verdict is Verdict.DONE:
            if outcome.stream is not None:
                return outcome
            # A middleware responded without sending.
            stream = BufferedStream(outcome.status or 200, outcome.headers, outcome.body)
            return attrs.evolve(outcome, stream=stream)
        raise error_from_outcome(request, outcome)

    def send(self, request: Request) -> Awaitable[Outcome]:
        """Send a request and return its outcome, also for failures."""
        observed = self.listeners or self.has_middleware or log.isEnabledFor(logging.DEBUG)
        return self._send_observed(request) if observed else self.chain(request)

    async def _send_observed(self, request: Request) -> Outcome:
        began = self.account.clock.now()
        outcome = await (self._send_bounded(request) if self.has_middleware else self.chain(request))
        emit(self.listeners, _event(request, outcome, self.account.clock.now() - began))
        return outcome

    async def _send_bounded(self, request: Request) -> Outcome:
        # Expire after the deadline of the retry loop, whose outcome is more precise.
        limit = asyncio.timeout(request.timeout + 0.25)
        try:
            async with limit:
                return await self.chain(request)
        except TimeoutError:
            if not limit.expired():
                raise
        return no_response(request, Phase.SENT, ErrorKind.TIMEOUT, "a middleware did not end in time")

    def classify(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Classify the envelope that remains of a streamed body without its items."""
        return self.redact(answered(request, status, headers, body))

    def interrupted(self, request: Request, reason: str, timed_out: bool, status: int = 200) -> Outcome:
        """Classify a streamed body that was interrupted."""
        return truncated(request, status, {}, reason, ErrorKind.TIMEOUT if timed_out else ErrorKind.CONNECTION)

    async def retry_read(self, request: Request, outcome: Outcome, attempt: int) -> bool:
        """Return whether to repeat a read whose body was interrupted, after waiting for the backoff.

        Args:
            request: The read.
            outcome: The outcome of the interrupted read.
            attempt: Number of consecutive interruptions without a new record, from 1.
        """
        step = decide(
            self.options.retry,
            request.route.operation,
            outcome.classification,
            attempt=attempt,
            unknown=attempt,
            retry_after=outcome.retry_after,
            left=request.timeout,
            random=self.account.clock.random,
        )
        if not isinstance(step, Retry) or self.account.budget.spend(outcome.verdict) is None:
            return False
        await self.account.clock.sleep(step.delay)
        return True

    def error(self, outcome: Outcome, request: Request, attempts: int) -> VideoAPIError:
        """Return the error for a failed outcome."""
        return error_from_outcome(request, attrs.evolve(outcome, attempts=attempts))


def _event(request: Request, outcome: Outcome, seconds: float) -> CallEvent:
    return CallEvent(
        route=request.route.name,
        method=request.method,
        path=request.route.template,
        attempts=outcome.attempts,
        status=outcome.status,
        code=outcome.code,
        verdict=outcome.verdict.value,
        seconds=seconds,
        request_id=outcome.details.request_id if outcome.details else None,
    )
