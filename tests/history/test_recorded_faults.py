"""Histories of clients with one fault each, as they were recorded: the checker convicts each by the right property."""

from __future__ import annotations

import attrs
import pytest

from history.checker import Audit, Event, Truth, check, properties

A_MOMENT = 100.0


@attrs.frozen(kw_only=True)
class Recorded:
    """A history with a fault, the property that it breaks, and the same history as a correct client leaves it.

    If others make `doubles`, no client is free of them: only what the report says of them is corrected.
    """

    broken: str
    doubles: bool = False
    history: tuple[Event, ...]
    truth: Truth
    correct_history: tuple[Event, ...] | None = None
    correct_truth: Truth | None = None


def run(life: int, at: float, cref: str, what: str, room_id: str | None = None, **more: object) -> tuple[Event, Event]:
    """Return the two events of a create that one life read and ended."""
    return (
        Event("invoke", cref, at, life=life),
        Event(what, cref, at + 1, room_id, life, **more),  # type: ignore[arg-type]
    )


def rooms(*made: tuple[str, str, float], gone: tuple[str, ...] = (), **more: object) -> Truth:
    """Return the truth of creates that were executed: reference, room, moment."""
    return Truth(
        executed=[(cref, room_id) for cref, room_id, _ in made],
        executed_at={room_id: at for _, room_id, at in made},
        live={room_id: cref for cref, room_id, _ in made if room_id not in gone},
        **more,  # type: ignore[arg-type]
    )


REFUSED = run(0, 0.0, "a", "fail")
KILLED = (Event("invoke", "a", 10.0, life=1), Event("send", "a", 10.0, life=1))

