"""The account of a command: each value from an option, the environment or a profile, in this order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from videoapi.cli.messages import CommandError
from videoapi.cli.profiles import Profile
from videoapi.config import BaseUrl
from videoapi.errors import ConfigurationError

VARIABLES: Final[Mapping[str, str]] = {
    "app_id": "VIDEOAPI_APP_ID",
    "app_key": "VIDEOAPI_APP_KEY",
    "base_url": "VIDEOAPI_BASE_URL",
    "proxy": "VIDEOAPI_PROXY",
    "ca_file": "VIDEOAPI_CA_FILE",
    "recording_user": "VIDEOAPI_RECORDING_USER",
    "recording_password": "VIDEOAPI_RECORDING_PASSWORD",
}
OPTIONS: Final[Mapping[str, str]] = {"app_key": "--app-key-file", "proxy": "--proxy", "ca_file": "--ca-file"}
_PAIRS: Final = (("app_id", "app_key"), ("recording_user", "recording_password"))


@attrs.frozen
class Setting:
    """A value, and where it comes from: an option, a variable, or a profile."""

    value: str = attrs.field(repr=False)
    source: str


@attrs.frozen
class Account:
    """The settings of a command by name, as far as there are any; the library has defaults for the rest.

    Args:
        settings: The values in effect.
        overridden: Those of a profile that are not in effect, because a variable has another value.
    """

    settings: Mapping[str, Setting]
    overridden: Mapping[str, Setting] = attrs.field(factory=dict)

    def value(self, name: str) -> str | None:
        """Return a value, or None."""
        found = self.settings.get(name)
        return None if found is None else found.value

    @property
    def recording_auth(self) -> tuple[str, str] | None:
        """User and password for recordings, if both are known; an incomplete pair is left to the library."""
        user, password = self.value("recording_user"), self.value("recording_password")
        return (user, password) if user and password else None


def choose(options: Mapping[str, str | None], environment: Mapping[str, str], profile: Profile | None) -> Account:
    """Return the account of a command.

    Args:
        options: Values given with options, by name; None for those not given.
        environment: The environment's variables.
        profile: The profile, if one is used.

    Raises:
        CommandError: If the environment has one half of a pair, and a profile has the other.
    """
    values = {} if profile is None else profile.values
    stored = {} if profile is None else {name: Setting(values[name], f"profile {profile.name}") for name in values}
    given = {name: Setting(value, OPTIONS[name]) for name, value in options.items() if value}
    found = {
        name: Setting(environment[variable], variable)
        for name, variable in VARIABLES.items()
        if environment.get(variable)
    }
    for pair in _PAIRS:
        _must_match(pair, given, found, stored)
    return Account(
        settings=stored | found | given,
        overridden={name: it for name, it in stored.items() if name in found and found[name].value != it.value},
    )


def _must_match(
    pair: tuple[str, str], given: Mapping[str, Setting], found: Mapping[str, Setting], stored: Mapping[str, Setting]
) -> None:
    """Refuse a pair of two accounts: one half of the environment, the other of a profile that has both."""
    for one, other in (pair, pair[::-1]):
        if one not in found or other in found or other in given or not (one in stored and other in stored):
            continue
        if found[one].value == stored[one].value:
            continue
        raise CommandError(
            f"{VARIABLES[one]} is set, {VARIABLES[other]} is not, and {stored[other].source} has another {one} "
            f"and {other}. Halves of two accounts are not combined. Set both variables, or unset {VARIABLES[one]}."
        )


def check_base_url(account: Account) -> None:
    """Check the base URL of a profile, as the library's message names only the variable.

    Raises:
        ConfigurationError: If it cannot be used; the message names the profile.
    """
    base_url = account.settings.get("base_url")
    if base_url is None or not base_url.source.startswith("profile "):
        return
    try:
        # Plain http depends on VIDEOAPI_ALLOW_HTTP, which the client checks.
        BaseUrl.parse(base_url.value, allow_http=True)
    except ConfigurationError as error:
        reason = str(error).replace("base_url", "URL")
        raise ConfigurationError(f"base URL of {base_url.source}: {reason}") from None


def overruled(account: Account) -> Iterator[str]:
    """Yield the variables that win over a profile's values."""
    yield from (VARIABLES[name] for name in VARIABLES if name in account.overridden)
