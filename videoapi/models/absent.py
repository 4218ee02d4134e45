"""Objects that start out with None where the wire often has nothing."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import attrs

_T = TypeVar("_T")


def often_absent(*names: str) -> Callable[[type[_T]], type[_T]]:
    """Decorate a model whose fields of these names are often absent on the wire, so that it decodes faster.

    The typed decoder asks every field that it did not fill whether it is set, and pays for an
    AttributeError each time. Objects that start out with None there answer it at once.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        open_class = _open_twin(cls, names)
        start: Callable[[_T], None] = cast(Any, open_class).__init__

        def fill(made: _T) -> None:
            # While it is of the open class, plain assignments work: a third of what the slots' setters cost.
            _become(made, "__class__", open_class)
            start(made)
            made.__class__ = cls

        # Set after attrs has made __init__, which so does not call it.
        cast(Any, cls).__attrs_pre_init__ = fill
        return cls

    return decorate


_become = object.__setattr__


def _open_twin(cls: type[_T], names: tuple[str, ...]) -> type[_T]:
    """Return a class of the same slots that is not frozen, and whose `__init__` fills the named ones with None."""
    fields = {
        field.name: attrs.field(default=None) if field.name in names else attrs.field(init=False)
        for field in attrs.fields(cast(Any, cls))
    }
    return attrs.make_class(cls.__name__, fields, bases=cls.__bases__, slots=True, eq=False, repr=False)
