"""The running sessions: which users are in which room."""

from collections.abc import Callable
from datetime import datetime

import attrs

from videoapi.sandbox.records import UserConnection


@attrs.frozen
class User:
    """A user in a room, or with an unused token for it. `since` is when the user joined or the token was issued."""

    room_id: str
    name: str
    user_ref: str
    role: str
    since: datetime


@attrs.define
class Session:
    """A session of a room: the users inside, by token, and the calls of those who have left."""

    room_id: str
    conf_num: str
    inside: dict[str, User] = attrs.field(factory=dict)
    calls: list[UserConnection] = attrs.field(factory=list)


class Sessions:
    """The running sessions, at most one per room."""

    def __init__(self) -> None:
        self._running: dict[str, Session] = {}

    def active(self, room_id: str) -> bool:
        """Return whether a session is running in a room."""
        return room_id in self._running

    def running(self) -> tuple[Session, ...]:
        """Return the running sessions, in the order in which they started."""
        return tuple(self._running.values())

    def inside(self, room_id: str) -> tuple[User, ...]:
        """Return the users in a room."""
        session = self._running.get(room_id)
        return tuple(session.inside.values()) if session else ()

    def enter(self, token_id: str, user: User, new_id: Callable[[], str]) -> str:
        """Add a user, starting a session if none is running; return the session's `conf_num`."""
        session = self._running.get(user.room_id)
        if session is None:
            session = self._running[user.room_id] = Session(user.room_id, new_id())
        session.inside[token_id] = user
        return session.conf_num

    def end(self, room_id: str, now: datetime) -> Session:
        """Remove all users from a room, and return the session that this ended.

        Raises:
            ValueError: If no session is running in the room.
        """
        session = self._running.get(room_id)
        if session is None:
            raise ValueError(f"no session is running in room {room_id}")
        for token_id in tuple(session.inside):
            self.leave(token_id, now)
        return session

    def clear(self) -> None:
        """Forget all sessions, without a record."""
        self._running.clear()

    def leave(self, token_id: str, now: datetime) -> Session | None:
        """Remove a user; return the session if this ended it.

        Raises:
            ValueError: If no user entered with this token.
        """
        for session in self._running.values():
            user = session.inside.pop(token_id, None)
            if user is not None:
                session.calls.append(UserConnection(user.name, user.user_ref, user.role, user.since, now))
                return None if session.inside else self._running.pop(session.room_id)
        raise ValueError("no user with this token is in a room")
