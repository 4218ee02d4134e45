"""A generated history: any number of rooms, calls and archives, computed on demand and never stored.

The index of a session determines its calls, its room and the day on which it ended. The same seed gives
the same rows, whatever period is requested.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate

from videoapi.sandbox.record_templates import DAY_MS, ArchiveRow, CallRow
from videoapi.sandbox.responses import dump
from videoapi.sandbox.settings import Json

# How many calls the sessions of one round have, and at which call each one starts.
_SIZES = (2, 2, 3, 2, 4, 3)
_STARTS = (0, 2, 4, 7, 9, 13)
_ROUND = sum(_SIZES)
# Relative load, Monday to Sunday.
_WEEK = (9, 10, 11, 10, 8, 3, 2)
_MASK = (1 << 64) - 1
_ID_BITS = 48
_ID_MASK = (1 << _ID_BITS) - 1
# Odd, so that multiplication permutes the ids and can be reversed.
_SPREAD = {"room": 0x9E3779B97F4B, "conf": 0xC2B2AE3D27D5, "call": 0x85EBCA6B1F35}
# The second of every three sessions is recorded.
_RECORDED, _EVERY = 1, 3
_NAMES = ("Ann", "Bo", "Cleo", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jo", "Kim", "Lea", "Max", "Nia")


class Generated:
    """Rooms and sessions computed from a seed instead of being created.

    Args:
        app_id: The project.
        seed: Makes the history repeatable.
        calls: How many call records there are.
        rooms: How many generated rooms the list has.
        today: The last day, UTC.
        days: How many days the calls are spread over.
    """

    def __init__(self, app_id: str, *, seed: str, calls: int, rooms: int, today: date, days: int) -> None:
        if calls < 0 or rooms < 0 or days < 1:
            raise ValueError("calls and rooms are counted from 0 on, days from 1 on")
        digest = hashlib.blake2s(f"history of {seed}".encode()).digest()
        self.calls = calls
        self.rooms = rooms
        self.first_day: date = today - timedelta(days=days - 1)
        self._salt = int.from_bytes(digest[:8], "big")
        self._tag = digest[8:14].hex()
        self._app_id = app_id
        self._places = rooms or -(-calls // 200)
        self.sessions: range = range(self._session_at(calls - 1) + 1 if calls else 0)
        weights = [
            _WEEK[(self.first_day + timedelta(days=day)).weekday()] * (85 + self._random_bits(day) % 31)
            for day in range(days)
        ]
        share = [0, *accumulate(weights)]
        self._bounds = [len(self.sessions) * part // share[-1] for part in share]
        self._zero = (self.first_day - date(1970, 1, 1)).days * DAY_MS

    def between(self, first: date, after: date) -> range:
        """Return the sessions that ended on or after the day `first` and before the day `after`."""
        return range(self._bounds[self._offset(first)], self._bounds[self._offset(after)])

    def in_room(self, room_id: str, sessions: range) -> range:
        """Return the sessions of a room, out of consecutive sessions."""
        place = self._place(room_id)
        if place is None or not self.calls:
            return range(0)
        return range(sessions.start + (place - sessions.start) % self._places, sessions.stop, self._places)

    def session(self, conf_num: str) -> range:
        """Return the session of a `conf_num` as a range, which is empty if it does not exist."""
        place = self._unspread("conf", conf_num)
        return range(place, place + 1) if place is not None and place in self.sessions else range(0)

    def recorded(self, sessions: range) -> range:
        """Return the sessions that have an archive."""
        for place in sessions[:_EVERY]:
            if place % _EVERY == _RECORDED:
                step = sessions.step if sessions.step % _EVERY == 0 else sessions.step * _EVERY
                return range(place, sessions.stop, step)
        return range(0)

    def count(self, sessions: range) -> int:
        """Return how many calls the sessions have."""
        if sessions.step == 1 and sessions:
            return self._first_call(sessions[-1] + 1) - self._first_call(sessions[0])
        return sum(self._first_call(place + 1) - self._first_call(place) for place in sessions)

    def ended(self, session: int) -> int:
        """Return when a session ended, in milliseconds since 1970."""
        day = bisect_right(self._bounds, session) - 1
        start, stop = self._bounds[day], self._bounds[day + 1]
        return self._zero + day * DAY_MS + (DAY_MS - 1) * (session - start) // (stop - start)

    def rows(self, session: int) -> Iterator[CallRow]:
        """Yield the calls of a session."""
        at = self.ended(session)
        conf_num = self.conf_num(session)
        room_id, name, details = self._shown(session % self._places)
        first = self._first_call(session)
        length = 300_000 + self._random_bits(session) % 3_300_000
        for call in range(first, self._first_call(session + 1)):
            random_bits = self._random_bits(call ^ 0x5BD1)
            late = 0 if call == first else random_bits % 120_000
            user = f"{_NAMES[(random_bits >> 8) % len(_NAMES)]}"
            yield CallRow(
                at,
                conf_num,
                room_id,
                name,
                details,
                at - length + late,
                at - (random_bits >> 20) % 5_000,
                "participant" if late else "moderator",
                f'"{user} {call}"',
                f'"u-{random_bits % 50_000}"',
                self._spread("call", 3 * call),
                self._spread("call", 3 * call + 1),
                self._spread("call", 3 * call + 2),
                random_bits,
            )

    def items(self, session: int) -> Iterator[ArchiveRow]:
        """Yield the archive item of a recorded session."""
        room_id, _, _ = self._shown(session % self._places)
        archive_id = self._spread("conf", len(self.sessions) + session)
        yield ArchiveRow(self.ended(session), self.conf_num(session), room_id, archive_id, 1 + session % 2)

    def conf_num(self, session: int) -> str:
        """Return the `conf_num` of a session."""
        return self._spread("conf", session)

    def room_id(self, place: int) -> str:
        """Return the id of the room at an index of the list."""
        return self._spread("room", place)

    def room(self, room_id: str) -> Json | None:
        """Return the stored body of a generated room in the list; None for any other id."""
        place = self._place(room_id)
        return self._body(place) if place is not None and place < self.rooms else None

    def born(self, room_id: str) -> datetime:
        """Return when a generated room was created."""
        place = self._place(room_id) or 0
        before = datetime.combine(self.first_day, datetime.min.time(), UTC) - timedelta(days=30)
        return before + timedelta(milliseconds=place * 2_000_000_000 // max(1, self.rooms))

    def _body(self, place: int) -> Json:
        settings: Json = {"mode": "group", "scheduled": False, "adhoc": False, "participants": "10"}
        settings |= {"moderators": "2", "auto_recording": place % 2 == 0}
        name, owner_ref = f"Room {place + 1}", f"owner-{place % 997}"
        return {"name": name, "owner_ref": owner_ref, "settings": settings, "sip": {"enabled": False}}

    @lru_cache(maxsize=4096)  # noqa: B019 - a sandbox's history lives as long as the sandbox
    def _shown(self, place: int) -> tuple[str, str, str]:
        room_id, body = self.room_id(place), self._body(place)
        details = {"_id": room_id, "service_id": self._app_id, **body}
        return room_id, dump(body["name"]).decode(), dump(details).decode()

    def _offset(self, day: date) -> int:
        return min(max((day - self.first_day).days, 0), len(self._bounds) - 1)

    def _place(self, room_id: str) -> int | None:
        place = self._unspread("room", room_id)
        return place if place is not None and place < self._places else None

    def _session_at(self, call: int) -> int:
        return call // _ROUND * len(_SIZES) + bisect_right(_STARTS, call % _ROUND) - 1

    def _first_call(self, session: int) -> int:
        turn, place = divmod(session, len(_SIZES))
        return min(turn * _ROUND + _STARTS[place], self.calls)

    def _random_bits(self, value: int) -> int:
        mixed = (value * 0x9E3779B97F4A7C15 + self._salt) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        return mixed ^ (mixed >> 27)

    def _spread(self, kind: str, value: int) -> str:
        return f"{self._tag}{((value + 1) * _SPREAD[kind] + self._salt) & _ID_MASK:012x}"

    def _unspread(self, kind: str, text: str) -> int | None:
        tag, rest = text[: len(self._tag)], text[len(self._tag) :]
        if tag != self._tag or len(rest) != _ID_BITS // 4:
            return None
        try:
            value = int(rest, 16)
        except ValueError:
            return None
        place = (value - self._salt) * pow(_SPREAD[kind], -1, 1 << _ID_BITS) & _ID_MASK
        return place - 1 if place else None
