"""The rate and the pause of accounts, shared by processes through Redis."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Final, Self

from videoapi.config import Secret, hidden
from videoapi.errors import ConfigurationError
from videoapi.pipeline.gate import Gate, GateFailed, Slots
from videoapi.pipeline.rate_limit import parse_rate
from videoapi.redis.connection import UNEXPECTED, RedisConnections, RedisFailed

_TIMEOUT: Final = 0.2
_MOST_PROCESSES: Final = 10_000
_MICROSECONDS: Final = 1e6
_AHEAD: Final = 1_000_000
"""How far ahead the script grants slots, in microseconds."""
_LONGEST_INTERVAL: Final = 7 * 86_400 * _MICROSECONDS
"""The longest interval of the rate of another process that is believed, in microseconds."""

# GCRA: `next` is when the next request is due. All times are microseconds on the clock of Redis.
SCRIPT: Final = """
local want, interval, pause = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'now', 'next', 'paused', 'interval', 'strict')
for i = 1, 5 do kept[i] = tonumber(kept[i]) or 0 end

-- If the clock stepped back, everything moves with it, as if no time had passed.
local back = math.max(0, kept[1] - now)
local next, paused, strict = kept[2] - back, kept[3] - back, kept[5] - back

-- The lowest of the rates that processes have used of late counts.
if kept[4] > interval and strict > now then
  interval = kept[4]
else
  strict = now + math.max(10000000, 2 * interval)
end

local granted, wait = 0, 0
paused = math.max(paused, now + pause)
if paused <= now and want > 0 then
  -- Fast rates make up for timers that wake up late. Idle time earns no burst.
  local first = math.max(next, now - (interval < 20000 and 20000 or 0))
  wait = first - now
  if wait <= 1000000 then
    -- Batches are short, so that processes take turns.
    granted = math.min(want, math.max(1, math.floor(40000 / interval)))
    next = first + granted * interval
  end
end

