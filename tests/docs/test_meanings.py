"""Every public name, field, argument and method has a meaning in its docstring, from which the site is made."""

from __future__ import annotations

import ast
import enum
import inspect
import os
import re
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

from videoapi.models.descriptions import descriptions

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from _site.names import Name, documentation, public_names  # noqa: E402

NAMES = [name for name in public_names() if name.module != "videoapi.blocking"]
CLASSES = [name for name in NAMES if inspect.isclass(name.value)]
# The library constructs these; what is in them is documented by their methods.
NOT_CONSTRUCTED = {"Archives", "BulkRun", "DialIns", "Ledger", "RecordStream", "Reports", "Rooms", "Tokens"}
SEE = re.compile(r"The arguments are those of `[\w.]+`|; see `[\w.]+`")
"""A docstring that says of which other method the arguments are."""


def ids(name: Name) -> str:
    return name.full


def inline_meanings(cls: type[Any]) -> set[str]:
    """Return the names that a text follows in the body of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    found = set()
    for statement, text in pairwise(body):
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            target = getattr(statement, "target", None) or getattr(statement, "targets", [None])[0]
            found.add(getattr(target, "id", ""))
    return found


def arguments(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    # `**options` of a method are documented under their own names.
    return [each.name for each in parameters if each.name not in ("self", "cls") and each.kind is not each.VAR_KEYWORD]


def undocumented(function: Any) -> list[str]:
    text = inspect.cleandoc(function.__doc__ or "")
    if not text:
        return ["the whole"]
    holder = type("Documented", (), {"__doc__": text})
    return [] if SEE.search(text) else [name for name in arguments(function) if name not in descriptions(holder)]


@pytest.mark.parametrize("name", NAMES, ids=ids)
def test_public_name_has_a_meaning(name: Name) -> None:
    assert documentation(name), f"{name.full} has no documentation"
    assert len(name.summary) > 10


@pytest.mark.parametrize("name", [name for name in CLASSES if attrs.has(name.value)], ids=ids)
def test_field_has_a_meaning(name: Name) -> None:
    known = {**descriptions(name.value), **dict.fromkeys(inline_meanings(name.value))}
    fields = [field.name for field in attrs.fields(name.value) if field.name not in ("_extra", "_cancelled")]
    assert [field for field in fields if field not in known] == []


@pytest.mark.parametrize("name", [name for name in CLASSES if issubclass(name.value, enum.Enum)], ids=ids)
def test_member_has_a_meaning(name: Name) -> None:
    assert set(name.value.__members__) - inline_meanings(name.value) - set(descriptions(name.value)) == set()


@pytest.mark.parametrize("name", [name for name in CLASSES if issubclass(name.value, BaseException)], ids=ids)
def test_fact_of_an_error_has_a_meaning(name: Name) -> None:
    own = vars(name.value).get("_own", ())
    assert [fact for fact in own if fact not in descriptions(name.value)] == []


@pytest.mark.parametrize("name", CLASSES, ids=ids)
def test_argument_has_a_meaning(name: Name) -> None:
    cls = name.value
    missing: dict[str, list[str]] = {}
    plain = not attrs.has(cls) and not issubclass(cls, enum.Enum | BaseException)
    if (
        plain
        and name.name not in NOT_CONSTRUCTED
        and "__init__" in vars(cls)
        and not getattr(cls, "_is_protocol", False)
    ):
        absent = [argument for argument in arguments(cls) if argument not in descriptions(cls)]
        missing |= {"__init__": absent} if absent else {}
    for method, value in vars(cls).items():
        function = getattr(value, "__func__", value)
        function = function.fget if isinstance(function, property) else function
        if not method.startswith("_") and inspect.isfunction(function) and (absent := undocumented(function)):
            missing[method] = absent
    assert missing == {}


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(name.value)], ids=ids)
def test_argument_of_a_function_has_a_meaning(name: Name) -> None:
    assert undocumented(name.value) == []


# The environment, an address, or an absolute path of the machine that builds the site.
OF_THE_MACHINE = re.compile(r"environ\(|\b0x[0-9a-fA-F]{4,}|Path\('/|^'/(?:home|root|tmp|usr|var|work)/")


def defaults_of_the_machine(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in parameters if each.default is not each.empty and _shows_the_machine(each.default)]


def _shows_the_machine(default: object) -> bool:
    shown = repr(default)
    return bool(OF_THE_MACHINE.search(shown)) or str(ROOT) in shown or str(Path.home()) in shown


@pytest.mark.parametrize("name", public_names(), ids=ids)
def test_defaults_show_nothing_of_the_machine(name: Name) -> None:
    members = {each: getattr(name.value, each) for each in dir(name.value)} if inspect.isclass(name.value) else {}
    own = {each: value for each, value in members.items() if not each.startswith("_")}
    found = {each: defaults_of_the_machine(value) for each, value in {"": name.value, **own}.items() if callable(value)}
    assert {each: shown for each, shown in found.items() if shown} == {}


def test_default_of_the_machine_is_found() -> None:
    def function(
        one: object = os.environ, two: object = ids, three: object = Path("/srv/x"), four: object = "/v2", five: int = 0
    ) -> None: ...

    assert defaults_of_the_machine(function) == ["one", "two", "three"]


def test_missing_meaning_is_found() -> None:
    @attrs.frozen
    class Documented:
        """A class.

        Args:
            one: The first.
        """

        one: int
        two: int

        def method(self, three: int) -> None:
            """Do something.

            Args:
                four: Not there.
            """

    assert [field.name for field in attrs.fields(Documented) if field.name not in descriptions(Documented)] == ["two"]
    assert undocumented(Documented.method) == ["three"]
