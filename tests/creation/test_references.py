"""The mark that every create carries."""

from __future__ import annotations

import os
import re

from hypothesis import given
from hypothesis import strategies as st

from videoapi.creation.create_request import new_reference
from videoapi.creation.references import (
    DATA_KEY,
    is_in_data,
    is_reference,
    reference_from,
    reference_in,
    reference_of,
    with_location,
)

SHAPE = re.compile(r"[a-z0-9]{26,32}")
MARK = reference_from(bytes(range(26)))
OTHER = reference_from(bytes(26))


@given(st.text(), st.text())
def test_a_reference_is_the_same_wherever_it_is_computed(job: str, key: str) -> None:
    reference = reference_of(job, key)
    assert reference == reference_of(job, key)
    assert SHAPE.fullmatch(reference)
    assert is_reference(reference)


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))
def test_two_items_never_share_one(job: str, key: str, other_job: str, other_key: str) -> None:
    same = (job, key) == (other_job, other_key)
    assert (reference_of(job, key) == reference_of(other_job, other_key)) == same


def test_where_the_job_ends_and_the_key_begins_counts() -> None:
    assert reference_of("a", "bc") != reference_of("ab", "c")
    assert reference_of("1:a", "") != reference_of("a", "1:")


def test_a_reference_is_the_same_in_every_release() -> None:
    """A job that is resumed under a newer release must find its rooms again."""
    assert reference_of("import-7", "row-1") == "vx62aabvalhpfcvuujdayw5ev2m7"


@given(st.binary(min_size=26, max_size=26), st.binary(min_size=26, max_size=26))
def test_noise_spells_a_reference_of_its_own(noise: bytes, other: bytes) -> None:
    assert is_reference(reference_from(noise))
    if [byte % 32 for byte in noise] != [byte % 32 for byte in other]:
        assert reference_from(noise) != reference_from(other)


def test_what_is_shaped_otherwise_is_no_reference() -> None:
    for text in ("", "team-42", MARK.upper(), MARK[:-1], MARK + "a", MARK + "\n", "vx" + "1" * 26, None, 7, b"vx"):
        assert not is_reference(text)


def test_a_room_carries_it_in_its_data_or_as_its_owner() -> None:
    assert reference_in(MARK, None) == MARK
    assert reference_in("team-42", {DATA_KEY: MARK}) == MARK
    assert reference_in(OTHER, {DATA_KEY: MARK}) == MARK
    assert reference_in(MARK, {DATA_KEY: "cut off"}) == MARK


def test_a_room_without_one_carries_none() -> None:
    for owner, data in (("team-42", None), (None, {}), (7, {"other": MARK}), ("x", [MARK]), ("", {DATA_KEY: 5})):
        assert reference_in(owner, data) is None


@given(st.text(), st.booleans(), st.booleans())
def test_a_reference_tells_where_it_stands(key: str, in_data: bool, before: bool) -> None:
    reference = with_location(reference_of("job", key), in_data=in_data)
    assert is_reference(reference)
    assert is_in_data(reference) == in_data
    assert with_location(with_location(reference, in_data=before), in_data=in_data) == reference


def test_new_references_do_not_repeat() -> None:
    references = {new_reference() for _ in range(1000)}
    assert len(references) == 1000
    assert all(is_reference(reference) for reference in references)


def test_a_forked_process_draws_references_of_its_own() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, " ".join(new_reference() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    of_the_child = set(os.read(read, 100 * 40).decode().split())
    os.close(read)
    os.close(write)
    assert len(of_the_child) == 100
    assert not of_the_child & {new_reference() for _ in range(100)}
