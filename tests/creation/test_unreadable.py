"""Which references a room of a list that cannot be read may carry."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.creation.references import is_reference, reference_for, with_location
from videoapi.creation.unreadable import References, UnreadableRoom, UnreadableRooms, examine

OURS = [reference_for("job", key) for key in "abcdef"]
WHOLE = [with_location(one, in_data=False) for one in OURS]
starts = st.builds(lambda one, length: one[:length], st.sampled_from(WHOLE), st.integers(0, 28))
rooms = st.lists(
    st.builds(
        lambda references, begins: (frozenset(references), tuple(begins)),
        st.lists(st.sampled_from(WHOLE), max_size=2),
        st.lists(starts, max_size=2),
    ),
    max_size=6,
).map(lambda given: [UnreadableRoom(n + 1, None, *one) for n, one in enumerate(given)])
wanted = st.lists(st.builds(with_location, st.sampled_from(OURS), in_data=st.booleans()), max_size=4)


def may_carry(room: UnreadableRoom, start: str) -> bool:
    """As the definition says it: something in the text begins so, or what is left of a damaged one may."""
    start = with_location(start, in_data=False) if is_reference(start) else start
    damaged = (one.startswith(start) or start.startswith(one) for one in room.starts)
    return any(one.startswith(start) for one in room.references) or any(damaged)


@given(rooms, wanted, st.lists(starts, max_size=2))
def test_rooms_are_selected_by_what_they_may_carry(
    rooms: list[UnreadableRoom], references: list[str], begins: list[str]
) -> None:
    unreadable = UnreadableRooms(rooms)
    selected = [room for room in rooms if any(may_carry(room, one) for one in (*references, *begins))]
    assert unreadable.among(References(references, begins)).texts() == list(map(str, selected))

    some = [room for room in rooms if any(may_carry(room, one) for one in references)]
    assert unreadable.that_may_carry(references).texts() == list(map(str, some))
    for one in references:
        assert unreadable.may_carry(one) is any(may_carry(room, one) for room in rooms)


def test_references_that_no_text_contains_share_one_selection() -> None:
    # A list can have thousands of damaged rooms, and a run thousands of creates in doubt.
    unreadable = UnreadableRooms(UnreadableRoom(n, None, frozenset(), ("vx",)) for n in range(1000))
    assert unreadable.that_may_carry(OURS[:1]) is unreadable.that_may_carry(OURS[1:])
    assert len(unreadable.that_may_carry(OURS)) == 1000


LETTERS = b"abcdefghijklmnopqrstuvwxyz234567"
# Bytes of which no decoder makes a letter of a reference, nor an end of the text.
UNPRINTABLE = sorted({*range(0x20), 0x7F, *range(0x80, 0xC0)})
PRINTABLE = sorted({*range(0x20, 0x7F)} - {*LETTERS} - {*b'"\\'})


@given(
    st.sampled_from(OURS),
    st.dictionaries(st.integers(0, 27), st.sampled_from(UNPRINTABLE), min_size=1),
    st.dictionaries(st.integers(2, 27), st.sampled_from(PRINTABLE), max_size=3),
    st.sampled_from(["owner_ref", "videoapi_ref", "own\x01r_ref"]),
)
def test_damaged_reference_may_be_the_undamaged_one(
    reference: str, unprintable: dict[int, int], printable: dict[int, int], field: str
) -> None:
    damaged = bytearray(reference.encode())
    for place, byte in {**unprintable, **printable}.items():
        damaged[place] = byte
    if field not in ("owner_ref", "videoapi_ref"):
        # Of a reference in a place with a damaged name, the start must be left.
        damaged[:2] = b"vx"
    raw = f'{{"room_id":"r","name":"A","{field}":"HERE"}}'.encode().replace(b"HERE", damaged)
    assert UnreadableRooms([examine(raw, 1, is_json=False)]).may_carry(reference)


@pytest.mark.parametrize(
    "value",
    [
        "Oesterreichischepost konferenz",
        "Exam room 12, north campus wing",
        "vx-customer-000000000000000001",
        "customer-1234567890123456789\x01",
        "\x01ustomer-1234567890123456789",
        "teams-of-the-north-and-the-south",
        "\xd6STERREICHISCHE POST, VERTRIEB",
    ],
)
def test_value_of_another_program_is_no_damaged_reference(value: str) -> None:
    raw = json.dumps({"room_id": "r", "name": "A", "owner_ref": "HERE"}).encode()
    room = examine(raw.replace(b"HERE", value.encode("latin-1")), 1, is_json=False)
    assert not UnreadableRooms([room]).may_carry(OURS[0])


@pytest.mark.parametrize("end", range(2, 28))
def test_reference_that_is_cut_off_may_be_each_that_begins_so(end: int) -> None:
    room = examine(f'{{"room_id":"r","owner_ref":"{OURS[0][:end]}'.encode(), 1, is_json=False)
    assert UnreadableRooms([room]).may_carry(OURS[0])
    assert UnreadableRooms([room]).may_carry(OURS[1]) is OURS[1].startswith(OURS[0][:end])


@pytest.mark.parametrize("replaced", ["\ufffd" * 2, "\ufffdx", "v\ufffd"])
def test_reference_that_a_gateway_has_replaced_in_part_may_be_the_undamaged_one(replaced: str) -> None:
    raw = json.dumps({"room_id": "r", "owner_ref": re.sub("^vx", replaced, OURS[0])}, ensure_ascii=False).encode()
    assert UnreadableRooms([examine(raw, 1, is_json=True)]).may_carry(OURS[0])
