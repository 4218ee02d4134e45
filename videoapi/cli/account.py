"""The account of a command: each value from an option, the environment or a profile, in this order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from videoapi.cli.messages import CommandError
from videoapi.cli.profiles import Profile
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
_WORDS: Final = {
    "base_url": "base URL",
    "proxy": "proxy",
    "ca_file": "CA file",
    "app_id": "APP_ID",
    "app_key": "APP_KEY",
    "recording_user": "recording user",
    "recording_password": "recording password",
}
_ARGUMENT: Final = re.compile(rf"(?<![\w./])({'|'.join(_WORDS)})(?!\w)=?")
_ALLOW_HTTP: Final = re.compile(r"allow_http=True \(VIDEOAPI_ALLOW_HTTP=1\)")
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


def named(error: ConfigurationError, account: Account) -> ConfigurationError:
    """Return an error about a setting with where that setting comes from: a flag, a variable, or a profile.

    Args:
        error: The library's error, which names its argument; one that names another or none is returned as it is.
        account: The settings that the client was given.
    """
    about = _ARGUMENT.search(str(error))
    setting = account.settings.get(about[1]) if about is not None else None
    if about is None or setting is None:
        return error
    is_profile = setting.source.startswith("profile ")
    name = f"{_WORDS[about[1]]} of {setting.source}" if is_profile else setting.source
    text = _ARGUMENT.sub(f"{name} " if about[0].endswith("=") else name, str(error), count=1)
    return CommandError(_ALLOW_HTTP.sub("VIDEOAPI_ALLOW_HTTP=1", text))


def overruled(account: Account) -> Iterator[str]:
    """Yield the variables that win over a profile's values."""
    yield from (VARIABLES[name] for name in VARIABLES if name in account.overridden)
