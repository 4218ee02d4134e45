"""The service's rooms, tokens and sessions, and the operations on them."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import takewhile

import attrs

from videoapi.sandbox import room_lifecycle, serializers, tokens, validation
from videoapi.sandbox.history import Generated
from videoapi.sandbox.ledger import Ledger, reference_of
from videoapi.sandbox.persistence import State
from videoapi.sandbox.records import Records, UserConnection
from videoapi.sandbox.responses import Refusal
from videoapi.sandbox.rooms import RoomTable, StoredRoom
from videoapi.sandbox.sessions import Session, Sessions, User
from videoapi.sandbox.settings import Json
from videoapi.sandbox.switches import Switches

TOKEN_LIFE = timedelta(minutes=15)
# How many tokens are kept to be shown, used or not.
_SHOWN = 100


class Store:
    """The service's state. Every method is atomic: it raises and changes nothing, or it completes.

    Args:
        app_id: The project.
        switches: The switches, read by each operation.
        clock: Returns the service's time, an aware datetime.
        dice: The random source of ids.
        generated: The generated rooms and calls.
        host: Returns the host and port that tokens refer to.
        state: The store of rooms and ledger.
        ended: Called with the room and the `conf_num` of a session that has ended, when its records exist.
    """

    def __init__(
        self,
        app_id: str,
        *,
        switches: Switches,
        clock: Callable[[], datetime],
        dice: random.Random,
        generated: Generated,
        host: Callable[[], str],
        state: State,
        ended: Callable[[str, str], None],
    ) -> None:
        self.app_id = app_id
        self.ledger: Ledger = Ledger(self._bodies, state)
        self.records: Records = Records(generated)
        self.sessions: Sessions = Sessions()
        self._switches = switches
        self._clock = clock
        self._dice = dice
        self._host = host
        self._ended = ended
        # A different machine part at each start, so that no id repeats.
        self._machine = f"{(dice.getrandbits(40) + state.starts) % 2**40:010x}"
        self._counter = dice.getrandbits(23)
        self.rooms: RoomTable = RoomTable(generated, state)
        self._state = state
        self._issued: dict[str, User] = {}
        self._latest: deque[tuple[str, User]] = deque(maxlen=_SHOWN)

    def new_id(self) -> str:
        """Return a new id in the service's format: time, machine, counter."""
        self._counter += 1
        return f"{int(self._clock().timestamp()):08x}{self._machine}{self._counter & 0xFFFFFF:06x}"

    def create(self, body: Json) -> StoredRoom:
        """Create a room."""
        now = self._clock()
        stored = validation.check_create(body, now=now, **self._rules())
        room = StoredRoom(self.new_id(), stored, now)
        self.rooms.put(room)
        self.ledger.wrote(
            "rooms.create",
            now,
            room.room_id,
            reference=reference_of(stored),
            name=stored["name"],
            owner_ref=stored["owner_ref"],
        )
        return room

    def find(self, room_id: str) -> StoredRoom:
        """Return the room with an id, unless it is gone."""
        room = self.rooms.get(room_id)
        if room is not None and self._gone(room):
            self.rooms.remove(room_id)
            room = None
        if room is None:
            raise Refusal(self._switches.unknown_room)
        return room

    def visible(self, room_id: str) -> StoredRoom:
        """Return the room with an id, unless it is gone or too new to be visible."""
        room = self.find(room_id)
        if self._lags(room, self._switches.get_lag):
            raise Refusal(self._switches.unknown_room)
        return room

    def update(self, room_id: str, body: Json) -> None:
        """Change a room that has no session running."""
        room = self.find(room_id)
        if self.sessions.active(room_id):
            raise Refusal(10030)
        now = self._clock()
        if body:
            room.body = validation.check_update(body, room.body, now=now, **self._rules())
            room.updated = now
            self.rooms.put(room)
        self.ledger.wrote("rooms.update", now, room_id)

    def delete(self, room_id: str) -> None:
        """Delete a room that has no session running."""
        self.find(room_id)
        if self.sessions.active(room_id):
            raise Refusal(self._switches.delete_active, status=409)
        self.rooms.remove(room_id)
        self.ledger.wrote("rooms.delete", self._clock(), room_id)

    def listed(self) -> Iterator[StoredRoom]:
        """Yield the rooms of the list, in order. They may change during the iteration."""
        for room in self.rooms:
            if not self._gone(room) and not self._lags(room, self._switches.list_lag):
                yield room

    def issue(self, room_id: str, body: Json) -> str:
        """Issue a token."""
        room = self.find(room_id)
        role = validation.check_token(body)
        now = self._clock()
        denied = room_lifecycle.denial(room.settings, now, inside=self.sessions.active(room_id), over=self._over(room))
        if denied is not None:
            raise Refusal(denied)
        self._expire()
        limit = room_lifecycle.seats(room.settings, role)
        if limit is not None and self._taken(room_id, role) >= limit:
            raise Refusal(10114)
        token_id = self.new_id()
        user = User(room_id, str(body["name"]), str(body["user_ref"]), role, now)
        self._issued[token_id] = user
        self._latest.append((token_id, user))
        self.ledger.wrote("tokens.create", now, room_id, name=user.name, owner_ref=user.user_ref)
        return tokens.write(token_id, self.meta(room), host=self._host())

    def join(self, text: str) -> str:
        """Add a token's user to its room; the first one starts a session.

        Returns:
            The session's `conf_num`.

        Raises:
            ValueError: If the token is invalid, unknown, used up or too old, or its room is gone.
        """
        token_id = tokens.read(text)
        self._expire()
        user = self._issued.pop(token_id, None)
        if user is None:
            raise ValueError("the token is unknown, used up or older than 15 minutes")
        room = self._stored(user.room_id)
        now = self._clock()
        room.first_start = room.first_start or now
        room.controller = room.controller or self.new_id()
        self.rooms.put(room)
        return self.sessions.enter(token_id, attrs.evolve(user, since=now), self.new_id)

    def leave(self, text: str) -> None:
        """Remove a token's user; the last one ends the session, and its calls are recorded.

        Raises:
            ValueError: If the user is not in the room, or the token is invalid.
        """
        now = self._clock()
        ended = self.sessions.leave(tokens.read(text), now)
        if ended is not None:
            self._record_session(ended, now, recorded=None)

    def start_session(self, room_id: str, users: int) -> str:
        """Start a session with simulated users, who need no tokens.

        Returns:
            The session's `conf_num`.

        Raises:
            ValueError: If the room does not exist, or a session is running in it.
        """
        room = self._stored(room_id)
        if self.sessions.active(room_id):
            raise ValueError(f"a session is already running in room {room_id}")
        now = self._clock()
        room.first_start = room.first_start or now
        room.controller = room.controller or self.new_id()
        self.rooms.put(room)
        conf_num = ""
        for place in range(users):
            user = User(room_id, f"User {place}", f"user-{place}", "participant" if place else "moderator", now)
            conf_num = self.sessions.enter(self.new_id(), user, self.new_id)
        return conf_num

    def end_session(self, room_id: str, recorded: bool | None = None) -> str:
        """End a room's session, and record its calls.

        Returns:
            The session's `conf_num`.

        Raises:
            ValueError: If no session is running in the room.
        """
        now = self._clock()
        session = self.sessions.end(room_id, now)
        self._record_session(session, now, recorded=recorded)
        return session.conf_num

    def latest_rooms(self, at_most: int) -> list[StoredRoom]:
        """Return the newest rooms that exist, newest first."""
        return [room for room in self.rooms.latest(at_most) if not self._gone(room)]

    def latest_tokens(self) -> Iterator[tuple[str, User, str]]:
        """Yield the newest tokens, newest first: id, user, and `unused`, `in session` or `spent`."""
        inside = {token_id for session in self.sessions.running() for token_id in session.inside}
        oldest = self._clock() - TOKEN_LIFE
        for token_id, user in reversed(self._latest):
            unused = token_id in self._issued and user.since >= oldest
            yield token_id, user, "unused" if unused else "in session" if token_id in inside else "spent"

    def clear(self) -> None:
        """Forget rooms, tokens, sessions, their records and the ledger. What is generated is as at first."""
        self.sessions.clear()
        self._issued.clear()
        self._latest.clear()
        self.rooms.clear()
        self.records.clear()
        self.ledger.clear()
        self._state.clear()

    def conference(
        self,
        room_id: str,
        *,
        users: int,
        minutes: float,
        start: datetime | None,
        recorded: bool | None,
        files: bool,
    ) -> str:
        """Add a session that has ended: one call per user, and an archive if it was recorded.

        Raises:
            ValueError: If the room does not exist.
        """
        room = self._stored(room_id)
        start = start or self._clock() - timedelta(minutes=minutes)
        end = start + timedelta(minutes=minutes)
        room.first_start = room.first_start or start
        room.first_end = room.first_end or end
        room.controller = room.controller or self.new_id()
        self.rooms.put(room)
        conf_num = self.new_id()
        calls = [
            UserConnection(f"User {place}", f"user-{place}", "participant" if place else "moderator", start, end)
            for place in range(users)
        ]
        self._record(room, conf_num, calls, recorded=recorded, files=files)
        return conf_num

    def meta(self, room: StoredRoom) -> Json:
        """Return the stored room as it appears in tokens and call records."""
        body = room.body
        settings = serializers.filled(room.settings, self._switches)
        meta: Json = {"_id": room.room_id, "name": body["name"], "service_id": self.app_id}
        meta |= {"owner_ref": body["owner_ref"], "settings": settings, "sip": body["sip"]}
        if "data" in body:
            meta["data"] = body["data"]
        meta["created"] = serializers.stamp(room.created)
        if room.controller is not None:
            meta["enablexControllerId"] = room.controller
        return meta

    def _stored(self, room_id: str) -> StoredRoom:
        try:
            return self.find(room_id)
        except Refusal:
            raise ValueError(f"no room {room_id}") from None

    def _record(
        self, room: StoredRoom, conf_num: str, calls: list[UserConnection], *, recorded: bool | None, files: bool
    ) -> None:
        if recorded is None:
            recorded = bool(room.settings.get("auto_recording"))
        ids = [self.new_id() for _ in range(2 * len(calls) + 1)]
        self.records.add(
            room.room_id, conf_num, calls, details=self.meta(room), ids=ids, recorded=recorded, files=files
        )
        self._ended(room.room_id, conf_num)

    def _record_session(self, session: Session, now: datetime, *, recorded: bool | None) -> None:
        # The room may be over by now, but it exists until its last user has left.
        room = self.rooms.made(session.room_id)
        room.first_end = room.first_end or now
        self.rooms.put(room)
        self._record(room, session.conf_num, session.calls, recorded=recorded, files=True)

    def _taken(self, room_id: str, role: str) -> int:
        taken = sum(user.role == role for user in self.sessions.inside(room_id))
        if self._switches.seats == "issued":
            taken += sum(user.room_id == room_id and user.role == role for user in self._issued.values())
        return taken

    def _expire(self) -> None:
        oldest = self._clock() - TOKEN_LIFE
        # Tokens are in order of issue, so the oldest come first.
        for token_id, _ in list(takewhile(lambda issued: issued[1].since < oldest, self._issued.items())):
            del self._issued[token_id]

    def _gone(self, room: StoredRoom) -> bool:
        inside = self.sessions.active(room.room_id)
        return room_lifecycle.gone(self._clock(), inside=inside, over=self._over(room))

    def _lags(self, room: StoredRoom, seconds: float) -> bool:
        return seconds > 0 and self._clock() - room.created < timedelta(seconds=seconds)

    def _over(self, room: StoredRoom) -> datetime | None:
        return room_lifecycle.over_at(room.settings, room.first_start, room.first_end, self._switches.adhoc_rule)

    def _bodies(self) -> dict[str, Json]:
        return {room.room_id: dict(room.body) for room in self.rooms.all_made() if not self._gone(room)}

    def _rules(self) -> validation.ValidationRules:
        switches = self._switches
        return {
            "quality": switches.project_quality,
            "strict": switches.strict,
            "drop_unknown": switches.unknown_settings == "drop",
        }
