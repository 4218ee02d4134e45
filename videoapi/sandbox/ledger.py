"""What really happened at the service, for tests to compare with what the client believes."""

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


@attrs.frozen
class LedgerEntry:
    """One executed write: `reference` is the stamp of a create, `name` and `owner_ref` what was sent.

    For a token `name` is the user's name and `owner_ref` the user's reference. `connection` is the number of the
    connection that asked for it, counted from 1 on since the sandbox was started.
    """

    seq: int
    at: datetime
    route: str
    room_id: str
    reference: str | None = None
    name: str | None = None
    owner_ref: str | None = None
    connection: int | None = None


class Ledger:
    """What the sandbox received and what it executed.

    Writes are kept one by one, reads are only counted, so that reading for hours costs no memory.
    Everything here may be read from any thread.
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
        """Read the ledger of a sandbox that keeps its state in a file, from any process, whether it runs or not.

        Args:
            path: the file, as given to `Sandbox(state=...)`.

        Returns:
            Its writes and rooms as of now; reads, requests and connections are not kept in the file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no state of a sandbox.
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
        """Every executed create of a room, also of rooms that are gone by now."""
        return tuple(entry for entry in self.entries if entry.route == "rooms.create")

    @property
    def tokens(self) -> tuple[LedgerEntry, ...]:
        """Every token that was issued."""
        return tuple(entry for entry in self.entries if entry.route == "tokens.create")

    @property
    def rooms(self) -> dict[str, dict[str, object]]:
        """The rooms that exist now, by id, as the service stores them; generated ones are left out."""
        return dict(self._rooms())

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self._connections

    def count(self, route: str) -> int:
        """How often a route was executed with success.

        Args:
            route: a route's name or a glob such as `cdr.*`, as in `Sandbox.fault`.
        """
        return sum(self._executed[name] for name in selected(route))

    def requests(self, route: str | None = None) -> int:
        """HTTP requests that arrived, whatever became of them; without a route all of them."""
        if route is None:
            return sum(list(self._seen.values()))
        return sum(self._seen[name] for name in selected(route))

    def duplicates(self) -> dict[str, tuple[str, ...]]:
        """References that were executed more than once, with the ids of the rooms they made."""
        made: dict[str, list[str]] = {}
        for entry in self.created:
            if entry.reference is not None:
                made.setdefault(entry.reference, []).append(entry.room_id)
        return {reference: tuple(ids) for reference, ids in made.items() if len(ids) > 1}

    def connected(self) -> int:
        """Count a connection; returns its number."""
        self._connections += 1
        return self._connections

    def serving(self, connection: int | None) -> None:
        """Say for which connection the next writes are executed."""
        self._connection = connection

    def saw(self, route: str) -> None:
        """Count a request on the wire."""
        self._seen[route] += 1

    def executed(self, route: str) -> None:
        """Count an execution that left nothing behind."""
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
        """Keep an executed write."""
        self._executed[route] += 1
        seq = len(self._entries) + 1
        entry = LedgerEntry(seq, at, route, room_id, reference, _text(name), _text(owner_ref), self._connection)
        self._entries.append(entry)
        self._state.put(_ENTRY, str(seq), {**attrs.asdict(entry), "at": at.isoformat()})


def reference_of(body: Mapping[str, object]) -> str | None:
    """The stamp of a create: `data.videoapi_ref` if it is there, else `owner_ref`."""
    data = body.get("data")
    stamp = data.get("videoapi_ref") if isinstance(data, dict) else None
    return _text(stamp if stamp is not None else body.get("owner_ref"))


def _read(document: object) -> LedgerEntry:
    if not isinstance(document, dict):
        raise ValueError("this is no entry of a ledger")
    entry: dict[str, Any] = {**document, "at": datetime.fromisoformat(document["at"])}
    return LedgerEntry(**entry)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