FAULTS = {
    # Section 1: the journal.
    "the second send of a refused create is not noted as an intent": Recorded(
        broken="P1",
        history=(*REFUSED, *KILLED, *run(2, 20.0, "a", "ok", "r2")),
        truth=rooms(("a", "r1", 10.5), ("a", "r2", 20.5)),
        correct_history=(*REFUSED, *KILLED, *run(2, 20.0, "a", "ok", "r1")),
        correct_truth=rooms(("a", "r1", 10.5)),
    ),
    "the journal of another account is believed": Recorded(
        broken="P2",
        history=run(0, 0.0, "a", "ok", "room-of-staging"),
        truth=rooms(),
        correct_history=(),
    ),
    "a journal that was added late is believed about the past": Recorded(
        broken="P1",
        history=(*run(0, 0.0, "a", "ok", "r1"), *run(1, 10.0, "a", "ok", "r2")),
        truth=rooms(("a", "r1", 0.5), ("a", "r2", 10.5)),
        correct_history=(*run(0, 0.0, "a", "ok", "r1"), *run(1, 10.0, "a", "ok", "r1")),
        correct_truth=rooms(("a", "r1", 0.5)),
    ),
    # Section 2: keys and specs.
    "a position identifies an item": Recorded(
        broken="P2",
        history=(*run(0, 0.0, "a", "ok", "r1"), *run(0, 0.0, "b", "fail"), *run(1, 10.0, "b", "ok", "r1")),
        truth=rooms(("a", "r1", 0.5)),
        correct_history=(*run(0, 0.0, "a", "ok", "r1"), *run(0, 0.0, "b", "fail"), *run(1, 10.0, "b", "ok", "r2")),
        correct_truth=rooms(("a", "r1", 0.5), ("b", "r2", 10.5)),
    ),
    "a room with another name is acknowledged": Recorded(
        broken="P2",
        history=(*run(0, 0.0, "old name", "ok", "r1"), *run(1, 10.0, "new name", "ok", "r1")),
        truth=rooms(("old name", "r1", 0.5)),
        correct_history=(*run(0, 0.0, "old name", "ok", "r1"), *run(1, 10.0, "new name", "fail")),
    ),
    "a room with other settings is acknowledged without a word": Recorded(
        broken="P11",
        history=(*run(0, 0.0, "a", "ok", "r1", spec="1"), *run(1, 10.0, "a", "ok", "r1", spec="2")),
        truth=rooms(("a", "r1", 0.5), specs={"r1": "1"}),
        correct_history=(
            *run(0, 0.0, "a", "ok", "r1", spec="1"),
            *run(1, 10.0, "a", "ok", "r1", spec="2", changed=True),
        ),
    ),
    "a room that was created as asked is reported as changed": Recorded(
        broken="P11",
        history=run(0, 0.0, "a", "ok", "r1", spec="1", changed=True),
        truth=rooms(("a", "r1", 0.5), specs={"r1": "1"}),
        correct_history=run(0, 0.0, "a", "ok", "r1", spec="1"),
    ),
    "a changed spec fails while its room exists": Recorded(
        broken="P4",
        history=(*run(0, 0.0, "a", "ok", "r1", spec="1"), *run(1, 10.0, "a", "fail")),
        truth=rooms(("a", "r1", 0.5), specs={"r1": "1"}),
        correct_history=(
            *run(0, 0.0, "a", "ok", "r1", spec="1"),
            *run(1, 10.0, "a", "ok", "r1", spec="2", changed=True),
        ),
    ),
    # Section 3: time and proof.
    "the settle time counts from the client's birth, in `resolve`": Recorded(
        broken="P4",
        history=(Event("invoke", "a", 0.0), Event("send", "a", 0.0), *run(1, 0.1, "a", "fail")),
        truth=rooms(("a", "r1", 1.5)),
        correct_history=(Event("invoke", "a", 0.0), Event("send", "a", 0.0), *run(1, 0.1, "a", "ok", "r1")),
    ),
    "the settle time counts from the client's birth, in a resumed job": Recorded(
        broken="P1",
        history=(Event("invoke", "a", 0.0), Event("send", "a", 0.0), *run(1, 0.1, "a", "ok", "r2")),
        truth=rooms(("a", "r1", 1.5), ("a", "r2", 0.5)),
        correct_history=(Event("invoke", "a", 0.0), Event("send", "a", 0.0), *run(1, 0.1, "a", "ok", "r1")),
        correct_truth=rooms(("a", "r1", 1.5)),
    ),
    "a known room that others deleted hides every proof": Recorded(
        broken="P5",
        history=(*run(0, 0.0, "a", "ok", "r1"), *run(0, 0.0, "b", "unknown")),
        truth=rooms(("a", "r1", 0.5), gone=("r1",), removed={"r1": 0.8}),
        correct_history=(*run(0, 0.0, "a", "ok", "r1"), *run(0, 0.0, "b", "fail")),
    ),
    "a killed run's self-check room is left by the next": Recorded(
        broken="P10",
        history=run(0, 0.0, "a", "ok", "r1"),
        truth=rooms(("a", "r1", 0.5), checks=["check-1"]),
        correct_truth=rooms(("a", "r1", 0.5)),
    ),
    "one unreadable list ends the job without outcomes": Recorded(
        broken="P7",
        history=(Event("invoke", "a", 0.0),),
        truth=rooms(),
        correct_history=run(0, 0.0, "a", "ok", "r1"),
        correct_truth=rooms(("a", "r1", 0.5)),
    ),
    "only twenty of the missing rooms are reported": Recorded(
        broken="P12",
        history=(*run(0, 0.0, "a", "ok", "r1"), *run(0, 0.0, "b", "ok", "r2")),
        truth=rooms(
            ("a", "r1", 0.5),
            ("b", "r2", 0.5),
            gone=("r1", "r2"),
            removed={"r1": 1.0, "r2": 1.0},
            audits=[Audit(at=A_MOMENT, missing=["r1"])],
        ),
        correct_truth=rooms(
            ("a", "r1", 0.5),
            ("b", "r2", 0.5),
            gone=("r1", "r2"),
            removed={"r1": 1.0, "r2": 1.0},
            audits=[Audit(at=None, missing=["r1"])],
        ),
    ),
    "a room that the list does not show yet is reported as missing": Recorded(
        broken="P12",
        history=run(0, 0.0, "a", "ok", "r1"),
        truth=rooms(("a", "r1", 0.5), audits=[Audit(at=None, missing=["r1"])]),
        correct_truth=rooms(("a", "r1", 0.5), audits=[Audit(at=None)]),
    ),
    "two runs at once, and the audit is clean": Recorded(
        broken="P12",
        doubles=True,
        history=(*run(0, 0.0, "a", "ok", "r1"), *run(1, 0.0, "a", "ok", "r2")),
        truth=rooms(("a", "r1", 0.5), ("a", "r2", 0.5), audits=[Audit(life=0, at=A_MOMENT)]),
        correct_truth=rooms(("a", "r1", 0.5), ("a", "r2", 0.5), audits=[Audit(life=0, at=A_MOMENT, duplicates=["a"])]),
    ),
    "`dedupe` deletes the acknowledged room": Recorded(
        broken="P2",
        doubles=True,
        history=run(0, 0.0, "a", "ok", "r2"),
        truth=rooms(("a", "r1", 0.4), ("a", "r2", 0.5), gone=("r2",)),
        correct_truth=rooms(("a", "r1", 0.4), ("a", "r2", 0.5), gone=("r1",)),
    ),
    # Section 4: the engine.
    "an item in flight is cancelled by the generator's own timeout": Recorded(
        broken="P4",
        history=run(0, 0.0, "a", "fail"),
        truth=rooms(("a", "r1", 0.5)),
        correct_history=run(0, 0.0, "a", "ok", "r1"),
    ),
    "an item's own error takes the outcome of another": Recorded(
        broken="P7",
        history=(*run(0, 0.0, "a", "fail"), Event("invoke", "b", 0.0)),
        truth=rooms(),
        correct_history=(*run(0, 0.0, "a", "fail"), *run(0, 0.0, "b", "fail")),
    ),
    "an item that raised is yielded again": Recorded(
        broken="P7",
        history=(*run(0, 0.0, "a", "fail"), Event("fail", "a", 2.0)),
        truth=rooms(),
        correct_history=run(0, 0.0, "a", "fail"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_recorded_fault_is_convicted_by_its_property(fault: str) -> None:
    recorded = FAULTS[fault]

    found = check(recorded.history, recorded.truth)

    assert properties(found) == {recorded.broken, *(["P1"] if recorded.doubles else [])}, found


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_history_without_the_fault_is_accepted(fault: str) -> None:
    recorded = FAULTS[fault]
    history = recorded.history if recorded.correct_history is None else recorded.correct_history
    truth = recorded.correct_truth or recorded.truth

    assert properties(check(history, truth)) == ({"P1"} if recorded.doubles else set())


def test_later_run_may_create_what_an_earlier_one_failed() -> None:
    history = (*run(0, 0.0, "a", "fail"), *run(1, 10.0, "a", "ok", "r1"))

    assert check(history, rooms(("a", "r1", 10.5))) == []
    assert properties(check(history, rooms(("a", "r1", 9.5)))) == {"P4"}


def test_earlier_life_that_ended_owes_its_outcomes() -> None:
    history = (Event("invoke", "a", 0.0), *run(1, 10.0, "a", "ok", "r1"))

    assert check(history, rooms(("a", "r1", 10.5))) == []
    assert properties(check(history, rooms(("a", "r1", 10.5), ended={0}))) == {"P7"}
