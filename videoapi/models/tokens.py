"""Who is in a room, and what lets somebody in."""

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import attrs

from videoapi.models.base import Model
from videoapi.models.redaction import redact


class Role(enum.StrEnum):
    """The roles that the contract names; fields stay plain text, so that others survive.

    Source: docs/contract.md 5.1.
    """

    MODERATOR = "moderator"
    PARTICIPANT = "participant"
    VIEWER = "viewer"
    AUDIENCE = "audience"


@attrs.frozen(repr=False, kw_only=True)
class Permissions(Model):
    """What somebody in a session may do. Source: docs/contract.md 4.8."""

    lenient: ClassVar[bool] = True

    publish: bool | None = None
    subscribe: bool | None = None
    record: bool | None = None
    stats: bool | None = None
    controlhandlers: bool | None = None


@attrs.frozen(repr=False, kw_only=True)
class Participant(Model):
    """Somebody in a session right now. Source: docs/contract.md 4.8."""

    lenient: ClassVar[bool] = True

    name: str | None = None
    user_ref: str | None = None
    role: str | None = None
    permissions: Permissions | None = None


@attrs.frozen(repr=False, kw_only=True)
class Token(Model):
    """Lets one user join one room once, within 15 minutes. Source: docs/contract.md 5.1.

    Its text is opaque, and comes from `value`, `to_dict`, `to_json` and pickle only.

    Args:
        value: The text that the browser needs.
        room_id: The room it opens.
        role: The role that was asked for.
        name: The user's name as it was asked for.
        user_ref: The user's reference as it was asked for.
    """

    composed: ClassVar[bool] = True

    value: str = attrs.field(repr=redact)
    room_id: str | None = None
    role: str | None = None
    name: str | None = None
    user_ref: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the fields, the text under `token` as on the wire."""
        fields = super().to_dict()
        return {"token": fields.pop("value"), **fields}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build a token from what `to_dict` gives.

        Raises:
            ValidationError: there is no `token` in it, or a field is no text.
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
    """A token to be issued, for the bulk calls.

    Args:
        room_id: The room to open.
        name: The user's name, shown in the session.
        role: `moderator`, `participant`, `viewer` or `audience`.
        user_ref: Your own reference of the user; call records carry it.
        data: At most five keys of your own, visible in the session.
        key: Names this input in the outcome; never sent.
    """

    room_id: str
    name: str
    role: str
    user_ref: str
    data: Mapping[str, Any] | str | None = None
    key: Any = None

    def to_wire(self) -> dict[str, Any]:
        """Give the body of the request. Source: docs/contract.md 5.1."""
        body: dict[str, Any] = {"name": self.name, "role": self.role, "user_ref": self.user_ref}
        if self.data is not None:
            body["data"] = self.data
        return body
