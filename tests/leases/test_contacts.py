"""By when the changes had happened that Redis counts, as far as its answers show."""

from hypothesis import given
from hypothesis import strategies as st

from videoapi.redis.contacts import _MOST_ANSWERS, _MOST_COUNTERS, Contacts


def test_the_earliest_answer_that_counts_a_change_has_it() -> None:
    contacts = Contacts()
    for change, now in ((3, 10.0), (5, 20.0), (9, 30.0)):
        contacts.note("a", change, now)
    assert [contacts.happened_by("a", change) for change in (0, 3, 4, 5, 6, 9, 10)] == [
        *(10.0, 10.0, 20.0, 20.0, 30.0, 30.0),
        None,
    ]


def test_an_answer_with_nothing_new_makes_no_moment_later() -> None:
    contacts = Contacts()
    contacts.note("a", 3, 10.0)
    contacts.note("a", 3, 20.0)
    contacts.note("a", 2, 30.0)
    assert contacts.happened_by("a", 3) == 10.0


def test_each_counter_counts_for_itself() -> None:
    contacts = Contacts()
    contacts.note("a", 9, 10.0)
    contacts.note("b", 1, 20.0)
    assert contacts.happened_by("b", 5) is None
    assert contacts.happened_by("c", 1) is None


def test_what_is_forgotten_only_makes_moments_later() -> None:
    contacts = Contacts()
    for number in range(2 * _MOST_ANSWERS):
        contacts.note("a", number, float(number))
    assert contacts.happened_by("a", 0) == float(_MOST_ANSWERS)
    for number in range(_MOST_COUNTERS):
        contacts.note(f"b{number}", 1, 1.0)
    assert contacts.happened_by("a", 0) is None
    assert len(contacts._counters) == _MOST_COUNTERS


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 100)), max_size=30), st.integers(0, 20))
def test_no_moment_is_earlier_than_the_earliest_answer_that_counts_the_change(
    answers: list[tuple[int, float]], change: int
) -> None:
    contacts = Contacts()
    for counted, now in answers:
        contacts.note("a", counted, now)
    found = contacts.happened_by("a", change)
    assert found is None or found in [now for counted, now in answers if counted >= change]
