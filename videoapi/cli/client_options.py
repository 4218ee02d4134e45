"""The account of a command: from options, the environment and a profile. The key is never an argument."""

from __future__ import annotations

import functools
import math
import os
import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    from videoapi.cli.account import Account
    from videoapi.cli.profiles import Profile
    from videoapi.client import VideoClient

    _FloatType = click.ParamType[float]
else:
    # Generic in later versions of click only.
    _FloatType = click.ParamType


class _Seconds(_FloatType):
    """A number above 0; refuses infinity and NaN, which float() reads."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f"{str(value)!r} is not a number above 0.", param, ctx)
        return seconds


SECONDS: Final = _Seconds()
"""A number of seconds above 0."""


class CallLimit(click.Option):
    """The option `--timeout` of a single call, and not of a run, a list or an export with calls of their own."""


class ClientOptions:
    """The options of a command about its account.

    Args:
        app_key_file: File with the APP_KEY, readable only by its owner.
        ca_file: PEM file of the certificate authorities to trust.
        proxy: URL of an HTTP proxy.
        profile: Name of a profile; by default VIDEOAPI_PROFILE, else `default` if there is one.
    """

    def __init__(
        self,
        app_key_file: Path | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        profile: str | None = None,
    ) -> None:
        self.app_key_file = app_key_file
        self.ca_file = ca_file
        self.proxy = proxy
        self.profile = profile

    @property
    def profile_name(self) -> str | None:
        """The profile that was named, with the option or the variable."""
        return self.profile or os.environ.get("VIDEOAPI_PROFILE") or None

    @cached_property
    def stored(self) -> Profile | None:
        """The profile in use, read once.

        Raises:
            ConfigurationError: If it does not exist, or its file may not be used.
        """
        from videoapi.cli.profiles import ProfileFile

        return ProfileFile.of().read(self.profile_name)

    @cached_property
    def account(self) -> Account:
        """The settings in effect.

        Raises:
            ConfigurationError: If the profile or the key file cannot be used, or halves of two accounts would be mixed.
        """
        from videoapi.cli.account import choose

        app_key = None if self.app_key_file is None else read_key(self.app_key_file)
        options = {"app_key": app_key, "proxy": self.proxy, "ca_file": self.ca_file}
        return choose(options, os.environ, self.stored)

    @property
    def app_id(self) -> str:
        """The APP_ID of the account."""
        return self.account.value("app_id") or ""

    def account_of(self, client: VideoClient) -> dict[str, str]:
        """Return what identifies the account of a client: its origin and its APP_ID."""
        return {"origin": urlsplit(client.base_url)._replace(path="").geturl(), "app_id": self.app_id}

    def words(self) -> list[str]:
        """Return the options as words of a command line."""
        given = {
            "--profile": self.profile,
            "--app-key-file": self.app_key_file,
            "--ca-file": self.ca_file,
            "--proxy": self.proxy,
        }
        return [word for name, value in given.items() if value is not None for word in (name, str(value))]

    def worker_options(self) -> dict[str, Any]:
        """Return the arguments of a client for the same account in another process, secrets hidden."""
        from videoapi.config import hidden

        names = ("app_id", "base_url", "ca_file")
        secrets = {name: hidden(self.account.value(name)) for name in ("app_key", "proxy")}
        return {name: self.account.value(name) for name in names} | secrets

    def client(self, **more: Any) -> VideoClient:
        """Return a client that is not open yet.

        Raises:
            ConfigurationError: If credentials are missing, or the profile or the key file cannot be used.
        """
        from videoapi.cli.account import overruled
        from videoapi.cli.terminal import print_status

        if self.profile_name is not None and (names := list(overruled(self.account))):
            print_status(f"The environment overrides the profile: {', '.join(names)}.")
        return client_for(self.account, **more)


def client_for(account: Account, **more: Any) -> VideoClient:
    """Return a client for an account; a `session` brings its own proxy and CA file.

    Raises:
        ConfigurationError: If a value cannot be used; the message names where it comes from.
    """
    from videoapi.cli.account import named
    from videoapi.client import VideoClient
    from videoapi.config import hidden
    from videoapi.errors import ConfigurationError

    if "session" not in more:
        more = {"proxy": hidden(account.value("proxy")), "ca_file": account.value("ca_file"), **more}
    try:
        return VideoClient(
            account.value("app_id"),
            account.value("app_key"),
            account.value("base_url"),
            recording_auth=account.recording_auth,
            **more,
        )
    except ConfigurationError as error:
        raise named(error, account) from None


def read_key(path: Path) -> str:
    """Return the key in a key file.

    Raises:
        ConfigurationError: If the file cannot be read, is empty, or is readable by other users.
    """
    from videoapi.errors import ConfigurationError

    mode, key = 0, None
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        mode = stat.S_IMODE(path.stat().st_mode)
        # Not before: error reporters store the variables of the frames of an error.
        key = "" if mode & 0o077 else file.read(4096).strip()
    if key is None:
        # Not while another error is handled: that of the encoding has the key as an attribute.
        raise ConfigurationError(f"The key file {path} cannot be read.")
    if mode & 0o077:
        raise ConfigurationError(f"Other users can read the key file {path}. Run: chmod 600 {shlex.quote(str(path))}")
    if not key:
        raise ConfigurationError(f"The key file {path} is empty.")
    return key


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that works on an account; it receives its `ClientOptions` as `access`."""

    @click.option(
        "--profile", metavar="NAME", help="Profile of `videoapi login`. [default: VIDEOAPI_PROFILE, or `default`]"
    )
    @click.option(
        "--app-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of mode 600 with the APP_KEY. [default: VIDEOAPI_APP_KEY]",
    )
    @click.option("--ca-file", metavar="FILE", help="PEM file of the authorities to trust. [default: VIDEOAPI_CA_FILE]")
    @click.option("--proxy", callback=without_password, metavar="URL", help="HTTP proxy. [default: VIDEOAPI_PROXY]")
    @functools.wraps(command)
    def with_access(
        *args: Any,
        app_key_file: Path | None,
        ca_file: str | None,
        proxy: str | None,
        profile: str | None,
        **options: Any,
    ) -> Any:
        return command(*args, access=ClientOptions(app_key_file, ca_file, proxy, profile), **options)

    return with_access


def timeout_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that makes a single call; it receives `timeout`."""
    words = "Time limit for the call, including its retries."
    return click.option("--timeout", cls=CallLimit, type=SECONDS, help=words)(command)


def settle_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that looks for rooms of lost creates; it receives `settle`."""
    words = (
        "How long a request whose response was lost may still take effect; 75 by default. Longer if your proxy waits "
        "longer for the service; short, such as 1, only against the sandbox."
    )
    return click.option("--settle", type=SECONDS, help=words)(command)


def without_password(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    """Return a URL; refuse one with a user or password, as other users of the machine can read arguments."""
    if url is not None and ("@" in url or "password=" in url.lower()):
        variable = f"VIDEOAPI_{(parameter.name or '').upper()}"
        raise click.BadParameter(f"put the user and password into {variable}: other users can read the command line.")
    return url
