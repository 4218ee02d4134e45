"""Splitter tests: any chunking of a document yields the same items and the same envelope."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.streaming.splitter import BLOCK, MAX_ENVELOPE, MAX_ITEM, Block, ListValue, Splitter

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
seams = st.sampled_from(["},{", "}, {", '"},{"', "[]", "\\", '\\"', "{", "}", "]", ",", '"', "\ud800"])
texts = st.text(max_size=6) | st.lists(seams | st.text(max_size=2), max_size=4).map("".join)
values: st.SearchStrategy[Any] = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
members = st.dictionaries(texts.filter(lambda name: name != "cdr"), values, max_size=3)
layouts = st.sampled_from([(None, (",", ":")), (None, (", ", ": ")), (1, None), (None, ("\n ,\t", " :\r\n"))])


def split(body: bytes, cuts: list[int] | None = None, key: str = "cdr") -> tuple[Splitter, list[Block]]:
    splitter = Splitter(key)
    blocks: list[Block] = []
    for start, stop in pairwise([0, *sorted(cuts or []), len(body)]):
        blocks += splitter.feed(body[start:stop])
    return splitter, blocks


def items_of(blocks: list[Block]) -> list[Any]:
    return [json.loads(bytes(item)) for block in blocks for item in block.items]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), before=members, items=st.lists(values, max_size=6), after=members, layout=layouts)
def test_any_chunking_of_a_document_yields_the_same_items(
    data: st.DataObject, before: dict[str, Any], items: list[Any], after: dict[str, Any], layout: Any
) -> None:
    later = {f"z{name}": value for name, value in after.items()}
    document = {**before, "cdr": items, **later}
    body = json.dumps(document, indent=layout[0], separators=layout[1]).encode()
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    splitter, blocks = split(body, cuts)
    assert splitter.broken is None
    assert splitter.complete
    assert splitter.found is ListValue.LIST
    assert items_of(blocks) == items
    assert json.loads(splitter.envelope) == {**document, "cdr": []}
    indexes = [block.index + nth for block in blocks for nth in range(len(block.items))]
    assert indexes == list(range(len(items)))
    for block in blocks:
        for nth, item in enumerate(block.items):
            offset = block.offset_of(nth)
            assert body[offset : offset + len(bytes(item))] == bytes(item)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), body=st.binary(max_size=60) | st.text('{}[],:"\\cdr 1', max_size=60).map(str.encode))
def test_arbitrary_bytes_never_raise_and_split_alike_in_any_chunking(data: st.DataObject, body: bytes) -> None:
    body = data.draw(st.sampled_from([b"", b'{"cdr":[', b'{"cdr":[{},', b'{"cdr":[],'])) + body
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    one, blocks = split(body)
    two, others = split(body, cuts)
    assert (one.complete, one.found, one.broken) == (two.complete, two.found, two.broken)
    assert one.envelope == two.envelope
    assert [bytes(item) for b in blocks for item in b.items] == [bytes(i) for b in others for i in b.items]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_truncated_document_is_never_complete(data: st.DataObject) -> None:
    body = b'{"result":"0","cdr":[{"a":"},{"},[1,{"b":[{},{}]}],"x",2.5],"more":{"cdr":[{},{}]}}'
    cut = data.draw(st.integers(0, len(body) - 1))
    splitter, _ = split(body[:cut])
    assert not splitter.complete
    assert splitter.broken is None


@pytest.mark.parametrize(
    ("body", "found", "envelope"),
    [
        (b'{"result":"0","cdr":[]}', ListValue.LIST, b'{"result":"0","cdr":[]}'),
        (b'{"cdr":[ ] , "result":10201}', ListValue.LIST, b'{"cdr":[],"result":10201}'),
        (b'{"result":"0","cdr":null}', ListValue.NULL, b'{"result":"0","cdr":null}'),
        (b'{"result":"0","cdr":{"a":[{},{}]}}', ListValue.OTHER, b'{"result":"0","cdr":{"a":[{},{}]}}'),
        (b'{"result":10201,"error":"[Reason] x"}', ListValue.NOTHING, b'{"result":10201,"error":"[Reason] x"}'),
        (b'\xef\xbb\xbf {"cdr":[]}\r\n ', ListValue.LIST, b'{"cdr":[]}'),
        (b'{"\\u0063dr":[1]}', ListValue.LIST, b'{"\\u0063dr":[]}'),
        (b"{}", ListValue.NOTHING, b"{}"),
    ],
)
def test_envelope_is_the_document_without_its_items(body: bytes, found: ListValue, envelope: bytes) -> None:
    for cuts in ([], list(range(len(body)))):
        splitter, _ = split(body, cuts)
        assert (splitter.broken, splitter.complete) == (None, True)
        assert (splitter.found, splitter.envelope) == (found, envelope)


@pytest.mark.parametrize("body", [b"", b"<html>{}</html>", b'[{"cdr":[]}]', b"null", b"\x00{}", b'"x"'])
def test_body_that_is_not_an_object_becomes_the_envelope(body: bytes) -> None:
    splitter, blocks = split(body)
    assert (blocks, splitter.begun, splitter.complete) == ([], False, False)
    assert splitter.envelope == body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"cdr":[{}],"cdr":[{}]}', "twice"),
        (b'{"cdr":null,"cdr":[]}', "twice"),
        (b'{"cdr":[{}]}{"cdr":[]}', "follow the document"),
        (b'{"cdr":[{}]} x', "follow the document"),
        (b'{"cdr":[{} {}]}', "missing"),
        (b'{"cdr":[{},]}', "no item"),
        (b'{"cdr":[,{}]}', "no item"),
        (b'{"cdr":[{}}', "missing"),
        (b'{"cdr":[{}];"result":0}', "missing"),
        (b'{"cdr" [{}]}', "missing"),
        (b"{cdr:[]}", "missing"),
        (b'{"result":,"cdr":[]}', "no value"),
    ],
)
def test_broken_describes_an_invalid_document(body: bytes, words: str) -> None:
    for cuts in ([], list(range(len(body)))):
        splitter, _ = split(body, cuts)
        assert words in (splitter.broken or "")
        assert list(splitter.feed(b"{}")) == []


def test_items_before_an_error_are_yielded() -> None:
    splitter, blocks = split(b'{"cdr":[{"a":1},{"a":2} {"a":3}]}')
    assert items_of(blocks) == [{"a": 1}, {"a": 2}]
    assert splitter.broken is not None


def test_complete_item_is_yielded_immediately() -> None:
    splitter = Splitter("cdr")
    assert items_of(splitter.feed(b'{"result":"0","cdr":[{"a":1}')) == [{"a": 1}]
    assert items_of(splitter.feed(b",7")) == []
    assert items_of(splitter.feed(b'8,{"a"')) == [78]


def test_only_a_longer_item_exceeds_the_block_size() -> None:
    items = [{"n": n, "pad": "x" * 500, "inner": [{}, {}]} for n in range(1000)]
    items[500]["pad"] = "y" * (3 * BLOCK)
    body = json.dumps({"cdr": items}, separators=(",", ":")).encode()
    _, blocks = split(body)
    assert items_of(blocks) == items
    long = [block for block in blocks if len(block.text) > BLOCK]
    assert [len(block.items) for block in long] == [1]
    assert len(blocks) < len(body) / BLOCK + 8


def test_unparsable_item_causes_only_few_extra_blocks() -> None:
    items: list[Any] = [{"n": n, "pad": "x" * 100} for n in range(2000)]
    items[777]["name"] = "\ud800"
    body = json.dumps({"cdr": items}).encode()
    _, blocks = split(body)
    assert items_of(blocks) == items
    assert len(blocks) < len(body) / BLOCK + 30


def test_item_over_the_size_limit_is_reported_with_its_position() -> None:
    body = b'{"cdr":[{"a":1},{"b":"' + b"x" * (MAX_ITEM + 5) + b'"},{"a":2}]}'
    for cuts in ([], list(range(0, len(body), 5000))):
        splitter, blocks = split(body, cuts)
        assert splitter.complete
        assert [(block.index, block.too_long) for block in blocks] == [(0, False), (1, True), (2, False)]
        assert blocks[1].offset_of(0) == body.index(b'{"b"')
        assert items_of(blocks) == [{"a": 1}, {"a": 2}]


def test_oversized_item_is_not_buffered() -> None:
    splitter = Splitter("cdr")
    assert list(splitter.feed(b'{"cdr":["')) == []
    for _ in range(64):
        assert list(splitter.feed(b"x" * BLOCK)) == []
        assert len(splitter._buffer) <= MAX_ITEM + 2 * BLOCK


def decode_without_integers(text: bytes) -> list[Any] | None:
    """Decode a list, or return None if it contains an integer, so that its items are decoded one by one."""
    try:
        items = json.loads(text)
    except ValueError:
        return None
    return None if any(isinstance(item, int) for item in items) else items


@settings(max_examples=150, deadline=None)
@given(data=st.data(), items=st.lists(values, max_size=8))
def test_items_are_the_same_decoded_in_blocks_or_one_by_one(data: st.DataObject, items: list[Any]) -> None:
    body = json.dumps({"result": 0, "cdr": items}).encode()
    splitter = Splitter("cdr", decode_without_integers)
    found: list[Any] = []
    for start, stop in pairwise([0, *sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6))), len(body)]):
        for block in splitter.feed(body[start:stop]):
            assert block.index == len(found)
            assert not block.too_long
            assert (block.records is None) == bool(block.items)
            found += items_of([block]) if block.records is None else block.records
    assert found == items
    assert splitter.complete


def test_split_point_outside_the_list_is_ignored() -> None:
    body = b'{"cdr":[{"a":1},{"b":2}],"more":[{"c":3},{"d":4}]}'
    splitter = Splitter("cdr", decode_without_integers)
    assert [block.records or items_of([block]) for block in splitter.feed(body)] == [[{"a": 1}], [{"b": 2}]]
    assert json.loads(splitter.envelope) == {"cdr": [], "more": [{"c": 3}, {"d": 4}]}


def test_blocks_are_decoded_lazily() -> None:
    read: list[bytes] = []

    def note(text: bytes) -> None:
        read.append(text)

    items = [{"n": n, "pad": "x" * 500} for n in range(500)]
    blocks = Splitter("cdr", note).feed(json.dumps({"cdr": items}).encode())
    next(blocks)
    assert len(read) == 1
    assert sum(len(block.items) for block in blocks) == 500 - read[0].count(b'"n"')
    assert len(read) > 4


def test_item_split_across_chunks_joins_the_next_block() -> None:
    items = [{"n": n, "pad": ["x" * 100] * 5} for n in range(2000)]
    body = json.dumps({"cdr": items}, separators=(",", ":")).encode()
    blocks: list[Block] = []
    splitter = Splitter("cdr")
    for start in range(0, len(body), 16_000):
        blocks += splitter.feed(body[start : start + 16_000])
    assert items_of(blocks) == items
    assert sum(len(block.items) == 1 for block in blocks) <= 1


def test_envelope_size_is_limited() -> None:
    splitter, _ = split(b'{"a":"' + b"x" * MAX_ENVELOPE + b'","cdr":[]}')
    assert splitter.broken == "too many bytes outside the list"
    page, _ = split(b"<" * (2 * MAX_ENVELOPE))
    assert len(page.envelope) == MAX_ENVELOPE


def test_deep_nesting_is_scanned_without_recursion() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    splitter, blocks = split(b'{"cdr":[{"a":1},' + deep + b',{"a":2}]}')
    assert splitter.complete
    assert [bytes(item)[:2] for block in blocks for item in block.items] == [b'{"', b"[[", b'{"']