redis.call('HSET', KEYS[1], 'now', now, 'next', next, 'paused', paused, 'interval', interval, 'strict', strict)
redis.call('PEXPIRE', KEYS[1], math.ceil(math.max(60000000, 2 * (math.max(next, paused, strict) - now)) / 1000))
return {granted, math.floor(wait), math.max(0, math.ceil(paused - now))}
"""


class RedisGate:
    """A gate that shares an account's rate, and its pauses after HTTP 429, among all processes with the same Redis.

    Pass it as `VideoClient(rate="200/s", gate=…)`. You can share one gate among any number of clients, accounts,
    threads and event loops. Each account has its own rate in Redis, under a key that is a hash of the API's origin and
    the APP_ID. While Redis does not respond, each process sends at `rate / (2 x processes)`. Connections are opened on
    first use, and closed with the last client of their event loop.

    Args:
        url: A `redis://`, `rediss://` or `unix://` URL, as for redis-py's `from_url`.
        processes: Number of processes that share the account, 1 to 10,000; used only while Redis does not respond.
        rate: The rate of clients without a `rate=` of their own, such as `200/s`. The worst second can have about 10 %
            more.
        prefix: First part of the keys in Redis.

    Raises:
        ConfigurationError: If redis-py is not installed, or an argument is invalid. The message omits the URL, as it
            may contain a password.
    """

    def __init__(self, url: str | Secret, *, processes: int, rate: str | None = None, prefix: str = "videoapi") -> None:
        secret = hidden(url)
        del url
        self.where: str = ""
        """Host and port of Redis, or the path of its socket."""
        self.processes = processes
        if type(processes) is not int or not 1 <= processes <= _MOST_PROCESSES:
            raise ConfigurationError(
                f"processes={processes!r}: give the number of processes that share the account, 1 to {_MOST_PROCESSES}."
            )
        if not isinstance(prefix, str) or not prefix or not prefix.isprintable() or "{" in prefix or "}" in prefix:
            raise ConfigurationError("prefix must be printable text without braces, and not empty.")
        interval = 0.0 if rate is None else parse_rate(rate)
        self.rate = rate
        self._prefix = prefix
        self._connections = RedisConnections(secret or "", timeout=_TIMEOUT, purpose="RedisGate")
        self.where = self._connections.where
        self._own = _AccountGate(self._connections, self._key("", ""), lambda: interval)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return a gate with the values of VIDEOAPI_REDIS, VIDEOAPI_PROCESSES and VIDEOAPI_RATE, for workers.

        Args:
            environment: The variables; None reads `os.environ`.

        Raises:
            ConfigurationError: If a variable is missing or invalid; the message names it.
        """
        names = ("VIDEOAPI_REDIS", "VIDEOAPI_PROCESSES", "VIDEOAPI_RATE")
        environment = os.environ if environment is None else environment
        missing = [name for name in names if not environment.get(name)]
        url, processes, rate = hidden(environment.get(names[0])), environment.get(names[1]), environment.get(names[2])
        # Error reporters store the variables of the frames of an error.
        del environment
        if missing or url is None or processes is None:
            raise ConfigurationError(f"Set {', '.join(missing)} to share an account's rate through Redis.")
        if not (processes.isascii() and processes.isdecimal()):
            raise ConfigurationError(f"VIDEOAPI_PROCESSES={processes!r} is not a number of processes.")
        return cls(url, processes=int(processes), rate=rate)

    def __repr__(self) -> str:
        return f"<RedisGate {self.where}, processes={self.processes}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisGate) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[RedisConnections, int, str]:
        return self._connections, self.processes, self._prefix

    def for_account(self, origin: str, app_id: str, interval: Callable[[], float], /) -> Gate:
        """Return the gate of one account; clients call this.

        Args:
            origin: Scheme, host and port of the API.
            app_id: The account's APP_ID.
            interval: Returns the seconds between two requests, 0 for no limit.
        """
        return _AccountGate(self._connections, self._key(origin, app_id), interval)

    async def release(self, gate: Gate, /) -> None:
        """Close the connections of this event loop if no other account uses them; clients call this.

        Args:
            gate: The gate that `for_account` returned.
        """
        await self._connections.leave(gate)

    async def take(self, want: int, /) -> Slots:
        """Reserve requests of this gate's own `rate`, without a client. The rates of accounts are separate.

        Args:
            want: Number of requests that wait to be sent, at least 1. The gate may grant fewer.

        Raises:
            ConfigurationError: If the gate has no `rate`.
            GateFailed: If Redis does not respond within 0.2 s, or refuses.
        """
        if self.rate is None:
            raise ConfigurationError("This gate has no rate=. A VideoClient brings its own.")
        return await self._own.take(want)

    async def pause(self, seconds: float, /) -> None:
        """Pause this gate's own rate.

        Args:
            seconds: Length of the pause in seconds, from now.

        Raises:
            GateFailed: If Redis does not respond within 0.2 s, or refuses.
        """
        await self._own.pause(seconds)

    async def aclose(self) -> None:
        """Close the connections of this event loop; required only for a gate that is used without a client."""
        await self._connections.aclose()

    def _key(self, origin: str, app_id: str) -> str:
        digest = hashlib.sha256(f"{origin}\n{app_id}".encode()).hexdigest()[:32]
        # In Redis Cluster, the braces keep all keys of an account on one node.
        return f"{self._prefix}:{{{digest}}}:rate"


class _AccountGate:
    """The gate of one account.

    Args:
        connections: To Redis.
        key: Of the account.
        interval: Returns the seconds between two requests.
    """

    def __init__(self, connections: RedisConnections, key: str, interval: Callable[[], float]) -> None:
        self._connections = connections
        self._key = key
        self._interval = interval

    async def take(self, want: int, /) -> Slots:
        return await self._run(want, 0.0)

    async def pause(self, seconds: float, /) -> None:
        await self._run(0, seconds)

    async def _run(self, want: int, pause: float) -> Slots:
        arguments = (want, self._interval() * _MICROSECONDS, pause * _MICROSECONDS)
        try:
            answer = await self._connections.run(
                lambda redis: redis.register_script(SCRIPT)(keys=[self._key], args=arguments), user=self
            )
        except RedisFailed as error:
            reason = str(error)
        else:
            slots = _slots(answer, want, arguments[1])
            if slots is not None:
                return slots
            reason = UNEXPECTED
        raise GateFailed(reason)


def _slots(answer: object, want: int, interval: float) -> Slots | None:
    """Return what the script has answered; None if it cannot have.

    Args:
        answer: The answer of Redis.
        want: How many requests were wanted.
        interval: Of the rate of this process, in microseconds.
    """
    if not isinstance(answer, list) or len(answer) != 3 or any(type(number) is not int for number in answer):
        return None
    granted, wait, paused = answer
    if not 0 <= granted <= want or paused < 0 or (granted and paused):
        return None
    if want and not granted and not paused and wait < _AHEAD:
        # Nothing keeps the script from granting slots that are so near; a client would ask for ever.
        return None
    if wait > _AHEAD + max(interval, _LONGEST_INTERVAL):
        return None
    return Slots(granted, wait / _MICROSECONDS, paused / _MICROSECONDS)
