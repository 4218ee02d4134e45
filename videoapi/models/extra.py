"""What an answer says beyond the models made of it: found in its text when somebody first asks."""

import functools
from collections.abc import Mapping
from typing import Any

from videoapi.models.base import Model, Where, set_extra
from videoapi.models.fields import parts, unknown
from videoapi.models.strict_json import loads_kept


class ExtraSource:
    """The text that models came from: it is parsed once, when somebody first asks what they do not show.

    Then it goes; what is left of it are the unknown fields of all its models.

    Args:
        raw: The JSON text.
        model: The class of the object that it holds, or of each object of the list.
        where: The keys that lead to that object or list.
    """

    __slots__ = ("_found", "_model", "_raw", "_where")

    def __init__(self, raw: bytes, model: type[Model], where: Where = ()) -> None:
        self._raw: bytes | None = raw
        self._model = model
        self._where = where
        self._found: dict[Where, dict[str, Any]] | None = None

    def attach(self, made: Model, where: Where = ()) -> None:
        """Keep this text for `extra` of a model and of its parts.

        Args:
            made: What was decoded from it.
            where: The keys and places that lead to the model inside the text.
        """
        set_extra(made, (self, where))
        for name in parts(type(made)):
            value = getattr(made, name)
            if isinstance(value, Model):
                self.attach(value, _below(where, name))
            elif isinstance(value, tuple):
                for place, item in enumerate(value):
                    if isinstance(item, Model):
                        self.attach(item, (*where, name, place))

    def unknown_at(self, where: Where) -> dict[str, Any]:
        """Return the unknown fields of the model that stands there."""
        raw = self._raw
        if raw is not None:
            value = loads_kept(raw)
            for step in self._where:
                value = value[step]
            found: dict[Where, dict[str, Any]] = {}
            _find(self._model, value, self._where, found)
            # In this order, as another thread may be on the same way.
            self._found = found
            self._raw = None
        return (self._found or {}).get(where) or {}


# Records keep their parts' places by the thousand, and these are always the same few.
@functools.lru_cache(maxsize=256)
def _below(where: Where, name: str) -> Where:
    return (*where, name)


def _find(model: type[Model], value: Any, where: Where, found: dict[Where, dict[str, Any]]) -> None:
    if isinstance(value, list):
        for place, item in enumerate(value):
            _find(model, item, (*where, place), found)
    elif isinstance(value, Mapping):
        if fields := unknown(model, value):
            found[where] = fields
        for name, part in parts(model).items():
            _find(part, value.get(name), _below(where, name), found)
