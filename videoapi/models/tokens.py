"""Tokens, and the participants of a session."""

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import attrs

from videoapi.models.base import Model
from videoapi.models.redaction import redact


class Role(enum.StrEnum):
    """The documented roles. Role fields are plain text, so that other values are kept.

    Source: docs/contract.md 5.1.
    """

    MODERATOR = "moderator"
    PARTICIPANT = "participant"
    VIEWER = "viewer"
    AUDIENCE = "audience"


@attrs.frozen(repr=False, kw_only=True)
class Permissions(Model):
    """The permissions of a participant. Source: docs/contract.md 4.8."""

    publish: bool | None = None
    subscribe: bool | None = None
    record: bool | None = None
    stats: bool | None = None
    controlhandlers: bool | None = None


@attrs.frozen(repr=False, kw_only=True)
class Participant(Model):
    """A participant of a running session. Source: docs/contract.md 4.8."""

    name: str | None = None
    user_ref: str | None = None
    role: str | None = None
    permissions: Permissions | None = None


@attrs.frozen(repr=False, kw_only=True)
class Token(Model):
    """A token with which one user can join one room once, within 15 minutes. Source: docs/contract.md 5.1.

    Its text is opaque, and is exposed only by `value`, `to_dict`, `to_json` and pickle.

    Args:
        value: The token text, for the browser.
        room_id: The room to join.
        role: The requested role.
        name: The requested name of the user.
        user_ref: The requested reference of the user.
    """

    composed: ClassVar[bool] = True

    value: str = attrs.field(repr=redact)
    room_id: str | None = None
    role: str | None = None
    name: str | None = None
    user_ref: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, with the token text under `token` as in the response."""
        fields = super().to_dict()
        return {"token": fields.pop("value"), **fields}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build a token from the result of `to_dict`.

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
        return {**described, "properties": {"token": properties.pop("value"), **properties}}


@attrs.frozen(kw_only=False)
class TokenSpec:
    """The definition of a token to issue in bulk.

    Args:
        room_id: The room to join.
        name: The user's name, shown in the session.
        role: `moderator`, `participant`, `viewer` or `audience`.
        user_ref: Your own reference of the user, included in call records.
        data: At most five of your own keys, visible in the session.
        key: Identifies this input in the outcome; never sent.
    """

    room_id: str
    name: str
    role: str
    user_ref: str
    data: Mapping[str, Any] | str | None = None
    key: Any = None

    def to_wire(self) -> dict[str, Any]:
        """Return the request body. Source: docs/contract.md 5.1."""
        body: dict[str, Any] = {"name": self.name, "role": self.role, "user_ref": self.user_ref}
        if self.data is not None:
            body["data"] = self.data
        return body
