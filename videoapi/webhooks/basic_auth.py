"""The user and password that a sender must know: HTTP Basic, compared in constant time."""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from typing import Any

import attrs

from videoapi.config import Secret
from videoapi.errors import ConfigurationError

USER = "VIDEOAPI_WEBHOOK_USER"
PASSWORD = "VIDEOAPI_WEBHOOK_PASSWORD"  # noqa: S105 - the name of a variable


@attrs.frozen
class WebhookLogin:
    """The user and password of the deliveries."""

    user: str = attrs.field(repr=False)
    password: Secret

    def accepts(self, authorization: str | bytes | None) -> bool:
        """Return whether the value of an `Authorization` header is that of this user and password."""
        user, password = _parts(authorization)
        # Compare both parts whatever the first comparison says, so that the time says nothing.
        same_user = hmac.compare_digest(user, self.user.encode())
        same_password = hmac.compare_digest(password, self.password.value.encode())
        return same_user and same_password


def login_from(auth: Any, environment: Mapping[str, str] | None = None) -> WebhookLogin | ConfigurationError | None:
    """Return the login from the argument or the environment, or None if neither has one.

    Returns an error for the caller to raise, so that no frame of it holds the password, if `auth` is not a pair of
    texts that can be sent, or only one variable is set.
    """
    if auth is None:
        environment = os.environ if environment is None else environment
        auth = environment.get(USER) or "", environment.get(PASSWORD) or ""
        if not any(auth):
            return None
        if not all(auth):
            return ConfigurationError(f"Set both {USER} and {PASSWORD}, or neither.")
    if not isinstance(auth, (tuple, list)) or len(auth) != 2:
        return ConfigurationError("auth must be (user, password).")
    user, password = (part.value if isinstance(part, Secret) else part for part in auth)
    for name, part in (("user", user), ("password", password)):
        if not isinstance(part, str) or not part:
            return ConfigurationError(f"auth: the {name} must be text that is not empty.")
        if not part.isprintable():
            return ConfigurationError(f"auth: the {name} holds a character that cannot be sent, such as a line end.")
    if ":" in user:
        return ConfigurationError("auth: the user holds a colon, which HTTP Basic cannot carry.")
    return WebhookLogin(user, Secret(password))


def _parts(authorization: str | bytes | None) -> tuple[bytes, bytes]:
    raw = authorization.encode("utf-8", "replace") if isinstance(authorization, str) else authorization or b""
    scheme, _, coded = raw.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return b"", b""
    try:
        user, _, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"", b""
    return user, password
