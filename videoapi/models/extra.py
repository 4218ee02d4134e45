"""The unknown fields of a response, parsed from its text on first access."""

from collections.abc import Mapping
from typing import Any

from videoapi.models.base import Model, Where, set_extra
from videoapi.models.fields import parts, unknown
from videoapi.models.strict_json import loads_record


class ExtraSource:
    """The JSON text of decoded models, parsed once, on the first access to their unknown fields.

    The text is then released; only the unknown fields of all its models are kept.

    Args:
        raw: The JSON text.
        model: The class of the object in the text, or of each object in the list.
        where: The path of that object or list inside the text.
    """

    __slots__ = ("_found", "_model", "_raw", "_where")

    def __init__(self, raw: bytes, model: type[Model], where: Where = ()) -> None:
        self._raw: bytes | None = raw
        self._model = model
        self._where = where
        self._found: dict[Where, dict[str, Any]] | None = None

    def attach(self, made: Any, where: Where) -> None:
        """Make this text the source of `extra` for a model, or for each model of a tuple; later also for their parts.

        Args:
            made: What was decoded from this text.
            where: Its path inside the text: keys and list indexes.
        """
        if isinstance(made, tuple):
            for index, item in enumerate(made):
                self.attach(item, (*where, index))
        elif isinstance(made, Model):
            set_extra(made, (self, where))

    def unknown_at(self, where: Where) -> dict[str, Any]:
        """Return the unknown fields of the model at this path."""
        raw = self._raw
        if raw is not None:
            value, _ = loads_record(raw, self._where)
            found: dict[Where, dict[str, Any]] = {}
            _find(self._model, value, self._where, found)
            # Set _found before clearing _raw: another thread may be in this method.
            self._found = found
            self._raw = None
        return (self._found or {}).get(where) or {}


def _find(model: type[Model], value: Any, where: Where, found: dict[Where, dict[str, Any]]) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _find(model, item, (*where, index), found)
    elif isinstance(value, Mapping):
        if fields := unknown(model, value):
            found[where] = fields
        for name, part in parts(model).items():
            _find(part, value.get(name), (*where, name), found)
