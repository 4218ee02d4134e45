"""Profiles: named accounts in a file that only its owner can read."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import attrs

from videoapi.cli.messages import CommandError
from videoapi.cli.profile_text import line_of, replace_table
from videoapi.files import FileTaken, PartFile
from videoapi.protocol.redaction import strip_frames

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT: Final = "default"
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
KEYS: Final = ("app_id", "app_key", "base_url", "proxy", "ca_file", "recording_user", "recording_password")
_LARGEST: Final = 1 << 20
_LONGEST_SHOWN: Final = 32
_HOLD_KEYS: Final = ("videoapi.cli.profile", "videoapi.files.", "tomllib.")
_PLACE: Final = re.compile(r"\(at (line \d+, column \d+|end of document)\)")
# Windows lacks these. Without O_NONBLOCK, opening a named pipe would wait for its writer.
_READ: Final[int] = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK"))


@attrs.frozen
class Profile:
    """A named account. No repr shows its values.

    Args:
        name: Its name in the file.
        values: Its settings by key; see `KEYS`.
    """

    name: str
    values: Mapping[str, str] = attrs.field(repr=False)


def _without_keys(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a method so that its errors have no frames whose variables hold the keys of the file."""

    @functools.wraps(method)
    def clean(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            # One that led to it may have the text of the file as an attribute.
            error.__cause__ = error.__context__ = None
            strip_frames(error, _HOLD_KEYS)
            raise

    return clean


class ProfileFile:
    """The file with all profiles.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> ProfileFile:
        """Return the user's file: `videoapi/config.toml` in XDG_CONFIG_HOME, by default `~/.config`."""
        environment = os.environ if environment is None else environment
        home = Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        # Source: XDG Base Directory Specification, which has relative paths ignored.
        folder = home if home.is_absolute() else Path("~/.config").expanduser()
        return cls(folder / "videoapi" / "config.toml")

    @_without_keys
    def read(self, name: str | None) -> Profile | None:
        """Return a profile; without a name, `default` if the file has it, else None.

        Raises:
            CommandError: If the file may not be used, cannot be read, or lacks the named profile.
        """
        text = self._text()
        found = self._profiles(text)
        if name is None and DEFAULT not in found:
            return None
        name = name or DEFAULT
        if name not in found:
            known = f"it has {', '.join(map(_shown, found))}" if found else "it has no profiles"
            raise CommandError(
                f"No profile {_shown(name)} in {self.path}: {known}. "
                f"Run: videoapi login --profile {name if _is_short(name) else 'NAME'}"
            )
        return Profile(name, self._checked(name, found[name], text))

    @_without_keys
    def find(self, name: str) -> Profile | None:
        """Return a profile by its name, or None.

        Raises:
            CommandError: If the file may not be used, or cannot be read.
        """
        text = self._text()
        found = self._profiles(text)
        return Profile(name, self._checked(name, found[name], text)) if name in found else None

    @_without_keys
    def write(self, profile: Profile, *, replace: bool) -> Path:
        """Write a profile, and leave everything else in the file as it is.

        The file has either its old content or all of the new one. Of an earlier profile of that name, values that the
        new one lacks are kept.

        Returns:
            The path of the file.

        Raises:
            CommandError: If the profile exists and may not be replaced, or the file cannot be edited safely.
            OSError: If a file operation fails.
        """
        path = self.path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path) as part:
            # Read under the lock: another `login` may have written since.
            text = self._text()
            found = self._profiles(text)
            if profile.name in found and not replace:
                raise CommandError(f"Profile {profile.name} exists in {self.path}. Not changed.")
            kept = self._checked(profile.name, found[profile.name], text) if profile.name in found else {}
            new = replace_table(text, profile.name, {**kept, **profile.values})
            if new is None:
                raise CommandError(
                    f"{self.path} does not have profile {profile.name} as a table of its own with one value per line. "
                    "Not changed; edit the file."
                )
            part.truncate(0)
            part.write(new.encode())
            return part.finish()

    def _text(self) -> str:
        """Return the content; empty if the file does not exist."""
        try:
            file = os.open(self.path, _READ)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise CommandError(f"Cannot read {self.path}: {error.strerror}.") from None
        try:
            self._must_be_private(os.fstat(file))
        except CommandError:
            os.close(file)
            raise
        with open(file, "rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise CommandError(f"{self.path} is larger than 1 MiB.")
        try:
            # Some editors begin a file with a byte order mark, which TOML does not allow.
            return data.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise CommandError(f"{self.path} is not valid UTF-8 (line {line}).") from None

    def _must_be_private(self, found: os.stat_result) -> None:
        # The file that was opened, not its name: a link may lead to it, as with managed dotfiles.
        if not stat.S_ISREG(found.st_mode):
            raise CommandError(f"{self.path} is not a regular file.")
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            raise CommandError(
                f"{self.path} belongs to user {found.st_uid}, not to you ({os.geteuid()}): its keys are not used."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise CommandError(
                f"Others can read or change {self.path} (mode {stat.S_IMODE(found.st_mode):04o}), which has keys. "
                f"Run: chmod 600 {shlex.quote(str(self.path))}"
            )

    def _profiles(self, text: str) -> Mapping[str, Any]:
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            # Its text may quote a part of the file, and that may be a key.
            place = _PLACE.search(str(error))
            where = f" ({place[1]})" if place is not None else ""
            raise CommandError(
                f'{self.path} is not valid TOML{where}. Each value needs quotes, as in app_id = "...".'
            ) from None
        except RecursionError:
            raise CommandError(f"{self.path} is not valid TOML: it is nested too deeply.") from None
        found = document.pop("profiles", {})
        if document:
            where = f"{self.path}{_line(text, (next(iter(document)),))}"
            raise CommandError(f"{where}: unknown key or table. A profile begins with [profiles.NAME].")
        if not isinstance(found, dict):
            raise CommandError(f"{self.path}: profiles must be tables that begin with [profiles.NAME].")
        return found

    def _checked(self, name: str, values: object, text: str) -> Mapping[str, str]:
        where = f"{self.path}, profile {_shown(name)}"
        if not isinstance(values, dict):
            raise CommandError(f"{where}: it must be a table that begins with [profiles.NAME].")
        for key, value in values.items():
            if key not in KEYS:
                # Not by its name: key and value may have been exchanged.
                line = _line(text, ("profiles", name, key))
                raise CommandError(f"{where}{line}: unknown key. Known are {', '.join(KEYS)}.")
            if not isinstance(value, str) or not value.strip():
                raise CommandError(f"{where}: {key} must be text in quotes that is not empty.")
        if ("recording_user" in values) != ("recording_password" in values):
            raise CommandError(f"{where}: give both recording_user and recording_password, or neither.")
        return values


@contextlib.contextmanager
def _locked(path: Path) -> Generator[PartFile, None, None]:
    """Hold the file's `.part`, and leave nothing of it if the block raises."""
    part = PartFile(path.parent, path.name, overwrite=True)
    try:
        part.open()
    except FileTaken as taken:
        part.close()
        reason = "another process is writing it" if taken.reason == "busy" else f"{taken.path} is a {taken.reason}"
        raise CommandError(f"Cannot write {path}: {reason}.") from None
    except BaseException:
        part.close()
        raise
    try:
        yield part
    finally:
        part.discard()
        part.close()


def _line(text: str, path: Sequence[str]) -> str:
    """Return in which line a key is, for a message; empty if it is not found."""
    number = line_of(text, path)
    return "" if number is None else f", line {number}"


def _shown(name: str) -> str:
    """Return a name of the file for a message; a long one may be anything."""
    return name if _is_short(name) else f"(a name of {len(name)} characters)"


def _is_short(name: str) -> bool:
    return NAME.fullmatch(name) is not None and len(name) <= _LONGEST_SHOWN
