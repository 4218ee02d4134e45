"""Known rooms: which of the created rooms are kept."""

import pytest

from videoapi.creation import controls
from videoapi.creation.controls import Control, Controls

MOST = 4


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Controls:
    monkeypatch.setattr(controls, "_MOST", MOST)
    return Controls()


def add_rooms(known: Controls, numbers: range) -> None:
    for number in numbers:
        known.add(f"room-{number}", f"reference-{number}", False, True, float(number))


def test_first_and_latest_rooms_are_kept(known: Controls) -> None:
    for number in range(1000):
        add_rooms(known, range(number, number + 1))
        ids = [one.room_id for one in known.all()]

        latest = range(max(0, number - MOST + 1), number + 1)
        assert {f"room-{n}" for n in (*range(min(number + 1, MOST)), *latest)} <= set(ids)
        assert len(ids) == len(set(ids)) <= 3 * MOST


def test_known_room_is_returned_as_added(known: Controls) -> None:
    known.add("room", "reference", True, False, 7.0)

    assert known.all() == [Control("room", "reference", in_data=True, in_owner_ref=False, made_at=7.0)]
    assert (known.oldest_for(True), known.oldest_for(False), known.oldest_for(None)) == (7.0, None, None)


def test_forget_removes_rooms_from_the_first_and_the_latest(known: Controls) -> None:
    add_rooms(known, range(7))

    known.forget("room-1")
    known.forget("room-6")
    known.forget("room-99")

    assert [one.room_id for one in known.all()] == ["room-0", "room-2", "room-3", "room-4", "room-5"]
