"""A record of what the service executed, for tests to compare with what the client reports."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from videoapi.sandbox.persistence import State
from videoapi.sandbox.rooms import kept
from videoapi.sandbox.routing import selected

_ENTRY = "ledger"
SELF_CHECK_NAME = "videoapi self-check, deleted soon"
"""The name that the client gives to self-check rooms."""


@attrs.frozen
class LedgerEntry:
    """An executed write.

    Args:
        seq: Its position among the writes, from 1.
        at: When it was executed (aware, UTC).
        route: Name of the route, such as `rooms.create`.
        room_id: The room that was written, or that the token is for.
        reference: The reference of a create, otherwise None.
        name: The name that was sent; for a token, the user's.
        owner_ref: The `owner_ref` that was sent; for a token, the user's reference.
        connection: The number of the connection that carried the request, from 1 since the sandbox was started.
    """

    seq: int
    at: datetime
    route: str
    room_id: str
    reference: str | None = None
    name: str | None = None
    owner_ref: str | None = None
    connection: int | None = None

    @property
    def self_check(self) -> bool:
        """Whether this is a self-check room, which the client creates to prove that a list is complete, and deletes."""
        return self.name == SELF_CHECK_NAME


class Ledger:
    """The requests that the sandbox received and executed.

    Writes are stored individually; reads are only counted, so that they use no memory. You can read all of it from any
    thread.
    """

    def __init__(self, rooms: Callable[[], Mapping[str, dict[str, object]]], state: State) -> None:
        self._entries = [_read(document) for document in state.load(_ENTRY).values()]
        self._executed: Counter[str] = Counter(entry.route for entry in self._entries)
        self._seen: Counter[str] = Counter()
        self._rooms = rooms
        self._state = state
        self._connections = 0
        self._connection: int | None = None

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "Ledger":
        """Read the ledger from a sandbox's state file, from any process, whether the sandbox is running or not.

        Args:
            path: The file, as given to `Sandbox(state=...)`.

        Returns:
            The current writes and rooms. Reads, requests and connections are not stored in the file.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is not a sandbox state file.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"no state of a sandbox at {path}")
        state = State(path)
        bodies = {room_id: room.body for room_id, room in kept(state).items()}
        return cls(lambda: bodies, state)

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """Every executed write, in order."""
        return tuple(self._entries)

    @property
    def created(self) -> tuple[LedgerEntry, ...]:
        """Every executed create of a room, including rooms that no longer exist and self-check rooms."""
        return tuple(entry for entry in self.entries if entry.route == "rooms.create")

    @property
    def tokens(self) -> tuple[LedgerEntry, ...]:
        """Every token that was issued."""
        return tuple(entry for entry in self.entries if entry.route == "tokens.create")

    @property
    def rooms(self) -> dict[str, dict[str, object]]:
        """The rooms that exist now, by ID, as the service stores them; without unmodified generated rooms."""
        return dict(self._rooms())

    @property
    def connections(self) -> int:
        """The number of TCP connections that were accepted so far."""
        return self._connections

    def count(self, route: str) -> int:
        """Return how often a route was executed successfully.

        Args:
            route: A route's name or a glob such as `cdr.*`, as in `Sandbox.fault`.
        """
        return sum(self._executed[name] for name in selected(route))

    def requests(self, route: str | None = None) -> int:
        """Return the number of HTTP requests that arrived, executed or not.

        Args:
            route: A route's name or a glob, as in `count`; None for all routes.
        """
        if route is None:
            return sum(list(self._seen.values()))
        return sum(self._seen[name] for name in selected(route))

    def duplicates(self) -> dict[str, tuple[str, ...]]:
        """Return the references that were executed more than once, each with the IDs of its rooms."""
        made: dict[str, list[str]] = {}
        for entry in self.created:
            if entry.reference is not None:
                made.setdefault(entry.reference, []).append(entry.room_id)
        return {reference: tuple(ids) for reference, ids in made.items() if len(ids) > 1}

    def entries_from(self, first: LedgerEntry | None) -> list[LedgerEntry]:
        """Return an entry and those after it, without a copy of the earlier ones.

        Args:
            first: The entry, or None for all of them.
        """
        return self._entries[first.seq - 1 :] if first else list(self._entries)

    def clear(self) -> None:
        """Forget all requests and entries. Connections keep their numbers."""
        self._entries.clear()
        self._executed.clear()
        self._seen.clear()

    def connected(self) -> int:
        """Count a connection and return its number."""
        self._connections += 1
        return self._connections

    def serving(self, connection: int | None) -> None:
        """Set the connection to which the next writes are attributed.

        Args:
            connection: Its number, or None.
        """
        self._connection = connection

    def saw(self, route: str) -> None:
        """Count a received request.

        Args:
            route: Name of the route.
        """
        self._seen[route] += 1

    def executed(self, route: str) -> None:
        """Count an executed read.

        Args:
            route: Name of the route.
        """
        self._executed[route] += 1

    def wrote(
        self,
        route: str,
        at: datetime,
        room_id: str,
        *,
        reference: str | None = None,
        name: object = None,
        owner_ref: object = None,
    ) -> None:
        """Record an executed write; the arguments are the fields of its `LedgerEntry`.

        Args:
            route: Name of the route.
            at: When it was executed.
            room_id: The room.
            reference: The reference of a create.
            name: The name that was sent.
            owner_ref: The `owner_ref` that was sent.
        """
        self._executed[route] += 1
        seq = len(self._entries) + 1
        entry = LedgerEntry(seq, at, route, room_id, reference, _text(name), _text(owner_ref), self._connection)
        self._entries.append(entry)
        self._state.put(_ENTRY, str(seq), {**attrs.asdict(entry), "at": at.isoformat()})


def reference_of(body: Mapping[str, object]) -> str | None:
    """Return the reference of a create: `data.videoapi_ref` if present, else `owner_ref`."""
    data = body.get("data")
    reference = data.get("videoapi_ref") if isinstance(data, dict) else None
    return _text(reference if reference is not None else body.get("owner_ref"))


def _read(document: object) -> LedgerEntry:
    if not isinstance(document, dict):
        raise ValueError("this is not a ledger entry")
    entry: dict[str, Any] = {**document, "at": datetime.fromisoformat(document["at"])}
    return LedgerEntry(**entry)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
