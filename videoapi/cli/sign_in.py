"""Asks for credentials, tries them, and writes them to a profile."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Final, NoReturn

import attrs
import click

from videoapi.cli import exit_codes
from videoapi.cli.account import VARIABLES, Account, Setting
from videoapi.cli.client_options import client_for
from videoapi.cli.doctor import masking
from videoapi.cli.messages import CommandError
from videoapi.cli.profiles import DEFAULT, NAME, Profile, ProfileFile
from videoapi.cli.streams import is_terminal, tell
from videoapi.cli.terminal import for_people, print_status
from videoapi.cli.trial import try_account
from videoapi.config import DEFAULT_BASE_URL, BaseUrl, Credentials, Secret, proxy_url
from videoapi.errors import CallTimeout, ConfigurationError, ConnectionFailed, VideoAPIError

_INTERRUPTED: Final = 130
_LIMIT: Final = 20.0
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


@attrs.frozen(kw_only=True)
class LoginOptions:
    """The options of `videoapi login`; None for what is to be asked."""

    profile: str | None
    app_id: str | None
    base_url: str | None
    key_stdin: bool
    ca_file: Path | None
    proxy: str | None
    no_check: bool
    overwrite: bool

    @property
    def name(self) -> str:
        """The name of the profile."""
        return self.profile or os.environ.get("VIDEOAPI_PROFILE") or DEFAULT


@attrs.frozen(kw_only=True)
class Login:
    """A profile that is ready to be tried and written.

    Args:
        file: The file of all profiles.
        profile: The profile, with those values of an earlier one that stay.
        earlier: The profile of that name, if there is one.
        check: Whether to try the credentials.
    """

    file: ProfileFile
    profile: Profile
    earlier: Profile | None
    check: bool


def ask(options: LoginOptions) -> Login:
    """Ask for what the options lack.

    Raises:
        SystemExit: If a value cannot be used, or the user interrupts or declines.
    """
    if NAME.fullmatch(options.name) is None:
        raise click.UsageError("--profile: 1 to 64 letters, digits, - and _.")
    if not options.key_stdin and not is_terminal(sys.stdin):
        raise click.UsageError("stdin is not a terminal. Give --key-stdin, and the APP_KEY on stdin.")
    if options.key_stdin and not options.app_id:
        raise click.UsageError("--key-stdin needs --app-id, as stdin has only the key.")
    file = ProfileFile.of()
    try:
        earlier = file.find(options.name)
        with _terminable():
            if earlier is not None and not options.overwrite:
                _confirm(file, earlier, options)
            values = _values(options)
    except VideoAPIError as error:
        print_status(_words(error))
        sys.exit(exit_codes.of_error(error))
    except (click.Abort, KeyboardInterrupt):
        # The cursor is still in the line of the prompt.
        tell("")
        _stop(_INTERRUPTED)
    kept = {} if earlier is None else earlier.values
    return Login(
        file=file, profile=Profile(options.name, {**kept, **values}), earlier=earlier, check=not options.no_check
    )


async def store(login: Login) -> int:
    """Try the credentials, write the profile, and return the exit code."""
    if login.check:
        print_status("Trying the credentials ...")
        try:
            error = await _trial(login.profile)
        except asyncio.CancelledError:
            print_status("Nothing was written.")
            raise
        if error is not None:
            print_status(f"{_words(error)} Nothing was written.")
            if isinstance(error, ConnectionFailed | CallTimeout):
                print_status("To write the profile without a check, give --no-check.")
            return exit_codes.of_error(error)
    profile, earlier = login.profile, login.earlier
    path = login.file.write(profile, replace=earlier is not None)
    tried = "accepted" if login.check else "not tried"
    print_status(f"Profile {profile.name} is written to {path}; its credentials were {tried}.")
    if earlier is not None and earlier.values.get("app_id") != profile.values["app_id"]:
        kept = [key for key in earlier.values if key.startswith("recording_")]
        if kept:
            print_status(f"Kept from the earlier project: {', '.join(kept)}. Edit the file if they do not fit.")
    winning = [VARIABLES[key] for key in ("app_id", "app_key", "base_url") if os.environ.get(VARIABLES[key])]
    if winning:
        print_status(f"The environment overrides every profile: {', '.join(winning)}.")
    return exit_codes.DONE


class _Terminated(BaseException):
    """SIGTERM at a prompt."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _terminable() -> Generator[None, None, None]:
    """End at SIGTERM as at Ctrl-C: getpass must switch the echo of the terminal on again."""

    def stop(number: int, _: object) -> NoReturn:
        raise _Terminated(number)

    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated as error:
        # Only here: in the handler, the echo is still off.
        tell("")
        _stop(128 + error.number)
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _stop(code: int) -> NoReturn:
    print_status("Nothing was written.")
    sys.exit(code)


