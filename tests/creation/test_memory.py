"""What a client remembers: which of the rooms it created are known, and which creates are unresolved."""

import pytest

from videoapi import Room
from videoapi.creation import memory
from videoapi.creation.memory import KnownRoom, Memory, can_be_known
from videoapi.models.codec import ResponseDecoder

MOST = 4


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setattr(memory, "_MOST_ROOMS", MOST)
    return Memory()


def add_rooms(known: Memory, numbers: range) -> None:
    for number in numbers:
        known.add_room(f"room-{number}", f"reference-{number}", False, True, float(number))


def test_first_and_latest_rooms_are_kept(known: Memory) -> None:
    for number in range(1000):
        add_rooms(known, range(number, number + 1))
        ids = [one.room_id for one in known.rooms()]

        latest = range(max(0, number - MOST + 1), number + 1)
        assert {f"room-{n}" for n in (*range(min(number + 1, MOST)), *latest)} <= set(ids)
        assert len(ids) == len(set(ids)) <= 3 * MOST


def test_known_room_is_returned_as_added(known: Memory) -> None:
    known.add_room("room", "reference", True, False, 7.0)

    assert known.rooms() == [KnownRoom("room", "reference", in_data=True, in_owner_ref=False, made_at=7.0)]
    assert (known.oldest_for(True), known.oldest_for(False), known.oldest_for(None)) == (7.0, None, None)


def test_forget_removes_rooms_from_the_first_and_the_latest(known: Memory) -> None:
    add_rooms(known, range(7))

    known.forget_room("room-1")
    known.forget_room("room-6")
    known.forget_room("room-99")

    assert [one.room_id for one in known.rooms()] == ["room-0", "room-2", "room-3", "room-4", "room-5"]


def test_forgotten_doubt_is_unknown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST_DOUBTS", 2)
    known = Memory()
    for number in range(3):
        known.note_sent(f"reference-{number}", in_data=False, now=float(number))

    assert known.sent("reference-0") is None
    assert known.sent("reference-2") == (2.0, False)


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        (b"{}", True),
        (b'{"settings":null}', True),
        (b'{"settings":{"adhoc":false}}', True),
        (b'{"settings":{"adhoc":"true"}}', False),
    ],
)
def test_rooms_for_one_session_are_not_known_however_they_were_read(settings: bytes, known: bool) -> None:
    body = b'{"result":0,"room":{"room_id":"a",%b}}' % (settings[1:-1] or b'"name":"n"')
    _, room = ResponseDecoder("room", Room).fast(body)
    assert isinstance(room, Room)
    assert can_be_known(room) is known
    with pytest.raises(AttributeError):
        object.__getattribute__(room, "settings")  # not built for this
    assert can_be_known(Room.from_dict(room.to_dict())) is known
