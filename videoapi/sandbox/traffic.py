"""How many requests arrived in the worst second, the worst tenth of a second, and at the same time."""

import time
from collections import deque
from collections.abc import Callable, Mapping

import attrs

_SECOND = 1_000_000_000
_TENTH = 100_000_000
# Downloads are not calls of the API: the service has its files on another host.
_NOT_IN_TOTAL = "files.get"
_UNKNOWN = "unknown"

RECENT = 60
"""For how many seconds the console shows the requests, one number per second."""


@attrs.frozen(kw_only=True)
class RouteTraffic:
    """The requests to one route, or to all routes of the API.

    Args:
        requests: Number of requests that arrived, executed or not.
        throttled: Number of requests with the response HTTP 429, from `rate_limit` or a fault.
        worst_second: Most requests that arrived within one second, whenever it began.
        worst_tenth: Most requests that arrived within a tenth of a second.
        concurrency: Most requests that were handled at the same time.
    """

    requests: int = 0
    throttled: int = 0
    worst_second: int = 0
    worst_tenth: int = 0
    concurrency: int = 0


@attrs.frozen(kw_only=True)
class Traffic:
    """The traffic of a sandbox, from any number of clients.

    Args:
        total: All routes of the API together, without `files.get`.
        routes: Each route that had a request, by name; `unknown` for other paths and methods.
        seconds: Seconds for which the traffic was counted.
        stalled: Longest time, in seconds, for which the sandbox itself was too busy to accept requests. Requests that
            waited for it arrive together, so `worst_tenth`, and to a lesser extent `worst_second`, are too high.
        rate_limit: The limit that the sandbox enforces, such as `20/s`; None for no limit.
    """

    total: RouteTraffic
    routes: Mapping[str, RouteTraffic]
    seconds: float
    stalled: float
    rate_limit: str | None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form, as served at `/_sandbox/traffic`."""
        return attrs.asdict(self)


class SlidingWindow:
    """The most events in any period of a given length, half open: two that are just this far apart are in two.

    Args:
        length: The length of the period, in nanoseconds.
    """

    __slots__ = ("_length", "_times", "worst")

    def __init__(self, length: int) -> None:
        self.worst: int = 0
        self._length = length
        self._times: deque[int] = deque()

    def add(self, now: int) -> int:
        """Count an event; return how many there were in the period that ends with it.

        Args:
            now: A monotonic time in nanoseconds, not before that of the last event.
        """
        times = self._times
        times.append(now)
        begin = now - self._length
        while times[0] <= begin:
            times.popleft()
        count = len(times)
        if count > self.worst:
            self.worst = count
        return count


@attrs.define
class _Counter:
    requests: int = 0
    throttled: int = 0
    open: int = 0
    concurrency: int = 0
    second: SlidingWindow = attrs.field(factory=lambda: SlidingWindow(_SECOND))
    tenth: SlidingWindow = attrs.field(factory=lambda: SlidingWindow(_TENTH))

    def begin(self, now: int) -> int:
        self.requests += 1
        self.open += 1
        if self.open > self.concurrency:
            self.concurrency = self.open
        self.tenth.add(now)
        return self.second.add(now)

    def end(self, throttled: bool) -> None:
        self.open -= 1
        if throttled:
            self.throttled += 1

    def cleared(self) -> "_Counter":
        # The requests in progress are still there.
        return _Counter(open=self.open, concurrency=self.open)

    def read(self) -> RouteTraffic:
        return RouteTraffic(
            requests=self.requests,
            throttled=self.throttled,
            worst_second=self.second.worst,
            worst_tenth=self.tenth.worst,
            concurrency=self.concurrency,
        )


class TrafficRecorder:
    """Counts the requests as they arrive and end, in memory that depends on their rate and not on their number.

    Args:
        clock: Returns a monotonic time in nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._since = clock()
        self._total = _Counter()
        self._routes: dict[str, _Counter] = {}
        self._recent = deque([0] * RECENT, maxlen=RECENT)
        self._recent_second = self._since // _SECOND
        self._clears = 0

    def begin(self, route: str) -> int:
        """Count a request that has arrived; return what `end` needs to know about it."""
        now = self._clock()
        counter = self._routes.get(route)
        if counter is None:
            counter = self._routes[route] = _Counter()
        counter.begin(now)
        if route != _NOT_IN_TOTAL:
            self._show(now // _SECOND, self._total.begin(now))
        return self._clears

    def end(self, route: str, begun: int, *, throttled: bool) -> None:
        """Count the end of a request.

        Args:
            route: Its route.
            begun: What `begin` has returned.
            throttled: Whether it got HTTP 429.
        """
        self._routes[route].end(throttled and begun == self._clears)
        if route != _NOT_IN_TOTAL:
            self._total.end(throttled and begun == self._clears)

    def clear(self) -> None:
        """Count from 0 again. Requests in progress count as concurrent, and no longer as requests."""
        self._clears += 1
        self._since = self._clock()
        self._total = self._total.cleared()
        self._routes = {route: counter.cleared() for route, counter in self._routes.items()}
        self._recent.extend([0] * RECENT)

    def read(self, *, stalled: float, rate_limit: str | None) -> Traffic:
        """Return the counts. It may be called from any thread.

        Args:
            stalled: The longest stall of the sandbox, in seconds.
            rate_limit: The limit that it enforces.
        """
        routes = {route or _UNKNOWN: counter.read() for route, counter in list(self._routes.items())}
        return Traffic(
            total=self._total.read(),
            routes={route: counts for route, counts in routes.items() if counts.requests},
            seconds=(self._clock() - self._since) / _SECOND,
            stalled=stalled,
            rate_limit=rate_limit,
        )

    def recent(self) -> list[int]:
        """Return the most requests in a second for each of the last `RECENT` seconds, the current one last."""
        self._show(self._clock() // _SECOND, 0)
        return list(self._recent)

    def _show(self, second: int, count: int) -> None:
        if second != self._recent_second:
            self._recent.extend([0] * min(second - self._recent_second, RECENT))
            self._recent_second = second
        if count > self._recent[-1]:
            self._recent[-1] = count