def _confirm(file: ProfileFile, earlier: Profile, options: LoginOptions) -> None:
    """Ask whether a profile may be replaced; end the command if not."""
    app_id = earlier.values.get("app_id")
    shown = f"Profile {earlier.name}" + (f" (APP_ID {masking.app_id(app_id)})" if app_id else "")
    if options.key_stdin:
        raise click.UsageError(f"{shown} exists in {file.path}. Give --overwrite to replace its credentials.")
    if not click.confirm(f"{shown} exists. Replace its credentials?", err=True):
        _stop(exit_codes.FAILED)


def _values(options: LoginOptions) -> dict[str, str]:
    """Return the values to store, checked.

    Raises:
        ConfigurationError: If one cannot be used.
    """
    app_id = (options.app_id or click.prompt("APP_ID", err=True)).strip()
    # Error reporters store the variables of the frames of an error.
    app_key = Secret(_key(options).strip())
    Credentials(app_id, app_key)
    base_url = options.base_url
    if base_url is None:
        default = DEFAULT_BASE_URL
        base_url = default if options.key_stdin else click.prompt("Base URL", default=default, err=True)
    BaseUrl.parse(base_url, allow_http=os.environ.get("VIDEOAPI_ALLOW_HTTP", "").lower() in _TRUE)
    proxy = proxy_url(options.proxy)
    values = {"app_id": app_id, "app_key": app_key.value, "base_url": base_url.strip()}
    if proxy is not None:
        values["proxy"] = proxy.value
    if options.ca_file is not None:
        # Commands are run in any folder.
        values["ca_file"] = str(options.ca_file.absolute())
    return values


def _key(options: LoginOptions) -> str:
    """Return the key from stdin, or from the terminal without showing it."""
    try:
        if options.key_stdin:
            return sys.stdin.read(4096)
        with warnings.catch_warnings():
            # Where echo cannot be switched off, getpass would show the key.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass("APP_KEY (not shown): ")
    except getpass.GetPassWarning:
        raise click.UsageError("This terminal cannot hide the APP_KEY. Give it on stdin, with --key-stdin.") from None
    except EOFError:
        raise click.Abort from None
    except UnicodeDecodeError:
        # Raised below: this one has the key as an attribute.
        pass
    raise ConfigurationError("The APP_KEY is not valid text.")


def _words(error: VideoAPIError) -> str:
    """Return an error with the words of this command, which has no variables."""
    if isinstance(error, CommandError):
        return str(error)
    text = str(error).replace("Invalid base_url", "Invalid base URL").replace("base_url", "the base URL")
    return for_people(text.replace("app_id", "APP_ID").replace("app_key", "APP_KEY"))


async def _trial(profile: Profile) -> VideoAPIError | None:
    """Try the credentials, with the profile's proxy and CA file, else those of the environment."""
    account = Account({key: Setting(value, f"profile {profile.name}") for key, value in profile.values.items()})
    try:
        async with client_for(account, timeout=_LIMIT) as client:
            return (await try_account(client)).error
    except VideoAPIError as error:
        return error
