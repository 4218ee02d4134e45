"""The account's dial-in numbers and SIP access."""

from typing import Any, ClassVar

import attrs

from videoapi.models.base import Model
from videoapi.models.redaction import redact


@attrs.frozen(repr=False, kw_only=True)
class DialInNumber(Model):
    """A dial-in telephone number.

    Args:
        country: The country's name (doc).
        country_code: The country's calling code, such as `91` (doc).
        phone: The telephone number (doc).
        toll: Whether the caller pays; false means toll-free (doc).

    Source: docs/contract.md 5.5.
    """

    country: str | None = None
    country_code: str | None = None
    phone: str | None = None
    toll: bool | None = None

    @property
    def toll_free(self) -> bool | None:
        """Whether the number is toll-free; None if unknown."""
        return None if self.toll is None else not self.toll


@attrs.frozen(repr=False, kw_only=True)
class DialInSip(Model):
    """The account's SIP access. The repr redacts its secrets.

    Args:
        server_url: The address of the SIP server (doc).
        username: The user name, a secret (doc).
        password: The password, a secret (doc).
        sig_servers: The signaling servers; their form is unknown (doc).
        media_servers: The media servers; their form is unknown (doc).

    Source: docs/contract.md 5.5.
    """

    server_url: str | None = None
    username: str | None = attrs.field(default=None, repr=redact)
    password: str | None = attrs.field(default=None, repr=redact)
    sig_servers: tuple[Any, ...] | None = None
    media_servers: tuple[Any, ...] | None = None


@attrs.frozen(repr=False, kw_only=True)
class DialInSettings(Model):
    """The enabled ways to dial in.

    Args:
        sip: Whether SIP is enabled (doc).

    Source: docs/contract.md 5.5.
    """

    sip: bool | None = None


@attrs.frozen(repr=False, kw_only=True)
class DialIn(Model):
    """Telephone access to the account's rooms.

    Args:
        _id: The ID of this entry; read it as `dialin_id` (doc).
        app_key: The key of the project, a secret (doc).
        settings: The enabled ways to dial in (doc).
        sip: The account's SIP access (doc).
        dialin: The telephone numbers; `numbers` is never None (doc).

    Source: docs/contract.md 5.5.
    """

    envelope: ClassVar[frozenset[str]] = frozenset({"result"})

    _id: str | None = None
    app_key: str | None = attrs.field(default=None, repr=redact)
    settings: DialInSettings | None = None
    sip: DialInSip | None = None
    dialin: tuple[DialInNumber, ...] | None = None

    @property
    def dialin_id(self) -> str | None:
        """The ID of this entry."""
        return self._id

    @property
    def numbers(self) -> tuple[DialInNumber, ...]:
        """The telephone numbers; empty if the account has none."""
        return self.dialin or ()
