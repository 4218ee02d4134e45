"""The account's dial-in numbers and SIP access."""

from typing import Any, ClassVar

import attrs

from videoapi.models.base import Kept, Model
from videoapi.models.redaction import redact, redact_within


@attrs.frozen(repr=False, kw_only=True)
class DialInNumber(Model):
    """A dial-in telephone number.

    Brackets say how a field is known: see `RoomSettings`.

    Attributes:
        country: The name of the country. [doc]
        country_code: The country's code; whether that of telephony or of ISO 3166 is unknown. [doc, unknown]
        phone: The number to call. [doc]
        toll: Whether the caller pays; false for a toll-free number. [doc]
    """

    # Source: docs/contract.md 5.5.

    country: str | None = None
    country_code: str | None = None
    phone: str | None = None
    toll: bool | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    @property
    def toll_free(self) -> bool | None:
        """Whether the number is toll-free; None if unknown."""
        return None if self.toll is None else not self.toll


@attrs.frozen(repr=False, kw_only=True)
class DialInSip(Model):
    """The account's SIP access. The repr redacts its secrets.

    Brackets say how a field is known: see `RoomSettings`.

    Attributes:
        server_url: The address of the SIP server. [doc]
        username: The user of the SIP account. [doc]
        password: The password of the SIP account. [doc]
        sig_servers: The signaling servers, as received; their form is unknown. [doc, unknown]
        media_servers: The media servers, as received; their form is unknown. [doc, unknown]
    """

    # Source: docs/contract.md 5.5.

    server_url: str | None = attrs.field(default=None, repr=redact_within)
    username: str | None = attrs.field(default=None, repr=redact)
    password: str | None = attrs.field(default=None, repr=redact)
    sig_servers: tuple[Any, ...] | None = None
    media_servers: tuple[Any, ...] | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class DialInSettings(Model):
    """The enabled ways to dial in.

    Attributes:
        sip: Whether rooms can be joined by SIP. [doc]
    """

    # Source: docs/contract.md 5.5.

    sip: bool | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class DialIn(Model):
    """Telephone access to the account's rooms.

    Brackets say how a field is known: see `RoomSettings`.

    Attributes:
        _id: The ID of this entry; read it as `dialin_id`. [doc]
        app_key: A key of the account. The repr redacts it. [doc]
        settings: The enabled ways to dial in. [doc]
        sip: SIP access. [doc]
        dialin: The telephone numbers; `numbers` is never None. [doc]
    """

    # Source: docs/contract.md 5.5.
    envelope: ClassVar[frozenset[str]] = frozenset({"result"})

    _id: str | None = None
    app_key: str | None = attrs.field(default=None, repr=redact)
    settings: DialInSettings | None = None
    sip: DialInSip | None = None
    dialin: tuple[DialInNumber, ...] | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    @property
    def dialin_id(self) -> str | None:
        """The ID of this entry."""
        return self._id

    @property
    def numbers(self) -> tuple[DialInNumber, ...]:
        """The telephone numbers; empty if the account has none."""
        return self.dialin or ()
