"""The console's actions: what each one is called, what it asks, and what it does.

The page builds a form for each action from this description, so that an action of another module needs no HTML.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, Literal

import attrs

from videoapi.sandbox.settings import Json

Kind = Literal["text", "number", "choice", "toggle", "room", "room-id", "url"]


@attrs.frozen
class Field:
    """A field of an action's form.

    Args:
        name: The argument of the action.
        label: What the page shows.
        kind: `room` is the id of a room, chosen from those that exist, or None for a new one; `room-id` is any id, for
            which the page suggests those that exist.
        default: The value at first; None leaves the field empty.
        choices: The values of a `choice`, each with its explanation, which may be empty.
        minimum: The smallest `number`.
        maximum: The largest `number`.
        whole: Whether the `number` is an integer.
        required: Whether the field may not be empty.
        hint: A line below the field.
    """

    name: str
    label: str
    kind: Kind = "text"
    default: str | float | bool | None = None
    choices: Mapping[str, str] = attrs.field(factory=dict)
    minimum: float = 0
    maximum: float = 1_000_000
    whole: bool = False
    required: bool = False
    hint: str = ""

    def read(self, value: object) -> str | float | bool | None:
        """Return a value that the page sent, checked.

        Raises:
            ValueError: If it is of another type, out of range, or missing.
        """
        if value is None or value == "":
            if self.required:
                raise ValueError(f"{self.label}: a value is missing")
            return False if self.kind == "toggle" else None
        if self.kind == "toggle":
            if isinstance(value, bool):
                return value
            raise ValueError(f"{self.label}: {value!r} is neither true nor false")
        if self.kind == "number":
            return self._number(value)
        if not isinstance(value, str):
            raise ValueError(f"{self.label}: {value!r} is not text")
        if self.kind == "choice" and value not in self.choices:
            raise ValueError(f"{self.label}: {value!r} is not one of {', '.join(self.choices)}")
        return value

    def _number(self, value: object) -> float:
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if number is None or not self.minimum <= number <= self.maximum or (self.whole and number != int(number)):
            kind = "an integer" if self.whole else "a number"
            raise ValueError(f"{self.label}: {value!r} is not {kind} from {self.minimum} to {self.maximum}")
        return int(number) if self.whole else number


@attrs.frozen
class Action:
    """Something that the console can do.

    Args:
        name: Its last path segment.
        title: The heading of its form; empty if the page offers it in a row of a table.
        button: The text of its button.
        run: Called on the sandbox's loop with the fields as keyword arguments; returns a message for the page.
            `ValueError` is a refusal that the page shows.
        fields: What the form asks.
        confirm: A question to be confirmed first.
    """

    name: str
    title: str
    button: str
    run: Callable[..., str | Awaitable[str]]
    fields: tuple[Field, ...] = ()
    confirm: str = ""

    def described(self) -> Json:
        """Return what the page needs to build the form."""
        return attrs.asdict(self, filter=attrs.filters.exclude("run"))


class Actions:
    """The actions of a console, by name, in the order in which the page shows them."""

    def __init__(self, actions: Iterable[Action] = ()) -> None:
        self._actions: dict[str, Action] = {}
        for action in actions:
            self.add(action)

    def add(self, action: Action) -> None:
        """Offer an action. Pages that are already open show it when they are reloaded."""
        self._actions[action.name] = action

    def described(self) -> list[Json]:
        """Return the descriptions of all actions."""
        return [action.described() for action in self._actions.values()]

    async def run(self, name: str, given: Mapping[str, object]) -> str:
        """Run an action, and return its message.

        Args:
            name: The action.
            given: What the page sent.

        Raises:
            LookupError: If the action is unknown.
            ValueError: If a value is not usable, or the action is refused.
        """
        action = self._actions[name]
        unknown = sorted(set(given) - {field.name for field in action.fields})
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(unknown)}")
        values: dict[str, Any] = {field.name: field.read(given.get(field.name)) for field in action.fields}
        done = action.run(**values)
        return await done if isawaitable(done) else done
