"""Faster decoding of models whose fields are often missing from a response."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

_T = TypeVar("_T")
_set_class = object.__setattr__


def often_absent(*names: str) -> Callable[[type[_T]], type[_T]]:
    """Decorate a model so that it decodes faster when the named fields are absent.

    For each field that it did not fill, the typed decoder checks whether the attribute is set, and pays
    for an AttributeError. Presetting these fields to None avoids that.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        # Set after attrs generated __init__, so that __init__ does not call it.
        cast(Any, cls).__attrs_pre_init__ = _few(cls, names) if len(names) in (2, 4) else _many(cls, names)
        return cls

    return decorate


def _few(cls: type[_T], names: tuple[str, ...]) -> Callable[[_T], None]:
    """Return a function that presets two or four fields, unrolled: a loop would cost as much as it saves."""
    setters: list[Callable[[_T, None], None]] = [cls.__dict__[name].__set__ for name in names]
    if len(setters) == 2:
        one, two = setters

        def fill_two(instance: _T) -> None:
            one(instance, None)
            two(instance, None)

        return fill_two
    first, second, third, fourth = setters

    def fill_four(instance: _T) -> None:
        first(instance, None)
        second(instance, None)
        third(instance, None)
        fourth(instance, None)

    return fill_four


def _many(cls: type[_T], names: tuple[str, ...]) -> Callable[[_T], None]:
    """Return a function that presets many fields.

    It temporarily gives the object a class with the same slots that is not frozen, because plain
    assignments take a third of the time of the slot setters.
    """
    fields = {
        field.name: attrs.field(default=None) if field.name in names else attrs.field(init=False)
        for field in attrs.fields(cast(Any, cls))
    }
    open_class: Any = attrs.make_class(
        f"_Open{cls.__name__}", fields, bases=cls.__bases__, slots=True, eq=False, repr=False
    )
    start: Callable[[_T], None] = open_class.__init__

    def fill(instance: _T) -> None:
        # A subclass has different slots, and its own __init__ sets all of them.
        if type(instance) is cls:
            _set_class(instance, "__class__", open_class)
            start(instance)
            instance.__class__ = cls

    return fill
