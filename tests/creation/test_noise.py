"""Where references come from: never the same bytes twice, in no process."""

import os

import pytest

from videoapi.creation.noise import Noise, noise
from videoapi.creation.references import NOISE


def test_no_bytes_are_handed_out_twice() -> None:
    source = Noise()
    taken = [source.take() for _ in range(1000)]
    assert len(set(taken)) == 1000
    assert {len(one) for one in taken} == {NOISE}


def test_a_forked_process_draws_its_own() -> None:
    noise.take()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(noise.take() for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100 * NOISE)
    os.close(read)
    os.close(write)
    ours = {noise.take() for _ in range(100)}
    assert len(theirs) == 100 * NOISE
    assert not ours & {theirs[at : at + NOISE] for at in range(0, len(theirs), NOISE)}


def test_bytes_drawn_a_while_ago_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    drawn: list[int] = []
    monkeypatch.setattr("os.urandom", lambda size: drawn.append(size) or bytes(size))
    source = Noise()
    source.take()
    source.take()
    assert len(drawn) == 1
    now = 101.5
    source.take()
    assert len(drawn) == 2
