"""Tokens, and the participants of a session."""

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import attrs

from videoapi.models.base import Kept, Model, hashable
from videoapi.models.redaction import redact, redact_within


class Role(enum.StrEnum):
    """The documented roles. Role fields are plain text, so that other values are kept."""

    # Source: docs/contract.md 5.1.
    MODERATOR = "moderator"
    """The only role that publishes in a lecture, and that admits users if the room has `knock`. [doc]"""
    PARTICIPANT = "participant"
    """An ordinary user of a group room. [doc]"""
    VIEWER = "viewer"
    """Documented by its name only. [unknown]"""
    AUDIENCE = "audience"
    """A user that `RoomSettings.audiences` counts; requires a subscription. [doc]"""


@attrs.frozen(repr=False, kw_only=True)
class Permissions(Model):
    """The permissions of a participant.

    Brackets say how a field is known: see `RoomSettings`.

    Attributes:
        publish: Whether the user may publish media. [doc]
        subscribe: Whether the user may receive media. [doc]
        record: Whether the user may record. [doc]
        stats: Whether the user may read statistics. [doc]
        controlhandlers: Whether the user may control others, probably. [doc, unknown]
    """

    # Source: docs/contract.md 4.8.
    publish: bool | None = None
    subscribe: bool | None = None
    record: bool | None = None
    stats: bool | None = None
    controlhandlers: bool | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class Participant(Model):
    """A participant of a running session.

    Brackets say how a field is known: see `RoomSettings`.

    Attributes:
        name: The user's name, as given for the token. [doc]
        user_ref: Your own reference of the user, as given for the token. [doc]
        role: `moderator`, `participant`, `viewer` or `audience`. [doc]
        permissions: What the user may do. [doc]
    """

    # Source: docs/contract.md 4.8.
    name: str | None = None
    user_ref: str | None = None
    role: str | None = None
    permissions: Permissions | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class IssuedToken(Model):
    """The response to a token request.

    Attributes:
        token: The token text. [wire]
    """

    # Source: docs/contract.md 5.1.
    envelope: ClassVar[frozenset[str]] = frozenset({"result"})

    token: str = attrs.field(repr=redact)


@attrs.frozen(repr=False, kw_only=True)
class Token(Model):
    """A token with which one user can join one room once, within 15 minutes.

    Its text is opaque, and is exposed only by `value`, `to_dict`, `to_json` and pickle. What the service sends
    next to the text is in `extra`. Brackets say how a field is known: see `RoomSettings`.

    Args:
        value: The token text, for the browser. [wire]
        room_id: The room to join, as requested. [doc, wire]
        role: The role, as requested. [doc, code]
        name: The name of the user, as requested. [doc, wire]
        user_ref: Your own reference of the user, as requested. [doc]
    """

    # Source: docs/contract.md 5.1.
    composed: ClassVar[bool] = True

    value: str = attrs.field(repr=redact)
    room_id: str | None = None
    role: str | None = None
    name: str | None = None
    user_ref: str | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, with the token text under `token` as in the response."""
        fields = super().to_dict()
        return {"token": fields.pop("value"), **fields}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build a token from the result of `to_dict`.

        Args:
            fields: Values by API field name.

        Raises:
            ValidationError: If `token` is missing, or a field is not text.
        """
        if isinstance(fields, Mapping):
            fields = {("value" if name == "token" else name): value for name, value in fields.items()}
        return super().from_dict(fields)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        described = super().__get_pydantic_json_schema__(schema, handler)
        properties = described["properties"]
        properties = {"token": properties.pop("value"), **properties}
        return {**described, "properties": properties, "required": ["token"]}


@attrs.frozen(kw_only=False)
class TokenSpec:
    """The definition of a token to issue in bulk.

    Brackets say how a field is known: see `RoomSettings`.

    Args:
        room_id: The room to join. [doc, wire]
        name: The user's name, shown in the session. [doc, wire]
        role: `moderator`, `participant`, `viewer` or `audience`. [doc, code]
        user_ref: Your own reference of the user, included in call records. [doc]
        data: At most five of your own keys, visible in the session. [doc, code]
        key: Identifies this input in the outcome; never sent.
    """

    room_id: str | None
    name: str
    role: str
    user_ref: str
    data: Mapping[str, Any] | str | None = attrs.field(default=None, repr=redact_within)
    key: Any = None

    def to_wire(self) -> dict[str, Any]:
        """Return the request body."""
        # Source: docs/contract.md 5.1.
        body: dict[str, Any] = {"name": self.name, "role": self.role, "user_ref": self.user_ref}
        if self.data is not None:
            body["data"] = self.data
        return body

    def __hash__(self) -> int:
        # The generated one would fail for a mapping.
        return hash((type(self), hashable(attrs.astuple(self, recurse=False))))
