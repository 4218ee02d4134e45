"""Which references a room of a list that cannot be read may carry."""

from hypothesis import given
from hypothesis import strategies as st

from videoapi.creation.references import is_reference, reference_for, with_location
from videoapi.creation.unreadable import References, UnreadableRoom, UnreadableRooms

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
