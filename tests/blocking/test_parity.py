"""The blocking client has exactly what the async client has, at run time and for type checkers."""

from __future__ import annotations

import ast
import inspect
import pickle
from importlib import import_module
from typing import Any
from unittest.mock import create_autospec

import pytest
from support import stubs

from videoapi import blocking
from videoapi.blocking.derivation import is_async

RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"}
ALWAYS_THERE = set(dir(object)) | {"__dict__", "__weakref__", "__module__", "__class_getitem__"}


def source_of(name: str) -> type:
    kind = getattr(import_module(f"videoapi.{blocking._HOMES[name]}"), name)
    assert isinstance(kind, type)
    return kind


def public(kind: type) -> set[str]:
    annotated = {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}
    names = {name for name in {*dir(kind), *annotated} if not name.startswith("_") or name in RENAMED}
    return names | {name for name in dir(kind) if name in RENAMED.values()}


@pytest.mark.parametrize("name", blocking.__all__)
def test_names_are_those_of_the_async_class(name: str) -> None:
    ours = public(getattr(blocking, name))
    assert ours == {RENAMED.get(known, known) for known in public(source_of(name))}


@pytest.mark.parametrize("name", blocking.__all__)
def test_methods_take_the_same_arguments_and_are_not_coroutines(name: str) -> None:
    source, ours = source_of(name), getattr(blocking, name)
    checked = 0
    for known in public(source):
        member = inspect.getattr_static(source, known, None)
        if inspect.isfunction(member):
            method = getattr(ours, RENAMED.get(known, known))
            assert not inspect.iscoroutinefunction(method), known
            assert list(inspect.signature(method).parameters)[1:] == list(inspect.signature(member).parameters)[1:]
            checked += 1
    assert checked >= (1 if name == "DialIns" else 2)


@pytest.mark.parametrize("name", ["VideoClient", "SessionManager"])
def test_constructors_have_the_signature_of_the_async_class(name: str) -> None:
    assert inspect.signature(getattr(blocking, name)) == inspect.signature(source_of(name))


def test_autospec_rejects_an_unknown_argument_of_the_constructor() -> None:
    specified = create_autospec(blocking.VideoClient)
    specified("id", "key", timeout=5)
    with pytest.raises(TypeError, match="api_key"):
        specified(api_key="key")


def test_every_async_class_that_users_meet_has_a_name() -> None:
    """Follow all annotations from the client, so that no method returns an object of the async client."""
    found: set[str] = set()
    waiting = ["VideoClient", "SessionManager", "RedisLeases"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for member in vars(source_of(name)).values():
            # A property's or namespace's getter, or the method itself.
            getter = getattr(member, "fget", None) or getattr(member, "_create", None) or member
            words = str(getattr(getter, "__annotations__", {}).get("return", "")).replace("[", " ").split()
            waiting += [word for word in words if word in blocking._HOMES]
            homes = vars(import_module(source_of(name).__module__))
            missed = [word for word in words if isinstance(homes.get(word), type) and is_async(homes[word])]
            assert set(missed) <= set(blocking._HOMES), (name, missed)
    assert found == set(blocking.__all__)


@pytest.mark.parametrize("name", blocking.__all__)
def test_docstrings_speak_of_the_blocking_client(name: str) -> None:
    kind: Any = getattr(blocking, name)
    texts = {known: inspect.getdoc(getattr(kind, known, None)) or "" for known in public(kind)}
    for known, text in {**texts, "class": kind.__doc__ or ""}.items():
        for word in ("async with", "async for", "await ", "aclose", "tasks of one event loop", "another task"):
            assert word not in text, (known, word)


def test_stub_is_current() -> None:
    assert stubs.is_current(), "run `make stubs`"


def test_changed_source_makes_the_stub_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    text = stubs.stub()
    assert "def create_many(" in text
    monkeypatch.setattr(stubs, "stub", lambda: text.replace("def create_many(", "def create_some("))
    assert not stubs.is_current()


@pytest.mark.parametrize("name", blocking.__all__)
def test_stub_declares_what_exists(name: str) -> None:
    tree = ast.parse(stubs.STUB.read_text(encoding="utf-8"))
    declared: dict[str, ast.AST] = {}
    base: str | None = name
    while base is not None:
        kind = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == base)
        for node in kind.body:
            if isinstance(node, ast.FunctionDef):
                declared.setdefault(node.name, node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                declared.setdefault(node.target.id, node)
        names = [word.id for place in kind.bases for word in ast.walk(place) if isinstance(word, ast.Name)]
        base = next((word for word in names if word in blocking.__all__), None)
    ours = getattr(blocking, name)
    assert set(declared) - {"__init__"} == public(ours)
    for known, node in declared.items():
        if isinstance(node, ast.FunctionDef) and not node.decorator_list and known != "__init__":
            expected = [*node.args.args, *node.args.kwonlyargs]
            assert [one.arg for one in expected] == list(inspect.signature(getattr(ours, known)).parameters), known


def test_unknown_name_is_an_attribute_error() -> None:
    assert set(blocking.__all__) <= set(dir(blocking))
    with pytest.raises(AttributeError, match="Nonsense"):
        blocking.Nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_classes_can_be_annotated_with_and_specified(client: blocking.VideoClient) -> None:
    assert blocking.RecordStream[int] is not None  # type: ignore[type-var,unused-ignore]
    assert isinstance(client.rooms, blocking.Rooms)
    assert isinstance(client.archives, blocking.Reports)
    assert isinstance(client.rooms.list(), blocking.RecordStream)
    assert blocking.VideoClient.rooms is blocking.Rooms  # type: ignore[comparison-overlap]
    assert client.rooms is client.rooms


def test_clients_are_not_pickled(client: blocking.VideoClient) -> None:
    for value in (client, client.rooms, client.rooms.list()):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value)
