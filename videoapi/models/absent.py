"""Objects that start out with None where the wire often has nothing."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

_T = TypeVar("_T")
_set_class = object.__setattr__


def often_absent(*names: str) -> Callable[[type[_T]], type[_T]]:
    """Decorate a model whose fields of these names are often absent on the wire, so that it decodes faster.

    The typed decoder asks every field that it did not fill whether it is set, and pays for an
    AttributeError each time. Objects that start out with None there answer it at once.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        # Set after attrs has made __init__, which so does not call it.
        cast(Any, cls).__attrs_pre_init__ = _few(cls, names) if len(names) in (2, 4) else _many(cls, names)
        return cls

    return decorate


def _few(cls: type[_T], names: tuple[str, ...]) -> Callable[[_T], None]:
    """Return what fills two or four fields, as call records have: there a loop costs as much as it saves."""
    setters: list[Callable[[_T, None], None]] = [cls.__dict__[name].__set__ for name in names]
    if len(setters) == 2:
        one, two = setters

        def fill_two(made: _T) -> None:
            one(made, None)
            two(made, None)

        return fill_two
    first, second, third, fourth = setters

    def fill_four(made: _T) -> None:
        first(made, None)
        second(made, None)
        third(made, None)
        fourth(made, None)

    return fill_four


def _many(cls: type[_T], names: tuple[str, ...]) -> Callable[[_T], None]:
    """Return what fills many fields.

    While it works the object is of a class of the same slots that is not frozen, so that plain
    assignments do it, at a third of what the setters of the slots cost.
    """
    fields = {
        field.name: attrs.field(default=None) if field.name in names else attrs.field(init=False)
        for field in attrs.fields(cast(Any, cls))
    }
    open_class: Any = attrs.make_class(
        f"_Open{cls.__name__}", fields, bases=cls.__bases__, slots=True, eq=False, repr=False
    )
    start: Callable[[_T], None] = open_class.__init__

    def fill(made: _T) -> None:
        # A subclass has other slots, and an __init__ that fills them all.
        if type(made) is cls:
            _set_class(made, "__class__", open_class)
            start(made)
            made.__class__ = cls

    return fill
