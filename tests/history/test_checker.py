"""The checker reports each broken property alone, and nothing for a correct history."""

from __future__ import annotations

import attrs
import pytest

from history.checker import Event, Truth, check, properties

HISTORY = (
    Event("invoke", "a", 0.0),
    Event("send", "a", 0.0),
    Event("ok", "a", 1.0, "room-a"),
    Event("invoke", "b", 0.0),
    Event("send", "b", 0.5),
    Event("fail", "b", 1.0),
    Event("invoke", "c", 0.0),
    Event("send", "c", 0.1),
    Event("send", "c", 0.9),
    Event("ok", "c", 2.0, "room-c"),
)
TRUTH = Truth(
    executed=(("a", "room-a"), ("c", "room-c")),
    live={"room-a": "a", "room-c": "c"},
    arrived=4,
    accounted=4,
    healed_at=1.0,
    patience=5.0,
)


def test_correct_history_has_no_violations() -> None:
    assert check(HISTORY, TRUTH) == []


TWICE = attrs.evolve(TRUTH, executed=(*TRUTH.executed, ("a", "room-a2")))
BROKEN = {
    "P1-executed": ((), TWICE),
    "P1-live": ((), attrs.evolve(TRUTH, live={**TRUTH.live, "room-a2": "a"})),
    "P2-gone": ((), attrs.evolve(TRUTH, live={"room-c": "c"})),
    "P2-another's": ((Event("invoke", "d"), Event("ok", "d", 1.0, "room-a")), TRUTH),
    "P3": ((), attrs.evolve(TRUTH, live={**TRUTH.live, "room-x": "x"})),
    "P4": ((Event("invoke", "d"), Event("fail", "d")), attrs.evolve(TRUTH, executed=(*TRUTH.executed, ("d", "r")))),
    "P5": ((Event("invoke", "d"), Event("unknown", "d")), TRUTH),
    "P6-sends": (tuple(Event("send", "a") for _ in range(3)), TRUTH),
    "P6-hidden": ((), attrs.evolve(TRUTH, arrived=5)),
    "P7-none": ((Event("invoke", "d"),), TRUTH),
    "P7-two": ((Event("ok", "a", 1.0, "room-a"),), TRUTH),
    "P7-uninvited": ((Event("fail", "d"),), TRUTH),
    "P8": ((Event("invoke", "d"), Event("fail", "d", 6.1)), TRUTH),
    "P9": ((), attrs.evolve(TRUTH, left=("task",))),
}


@pytest.mark.parametrize("case", BROKEN)
def test_checker_reports_only_the_broken_property(case: str) -> None:
    added, truth = BROKEN[case]

    assert properties(check([*HISTORY, *added], truth)) == {case[:2]}


def test_killed_process_needs_no_outcome_and_sends_are_per_process() -> None:
    killed = [Event("invoke", "a", life=0), *(Event("send", "a", life=0) for _ in range(3))]
    resumed = [Event("invoke", "a", life=1), Event("send", "a", life=1), Event("ok", "a", 1.0, "r", life=1)]

    assert check([*killed, *resumed], Truth(executed=(("a", "r"),), live={"r": "a"})) == []
    assert properties(check(killed, Truth())) == {"P7"}


def test_resolved_unknown_is_not_a_violation() -> None:
    history = [Event("invoke", "a"), Event("unknown", "a"), Event("invoke", "a", life=1), Event("fail", "a", life=1)]

    assert check(history, Truth()) == []
