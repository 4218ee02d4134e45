"""Connections to one Redis server: a client of redis-py for each event loop, and errors without secrets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from videoapi.config import Secret, address, hidden
from videoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
_CONNECTIONS: Final = 8
"""Connections of one event loop. More commands at the same time wait for each other."""
_LONGEST_REASON: Final = 200
_EXAMPLE: Final = "redis://redis.example.com:6379/0"
_CLUSTER: Final = "the URL names a node of a Redis Cluster, which is not supported"
_MEANINGS: Final = {
    "MovedError": f"{_CLUSTER}: MOVED",
    "AskError": f"{_CLUSTER}: ASK",
    "TryAgainError": f"{_CLUSTER}: TRYAGAIN",
    "ClusterDownError": f"{_CLUSTER}: CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN:",
    "BusyLoadingError": "LOADING:",
    "AuthenticationError": "authentication failed:",
}
"""What the code says that redis-py removes from the text of an error, by the name of its class."""
UNEXPECTED: Final = "an answer that the script cannot give; the URL may not name a Redis"


class RedisFailed(Exception):
    """A command that Redis did not answer in time, or refused. Internal: it never reaches a caller.

    Args:
        reason: What happened, without a secret.
        timed_out: Whether the time limit ended it.
        lasted: Seconds since the command began.
    """

    def __init__(self, reason: str, *, timed_out: bool = False, lasted: float = 0.0) -> None:
        super().__init__(reason)
        self.timed_out = timed_out
        self.lasted = lasted


class RedisConnections:
    """The connections to one Redis server. They are opened at first use.

    Each event loop has its own client, so that one object serves clients in several threads, and processes that
    were forked.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with all that redis-py's `from_url` accepts.
        timeout: Limit for one command, connecting included, in seconds.
        purpose: What needs them, for errors.

    Raises:
        ConfigurationError: If redis-py is not installed, or the URL is invalid. The message omits the URL, as it may
            contain a password.
    """

    _where = ""

    def __init__(self, url: str | Secret, *, timeout: float, purpose: str) -> None:
        secret = hidden(url)
        del url
        if not isinstance(secret, Secret) or not isinstance(secret.value, str):
            raise ConfigurationError(f"{purpose}: the URL of Redis is empty; give one such as {_EXAMPLE}.")
        self._url = secret
        self._timeout = timeout
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()
        self._users: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Any]] = WeakKeyDictionary()
        problem = _problem_of(self)
        if problem is not None:
            raise ConfigurationError(f"{purpose}: {problem}")

    def __repr__(self) -> str:
        return f"<RedisConnections {self.where}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisConnections) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    @property
    def where(self) -> str:
        """Host and port, or the path of the socket."""
        return self._where

    def client(self) -> Redis:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._new_client()
        return client

    async def run(self, command: Callable[[Redis], Awaitable[T]], user: object = None) -> T:
        """Return the answer to a command, which is sent at most once.

        Args:
            command: Sends it.
            user: Keeps the connections of this event loop open until it calls `leave`.

        Raises:
            RedisFailed: If Redis does not answer within the limit, or refuses.
        """
        loop = asyncio.get_running_loop()
        now = loop.time
        began = now()
        if user is not None:
            self._users.setdefault(loop, WeakSet()).add(user)
        limit, cancelling = asyncio.timeout(self._timeout), _cancellations()
        reason = ""
        try:
            async with limit:
                answer = await command(self.client())
            if _cancellations() > cancelling:
                # redis-py 8.1 ignores a cancellation, and returns the answer.
                raise asyncio.CancelledError
            return answer
        except TimeoutError:
            if not limit.expired():
                reason = "a time limit of the URL passed"
        except Exception as error:
            reason = self._describe(error)
        lasted = now() - began
        # Outside of the handler: the frames of redis-py's errors hold the password.
        raise RedisFailed(reason or f"no answer within {self._timeout:g} s", timed_out=not reason, lasted=lasted)

    async def leave(self, user: object) -> None:
        """Close the connections of the running event loop if no other user needs them."""
        loop = asyncio.get_running_loop()
        users = self._users.get(loop)
        if users is not None:
            users.discard(user)
        if not users:
            self._users.pop(loop, None)
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop. They are opened again if they are needed."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            # A server that hangs must not delay the end of the program.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._timeout):
                    await client.aclose()

    def _new_client(self) -> Redis:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        options: dict[str, Any] = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            # Since redis-py 6 the default is three retries, with sleeps in between.
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            # One round trip less for each new connection than RESP3, the default since redis-py 8.
            "protocol": 2,
            "max_connections": _CONNECTIONS,
            "timeout": self._timeout,
            "client_name": "videoapi",
        }
        pool = BlockingConnectionPool.from_url(self._url.value, **options)
        self._where = _where(pool.connection_kwargs)
        # Unknown options of the URL are found here, not at the first command.
        pool.connection_class(**pool.connection_kwargs)
        client = Redis(connection_pool=pool)
        client.auto_close_connection_pool = True
        return client

    def _describe(self, error: Exception) -> str:
        """Return what an error of redis-py says, on one line."""
        text = " ".join(str(error).split())
        meanings = (_MEANINGS.get(kind.__name__, "") for kind in type(error).__mro__)
        text = f"{next(filter(None, meanings), '')} {text}".strip() or type(error).__name__
        for part in _secrets(self._url.value):
            text = text.replace(part, "…")
        shown = "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_REASON])
        return shown if len(text) <= _LONGEST_REASON else shown + "…"


def _cancellations() -> int:
    """Return how often the current task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _problem_of(connections: RedisConnections) -> str | None:
    """Return what is wrong with the URL, or None."""
    try:
        connections._new_client()
    except ImportError:
        return "redis-py is not installed: pip install 'videoapi[redis]'."
    except TypeError:
        return f"the URL of Redis has an option that redis-py does not know; give one such as {_EXAMPLE}."
    except Exception:
        return f"invalid URL of Redis; give one such as {_EXAMPLE}."
    return None


def _where(options: dict[str, Any]) -> str:
    if path := options.get("path"):
        return f"unix:{path}"
    return address(str(options.get("host", "localhost")), int(options.get("port", 6379)))


def _secrets(url: str) -> list[str]:
    """Return the passwords of a URL, as they are written in it and decoded."""
    from urllib.parse import parse_qs, unquote, urlsplit

    parts = urlsplit(url)
    given = [parts.password or "", *parse_qs(parts.query).get("password", []), url]
    return sorted({text for part in given for text in (part, unquote(part)) if text}, key=len, reverse=True)
