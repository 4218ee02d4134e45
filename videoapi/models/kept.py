"""What an answer says beyond the models made of it: found in its text when somebody first asks."""

from collections.abc import Mapping
from typing import Any

from videoapi.models.base import Model, Where, parts, put_kept, unknown
from videoapi.models.strictjson import loads_kept


class Text:
    """The text that models came from: it is parsed once, when somebody first asks what they do not show.

    Then it goes; what is left of it are the unknown fields of all its models.

    Args:
        raw: The JSON text.
    """

    __slots__ = ("_found", "_raw", "_roots")

    def __init__(self, raw: bytes) -> None:
        self._raw: bytes | None = raw
        self._roots: list[tuple[type[Model], Where]] = []
        self._found: dict[Where, dict[str, Any]] | None = None

    def keep(self, model: Model, where: Where = ()) -> None:
        """Keep this text for `extra` of a model and of its parts.

        Args:
            model: What was decoded from it.
            where: The keys and places that lead to the model inside the text.
        """
        self._roots.append((type(model), where))
        self._give(model, where)

    def unknown_at(self, where: Where) -> dict[str, Any]:
        """Return the unknown fields of the model that stands there."""
        raw = self._raw
        if raw is not None:
            whole, found = loads_kept(raw), dict[Where, dict[str, Any]]()
            for cls, root in self._roots:
                _find_unknown(cls, _at(whole, root), root, found)
            # In this order, as another thread may be on the same way.
            self._found = found
            self._raw = None
        return (self._found or {}).get(where) or {}

    def _give(self, model: Model, where: Where) -> None:
        put_kept(model, (self, where))
        for name in parts(type(model)):
            value = getattr(model, name)
            # Most parts are absent.
            if value is None:
                continue
            if isinstance(value, Model):
                self._give(value, (*where, name))
            elif isinstance(value, tuple):
                for place, item in enumerate(value):
                    if isinstance(item, Model):
                        self._give(item, (*where, name, place))


def _find_unknown(cls: type[Model], value: Any, where: Where, found: dict[Where, dict[str, Any]]) -> None:
    if not isinstance(value, Mapping):
        return
    if fields := unknown(cls, value):
        found[where] = fields
    for name, part in parts(cls).items():
        inner = value.get(name)
        _find_unknown(part, inner, (*where, name), found)
        if isinstance(inner, list):
            for place, item in enumerate(inner):
                _find_unknown(part, item, (*where, name, place), found)


def _at(value: Any, where: Where) -> Any:
    for step in where:
        value = value[step]
    return value
