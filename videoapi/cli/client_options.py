"""The account of a command: from the environment or a key file. The key is never an argument."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

if TYPE_CHECKING:
    from videoapi.client import VideoClient

SECONDS: Final = click.FloatRange(min=0, min_open=True)
"""A number of seconds above 0."""


class ClientOptions(NamedTuple):
    """The sources of the credentials, the trusted certificate authorities, and the proxy.

    Args:
        app_key_file: File with the APP_KEY, readable only by its owner.
        ca_file: PEM file of the certificate authorities to trust.
        proxy: URL of an HTTP proxy, without a password; by default VIDEOAPI_PROXY, which may have one.
    """

    app_key_file: Path | None = None
    ca_file: str | None = None
    proxy: str | None = None

    @property
    def app_id(self) -> str:
        """The APP_ID of the account."""
        return os.environ.get("VIDEOAPI_APP_ID", "")

    def words(self) -> list[str]:
        """Return the options as words of a command line."""
        given = {"--app-key-file": self.app_key_file, "--ca-file": self.ca_file, "--proxy": self.proxy}
        return [word for name, value in given.items() if value is not None for word in (name, str(value))]

    def client(self, **more: Any) -> VideoClient:
        """Return a client that is not open yet.

        Raises:
            ConfigurationError: If credentials are missing, or the key file is readable by other users.
        """
        from videoapi.client import VideoClient

        app_key = None if self.app_key_file is None else read_key(self.app_key_file)
        return VideoClient(app_key=app_key, ca_file=self.ca_file, proxy=self.proxy, **more)


def read_key(path: Path) -> str:
    """Return the key in a key file.

    Raises:
        ConfigurationError: If the file cannot be read, is empty, or is readable by other users.
    """
    from videoapi.errors import ConfigurationError

    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            key = file.read(4096).strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"The key file {path} cannot be read.") from None
    if mode & 0o077:
        raise ConfigurationError(f"Others can read the key file {path}; chmod 600 it.")
    if not key:
        raise ConfigurationError(f"The key file {path} is empty.")
    return key


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that works on an account; it receives its `ClientOptions` as `access`."""

    @click.option(
        "--app-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the APP_KEY, mode 600; else VIDEOAPI_APP_KEY.",
    )
    @click.option("--ca-file", envvar="VIDEOAPI_CA_FILE", help="PEM file of authorities to trust; VIDEOAPI_CA_FILE.")
    @click.option("--proxy", callback=_without_password, metavar="URL", help="HTTP proxy; else VIDEOAPI_PROXY.")
    @functools.wraps(command)
    def with_access(
        *args: Any, app_key_file: Path | None, ca_file: str | None, proxy: str | None, **options: Any
    ) -> Any:
        return command(*args, access=ClientOptions(app_key_file, ca_file, proxy), **options)

    return with_access


def timeout_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that makes a single call; it receives `timeout`."""
    return click.option("--timeout", type=SECONDS, help="Seconds for the call, retries included.")(command)


def _without_password(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    if url is not None and "@" in url:
        # Other users of the machine can read arguments.
        raise click.BadParameter("a user and password belong into VIDEOAPI_PROXY, not on the command line.")
    return url
