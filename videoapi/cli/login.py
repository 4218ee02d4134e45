"""`videoapi login`: asks for credentials, tries them, and writes them to a profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from videoapi.cli.profiles import Profile, ProfileFile

_INTERRUPTED = 130


@click.command()
@click.option("--profile", "name", metavar="NAME", help="The profile to write; VIDEOAPI_PROFILE, else default.")
@click.option("--app-id", help="The project's APP_ID; asked for if it is missing.")
@click.option("--base-url", metavar="URL", help="The API's address; asked for if it is missing.")
@click.option("--key-stdin", is_flag=True, help="Read the APP_KEY from stdin, for scripts.")
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Store this PEM file of authorities.")
@click.option("--proxy", metavar="URL", help="Store this HTTP proxy.")
@click.option("--no-check", is_flag=True, help="Do not try the credentials.")
@click.option("--overwrite", is_flag=True, help="Replace the credentials of an existing profile without a question.")
def login(
    name: str | None,
    app_id: str | None,
    base_url: str | None,
    key_stdin: bool,
    ca_file: Path | None,
    proxy: str | None,
    no_check: bool,
    overwrite: bool,
) -> None:
    """Store the credentials of a project in a profile, for all commands.

    Asks for APP_ID, APP_KEY (not shown as you type) and address, sends one request that only reads, and writes
    ~/.config/videoapi/config.toml, which only you can read. Other values of the profile stay as they are.
    """
    import os

    from videoapi.cli import exit_codes
    from videoapi.cli.profiles import DEFAULT, NAME, ProfileFile
    from videoapi.cli.terminal import for_people, print_status
    from videoapi.errors import VideoAPIError

    name = name or os.environ.get("VIDEOAPI_PROFILE") or DEFAULT
    if NAME.fullmatch(name) is None:
        raise click.UsageError("--profile: 1 to 64 letters, digits, - and _.")
    if not key_stdin and not sys.stdin.isatty():
        raise click.UsageError("stdin is not a terminal. Give --key-stdin, and the APP_KEY on stdin.")
    if key_stdin and not app_id:
        raise click.UsageError("--key-stdin needs --app-id, as stdin has only the key.")
    file = ProfileFile.of()
    given = {
        "proxy": proxy,
        # The profile is used from any folder.
        "ca_file": None if ca_file is None else str(ca_file.absolute()),
    }
    try:
        earlier = file.find(name)
        if earlier is not None and not overwrite:
            _may_replace(file, earlier, key_stdin=key_stdin)
            overwrite = True
        kept = {} if earlier is None else dict(earlier.values)
        asked = _ask(app_id, base_url, key_stdin=key_stdin)
    except VideoAPIError as error:
        print_status(for_people(error))
        sys.exit(exit_codes.of_error(error))
    except (click.Abort, KeyboardInterrupt):
        print_status("Nothing was written.")
        sys.exit(_INTERRUPTED)
    values = kept | asked | {key: value for key, value in given.items() if value is not None}
    from videoapi.cli.profiles import Profile
    from videoapi.cli.running import run

    run(_store(file, Profile(name, values), earlier, check=not no_check, overwrite=overwrite))


def _may_replace(file: ProfileFile, earlier: Profile, *, key_stdin: bool) -> None:
    """Ask whether a profile may be replaced."""
    from videoapi.cli.doctor import masking

    app_id = earlier.values.get("app_id")
    shown = f" (APP_ID {masking.app_id(app_id)})" if app_id else ""
    if key_stdin:
        raise click.UsageError(f"Profile {earlier.name}{shown} exists in {file.path}. Give --overwrite to replace it.")
    if not click.confirm(f"Profile {earlier.name}{shown} exists. Replace its credentials?", err=True):
        raise click.Abort


def _ask(app_id: str | None, base_url: str | None, *, key_stdin: bool) -> dict[str, str]:
    """Return APP_ID, APP_KEY and base URL, asking for what was not given.

    Raises:
        ConfigurationError: If a value cannot be used.
    """
    import os

    from videoapi.config import DEFAULT_BASE_URL, BaseUrl, Credentials

    if not app_id:
        app_id = click.prompt("APP_ID", err=True)
    app_key = _read_key() if key_stdin else _ask_key()
    if not base_url:
        base_url = DEFAULT_BASE_URL if key_stdin else click.prompt("Base URL", default=DEFAULT_BASE_URL, err=True)
    allow_http = os.environ.get("VIDEOAPI_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")
    values = {"app_id": app_id.strip(), "app_key": app_key.strip(), "base_url": base_url.strip()}
    Credentials(values["app_id"], values["app_key"])
    BaseUrl.parse(values["base_url"], allow_http=allow_http)
    return values


def _read_key() -> str:
    from videoapi.errors import ConfigurationError

    try:
        return sys.stdin.read(4096)
    except UnicodeDecodeError:
        # Its text would show a part of the key.
        raise ConfigurationError("The APP_KEY on stdin is not valid text.") from None


def _ask_key() -> str:
    """Ask for the key without showing it; refuse where that is impossible."""
    import getpass
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass("APP_KEY (not shown): ")
        except getpass.GetPassWarning:
            raise click.UsageError(
                "This terminal cannot hide the APP_KEY. Give it on stdin, with --key-stdin."
            ) from None
        except EOFError:
            raise click.Abort from None


async def _store(file: ProfileFile, profile: Profile, earlier: Profile | None, *, check: bool, overwrite: bool) -> int:
    import os

    from videoapi.cli import exit_codes
    from videoapi.cli.account import VARIABLES
    from videoapi.cli.terminal import for_people, print_status
    from videoapi.errors import ConnectionFailed

    if check:
        print_status("Trying the credentials ...")
        error = await _trial(profile)
        if error is not None:
            print_status(f"{for_people(error)} Nothing was written.")
            if isinstance(error, ConnectionFailed | TimeoutError):
                print_status("To write the profile without a check, give --no-check.")
            return exit_codes.of_error(error)
    path = file.write(profile, replace=overwrite)
    tried = "accepted" if check else "not tried"
    print_status(f"Profile {profile.name} is written to {path}; its credentials were {tried}.")
    if earlier is not None and earlier.values.get("app_id") != profile.values["app_id"]:
        rest = [key for key in earlier.values if key.startswith("recording_")]
        if rest:
            print_status(f"Kept from the earlier project: {', '.join(rest)}. Edit the file if they do not fit.")
    set_now = [VARIABLES[key] for key in ("app_id", "app_key", "base_url") if os.environ.get(VARIABLES[key])]
    if set_now:
        print_status(f"Set in this environment, and used instead of any profile: {', '.join(set_now)}.")
    return exit_codes.DONE


async def _trial(profile: Profile) -> Exception | None:
    """Try the credentials of a profile, with its proxy and CA file, else those of the environment."""
    from videoapi.cli.account import Account, Setting
    from videoapi.cli.client_options import client_for
    from videoapi.cli.trial import try_account
    from videoapi.errors import VideoAPIError

    source = f"profile {profile.name}"
    account = Account({key: Setting(value, source) for key, value in profile.values.items()})
    try:
        async with client_for(account, timeout=20.0) as client:
            return (await try_account(client)).error
    except VideoAPIError as error:
        return error
