"""The reference that every create carries."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.creation.create_request import new_reference
from videoapi.creation.references import (
    DATA_KEY,
    JobReferences,
    is_in_data,
    is_reference,
    reference_for,
    reference_from,
    reference_in,
    with_location,
)
from videoapi.errors import ValidationError

SHAPE = re.compile(r"[a-z0-9]{26,32}")
REF = reference_from(bytes(range(26)))
OTHER = reference_from(bytes(26))


@given(st.text(), st.text())
def test_reference_is_deterministic(job: str, key: str) -> None:
    reference = reference_for(job, key)
    assert reference == reference_for(job, key)
    assert SHAPE.fullmatch(reference)
    assert is_reference(reference)


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))
def test_different_items_have_different_references(job: str, key: str, other_job: str, other_key: str) -> None:
    same = (job, key) == (other_job, other_key)
    assert (reference_for(job, key) == reference_for(other_job, other_key)) == same


def test_boundary_between_job_and_key_changes_the_reference() -> None:
    assert reference_for("a", "bc") != reference_for("ab", "c")
    assert reference_for("1:a", "") != reference_for("a", "1:")


def test_reference_is_stable_across_releases() -> None:
    """A job resumed with a newer release must find its rooms again."""
    assert reference_for("import-7", "row-1") == "vx62aabvalhpfcvuujdayw5ev2m7"


@given(st.binary(min_size=26, max_size=26), st.binary(min_size=26, max_size=26))
def test_different_entropy_gives_different_references(entropy: bytes, other: bytes) -> None:
    assert is_reference(reference_from(entropy))
    if [byte % 32 for byte in entropy] != [byte % 32 for byte in other]:
        assert reference_from(entropy) != reference_from(other)


def test_is_reference_rejects_other_forms() -> None:
    for text in ("", "team-42", REF.upper(), REF[:-1], REF + "a", REF + "\n", "vx" + "1" * 26, None, 7, b"vx"):
        assert not is_reference(text)


def test_reference_in_reads_data_before_owner_ref() -> None:
    assert reference_in(REF, None) == REF
    assert reference_in("team-42", {DATA_KEY: REF}) == REF
    assert reference_in(OTHER, {DATA_KEY: REF}) == REF
    assert reference_in(REF, {DATA_KEY: "cut off"}) == REF


def test_reference_in_returns_none_without_a_reference() -> None:
    for owner, data in (("team-42", None), (None, {}), (7, {"other": REF}), ("x", [REF]), ("", {DATA_KEY: 5})):
        assert reference_in(owner, data) is None


@given(st.text(), st.booleans(), st.booleans())
def test_with_location_encodes_the_location(key: str, in_data: bool, before: bool) -> None:
    reference = with_location(reference_for("job", key), in_data=in_data)
    assert is_reference(reference)
    assert is_in_data(reference) == in_data
    assert with_location(with_location(reference, in_data=before), in_data=in_data) == reference


def test_new_references_are_unique() -> None:
    references = {new_reference() for _ in range(1000)}
    assert len(references) == 1000
    assert all(is_reference(reference) for reference in references)


def test_forked_process_generates_different_references() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, " ".join(new_reference() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    from_child = set(os.read(read, 100 * 40).decode().split())
    os.close(read)
    os.close(write)
    assert len(from_child) == 100
    assert not from_child & {new_reference() for _ in range(100)}


@pytest.mark.parametrize("key", [10**5000, (1, 10**5000)], ids=["number", "tuple"])
def test_key_of_too_many_digits_is_refused(key: Any) -> None:
    with pytest.raises(ValidationError, match="too many digits"):
        JobReferences("job").of_key(key)
