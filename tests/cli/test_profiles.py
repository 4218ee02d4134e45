"""Profiles: precedence, halves of two accounts, a file that only its owner can use, and edits that lose nothing."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from videoapi.cli import sign_in
from videoapi.cli.account import VARIABLES, choose
from videoapi.cli.client_options import ClientOptions, read_key
from videoapi.cli.profile_text import replace_table
from videoapi.cli.profiles import KEYS, Profile, ProfileFile
from videoapi.errors import ConfigurationError
from videoapi.files import PartFile
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
CANARY = "CanaryKeyOfTheProfile0123456789"
OPTIONS = {"app_key": "--app-key-file", "proxy": "--proxy", "ca_file": "--ca-file"}
PAIRS = [("app_id", "app_key"), ("recording_user", "recording_password")]


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def table(name: str = "default", **values: str) -> str:
    return f"[profiles.{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items())


@pytest.fixture
def bare(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The values of a profile for the sandbox, with no variable set."""
    for name in environment:
        monkeypatch.delenv(name)
    return {key: environment[VARIABLES[key]] for key in ("app_id", "app_key", "base_url")}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("given", list(itertools.product([True, False], repeat=3)))
def test_option_wins_over_variable_and_variable_over_profile(name: str, given: tuple[bool, bool, bool]) -> None:
    by_option, by_variable, by_profile = given
    # Pairs are given whole; halves are another test.
    names = next((pair for pair in PAIRS if name in pair), (name,))
    options = {one: f"option {one}" for one in names if by_option and one in OPTIONS}
    environment = {VARIABLES[one]: f"variable {one}" for one in names if by_variable}
    profile = Profile("work", {one: f"profile {one}" for one in names if by_profile})
    found = choose(options, environment, profile).settings.get(name)
    if by_option and name in OPTIONS:
        assert (found.value, found.source) == (f"option {name}", OPTIONS[name])  # type: ignore[union-attr]
    elif by_variable:
        assert (found.value, found.source) == (f"variable {name}", VARIABLES[name])  # type: ignore[union-attr]
    elif by_profile:
        assert (found.value, found.source) == (f"profile {name}", "profile work")  # type: ignore[union-attr]
    else:
        assert found is None


@pytest.mark.parametrize(("one", "other"), [*PAIRS, *(pair[::-1] for pair in PAIRS)])
def test_halves_of_two_accounts_are_not_combined(one: str, other: str) -> None:
    profile = Profile("work", {one: "stored", other: CANARY})
    with pytest.raises(ConfigurationError, match=f"{VARIABLES[one]} is set, {VARIABLES[other]} is not") as refused:
        choose({}, {VARIABLES[one]: "another"}, profile)
    assert "profile work" in str(refused.value)
    assert CANARY not in str(refused.value)
    # The same half is the same account; a profile without the other half leaves it to the environment.
    assert choose({}, {VARIABLES[one]: "stored"}, profile).value(other) == CANARY
    assert choose({}, {VARIABLES[one]: "another"}, Profile("work", {other: CANARY})).value(other) == CANARY


def test_key_file_goes_with_any_app_id() -> None:
    profile = Profile("work", {"app_id": "stored", "app_key": CANARY})
    assert choose({"app_key": "given"}, {}, profile).value("app_id") == "stored"
    assert choose({"app_key": "given"}, {"VIDEOAPI_APP_ID": "another"}, profile).value("app_id") == "another"


def test_half_of_another_account_stops_a_command_before_it_sends(
    cli: Cli, bare: dict[str, str], profiles: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(profiles, table(**bare))
    monkeypatch.setenv("VIDEOAPI_APP_ID", "another")
    result = cli("rooms", "list")
    assert result.exit_code == 5
    assert "Halves of two accounts are not combined" in result.stderr
    assert sandbox.ledger.requests() == 0


def test_commands_use_the_default_profile_or_the_one_named(
    cli: Cli, bare: dict[str, str], profiles: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("dialin").exit_code == 5
    write(profiles, table(**bare) + table("broken", **bare | {"app_key": "wrong"}))
    assert cli("dialin").exit_code == 0
    assert cli("dialin", "--profile", "broken").exit_code == 5
    monkeypatch.setenv("VIDEOAPI_PROFILE", "broken")
    assert cli("dialin").exit_code == 5
    assert cli("dialin", "--profile", "default").exit_code == 0
    result = cli("dialin", "--profile", "nope")
    assert result.exit_code == 5
    assert f"No profile nope in {profiles}: it has default, broken." in result.stderr
    assert "videoapi login --profile nope" in result.stderr


def test_variable_that_wins_over_a_named_profile_is_reported(
    cli: Cli, environment: dict[str, str], profiles: Path
) -> None:
    write(profiles, table("work", app_id="other", app_key=CANARY, base_url="https://api.example.com/video/v2"))
    result = cli("dialin", "--profile", "work")
    assert result.exit_code == 0
    names = "VIDEOAPI_APP_ID, VIDEOAPI_APP_KEY, VIDEOAPI_BASE_URL"
    assert result.stderr == f"The environment overrides the profile: {names}.\n"


def test_messages_with_commands_name_the_profile() -> None:
    options = ClientOptions(profile="work", proxy="http://proxy:3128")
    assert options.words() == ["--profile", "work", "--proxy", "http://proxy:3128"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o601])
def test_file_that_others_can_use_is_refused_with_the_remedy(
    cli: Cli, bare: dict[str, str], profiles: Path, sandbox: Sandbox, mode: int
) -> None:
    write(profiles, table(**bare), mode)
    result = cli("rooms", "list")
    assert result.exit_code == 5
    assert f"(mode {mode:04o})" in result.stderr
    assert f"Run: chmod 600 {profiles}" in result.stderr
    assert sandbox.ledger.requests() == 0
    profiles.chmod(0o600)
    assert cli("rooms", "list").exit_code == 0


def test_file_of_another_user_is_refused(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(profiles, table(app_id="a"))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match=f"belongs to user {os.getuid()}, not to you"):
        ProfileFile(profiles).read(None)


def test_link_is_followed_and_its_target_checked(profiles: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "managed.toml", table(app_id="a", app_key=CANARY))
    profiles.parent.mkdir(parents=True)
    profiles.symlink_to(target)
    assert ProfileFile(profiles).read(None) == Profile("default", {"app_id": "a", "app_key": CANARY})
    ProfileFile(profiles).write(Profile("work", {"app_id": "b"}), replace=False)
    assert profiles.is_symlink()
    assert "work" in target.read_text()
    target.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        ProfileFile(profiles).read(None)


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_anything_but_a_regular_file_is_refused_without_waiting(profiles: Path, kind: str) -> None:
    profiles.parent.mkdir(parents=True)
    profiles.mkdir() if kind == "directory" else os.mkfifo(profiles, 0o600)
    with pytest.raises(ConfigurationError, match=r"not a regular file|Is a directory"):
        ProfileFile(profiles).read(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[profiles.default]\napp_key = {CANARY}\n", "not valid TOML (line 2, column 11)"),
        (f'[profiles.default]\napp_key = "{CANARY}\n', "not valid TOML (line 2, column"),
        (f'[profiles.default]\napp_key "{CANARY}"\n', "not valid TOML (line 2, column 9)"),
        (f"[profiles.default]\n{CANARY}\n", "not valid TOML (line 2, column"),
        (f'[profiles.default]\n[profiles.default]\napp_key="{CANARY}"\n', "not valid TOML (line 2, column"),
        (f'[profiles.default]\napp_key = """{CANARY}', "not valid TOML (end of document)"),
        (f'[profiles.default]\nkey = "{CANARY}"\n', "profile default, line 2: unknown key. Known are app_id, app_key"),
        (f'[profiles.default]\napp_id = "a"\n{CANARY} = "app_key"\n', "profile default, line 3: unknown key. Known"),
        (f'[profiles.default]\n# A comment\n"{CANARY}==" = """\napp_key"""\n', "line 3: unknown key. Known are"),
        (f"[profiles]\ndefault = {{ app_id = 'a', {CANARY} = 'app_key' }}\n", "line 2: unknown key. Known are"),
        (f"[profiles.other]\n{CANARY} = 1\n[profiles.default]\n{CANARY} = 1\n", "default, line 4: unknown key."),
        (f"[profiles.default.{CANARY}]\n", "profile default, line 1: unknown key. Known are"),
        (f'{CANARY} = "app_key"\n', "config.toml, line 1: unknown key or table. A profile begins with"),
        (f"[profiles.default]\n[{CANARY}]\n", "config.toml, line 2: unknown key or table."),
        (f'[profiles.default]\n{CANARY}{CANARY} = "app_key"\n', "line 2: unknown key."),
        (f'[profiles.default]\napp_key = ["{CANARY}"]\n', "app_key must be text in quotes"),
        ("[profiles.default]\napp_key = 12345\n", "app_key must be text in quotes"),
        ('[profiles.default]\napp_key = ""\n', "app_key must be text in quotes that is not empty"),
        (f'[profiles.default]\nrecording_password = "{CANARY}"\n', "give both recording_user and recording_password"),
        (f'app_key = "{CANARY}"\n', "unknown key or table. A profile begins with [profiles.NAME]"),
        (f'profiles = "{CANARY}"\n', "profiles must be tables"),
        (f'[profiles]\ndefault = "{CANARY}"\n', "it must be a table that begins with [profiles.NAME]"),
        (table(app_id="a", app_key="b", base_url=CANARY), "Invalid base URL of profile default: "),
        ("x = " + "[" * 5_000, "not valid TOML"),
    ],
)
def test_mistake_in_the_file_is_named_without_its_content(
    cli: Cli, bare: dict[str, str], profiles: Path, text: str, words: str
) -> None:
    write(profiles, text)
    result = cli("rooms", "list")
    assert result.exit_code == 5
    assert words in result.stderr
    assert CANARY not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("proxy", "socks5://proxy:1080", "Invalid proxy of profile default: expected"),
        ("ca_file", "missing.pem", "from CA file of profile default 'missing.pem'"),
        ("base_url", "ftp://x", "Invalid base URL of profile default: it must begin"),
        ("base_url", "http://api.example.com", "base URL of profile default http://api.example.com would send"),
        ("app_id", "a:b", "APP_ID of profile default holds a colon"),
        ("app_key", "a\\nb", "APP_KEY of profile default holds a control character"),
    ],
)
def test_value_of_a_profile_that_cannot_be_used_is_named_as_such(
    cli: Cli, bare: dict[str, str], profiles: Path, key: str, value: str, words: str
) -> None:
    write(profiles, table(**(bare | {key: value})))
    result = cli("rooms", "list")
    assert result.exit_code == 5, result.output
    assert words in result.stderr
    assert "--" not in result.stderr
    assert VARIABLES[key] not in result.stderr


def test_file_may_begin_with_a_byte_order_mark(cli: Cli, bare: dict[str, str], profiles: Path) -> None:
    write(profiles, f"\ufeff{table(**bare)}")
    assert cli("rooms", "list").exit_code == 0
    assert ProfileFile(profiles).read("default") == Profile("default", bare)
    ProfileFile(profiles).write(Profile("work", bare), replace=False)
    assert ProfileFile(profiles).read("work") == Profile("work", bare)
    assert ProfileFile(profiles).read("default") == Profile("default", bare)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.default]\napp_id = a\n", 'as in app_id = "..."'),
        (table(appid="a"), "Known are app_id, app_key, base_url, proxy, ca_file"),
    ],
)
def test_mistake_in_the_file_is_reported_with_its_keys_not_with_variables(
    cli: Cli, bare: dict[str, str], profiles: Path, text: str, words: str
) -> None:
    write(profiles, text)
    for command in ("dialin", "doctor"):
        done = cli(command)
        assert words in done.stdout + done.stderr
    login = cli("login", "--key-stdin", "--app-id", "a")
    assert words in login.stderr


def test_file_that_is_not_utf8_or_too_large_is_refused(profiles: Path) -> None:
    write(profiles, "")
    profiles.write_bytes(b"[profiles.default]\n# \xff\n")
    with pytest.raises(ConfigurationError, match=r"not valid UTF-8 \(line 2\)"):
        ProfileFile(profiles).read(None)
    profiles.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        ProfileFile(profiles).read(None)


def test_no_repr_shows_a_value() -> None:
    profile = Profile("work", {"app_id": "stored", "app_key": CANARY})
    assert CANARY not in f"{profile!r} {choose({}, {}, profile)!r} {vars(ClientOptions(profile='work'))!r}"


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"XDG_CONFIG_HOME": "/etc/xdg-of-mine"}, "/etc/xdg-of-mine/videoapi/config.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, "~/.config/videoapi/config.toml"),
        ({"XDG_CONFIG_HOME": ""}, "~/.config/videoapi/config.toml"),
        ({}, "~/.config/videoapi/config.toml"),
    ],
)
def test_file_is_where_xdg_says(variables: dict[str, str], path: str) -> None:
    assert ProfileFile.of(variables).path == Path(path).expanduser()


MANAGED = """\
# My accounts.
[profiles.work]  # the main one
# rotated in May
app_id = "old"
app_key = "old-key"  # portal
recording_user = "r"
recording_password = "p"

# The other one.
[profiles.staging]
app_id = "s"
app_key = "[not a table]"
"""


def test_write_changes_one_profile_and_keeps_comments(profiles: Path) -> None:
    write(profiles, MANAGED)
    ProfileFile(profiles).write(Profile("work", {"app_id": "new", "app_key": CANARY}), replace=True)
    text = profiles.read_text()
    assert tomllib.loads(text)["profiles"] == {
        "work": {"app_id": "new", "app_key": CANARY, "recording_user": "r", "recording_password": "p"},
        "staging": {"app_id": "s", "app_key": "[not a table]"},
    }
    for comment in (
        "# My accounts.\n",
        "  # the main one\n",
        "# rotated in May\n",
        "# The other one.\n[profiles.staging]",
    ):
        assert comment in text
    ProfileFile(profiles).write(Profile("third", {"app_id": "t"}), replace=False)
    assert profiles.read_text() == text + '\n[profiles.third]\napp_id = "t"\n'


def test_profile_is_not_replaced_unasked(profiles: Path) -> None:
    write(profiles, MANAGED)
    with pytest.raises(ConfigurationError, match="Profile work exists"):
        ProfileFile(profiles).write(Profile("work", {"app_id": "new"}), replace=False)
    assert profiles.read_text() == MANAGED
    assert os.listdir(profiles.parent) == ["config.toml"]


@pytest.mark.parametrize(
    "text",
    [
        '[profiles]\nwork = { app_id = "a", app_key = "k" }\n',
        'profiles.work.app_id = "a"\n',
        '[profiles.work]\napp_id = """\n[profiles.work]\n"""\napp_key = "k"\n',
    ],
)
def test_file_that_cannot_be_edited_safely_is_left_alone(profiles: Path, text: str) -> None:
    write(profiles, text)
    with pytest.raises(ConfigurationError, match="Not changed; edit the file"):
        ProfileFile(profiles).write(Profile("work", {"app_id": "b"}), replace=True)
    assert profiles.read_text() == text
    assert os.listdir(profiles.parent) == ["config.toml"]


def test_file_is_private_from_its_first_byte(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    original = PartFile.write

    def watched(self: PartFile, data: bytes | bytearray) -> None:
        modes.append(stat.S_IMODE(self.part.stat().st_mode))
        original(self, data)

    monkeypatch.setattr(PartFile, "write", watched)
    earlier = os.umask(0)
    try:
        ProfileFile(profiles).write(Profile("work", {"app_key": CANARY}), replace=False)
    finally:
        os.umask(earlier)
    assert modes == [0o600]
    assert stat.S_IMODE(profiles.stat().st_mode) == 0o600
    assert stat.S_IMODE(profiles.parent.stat().st_mode) == 0o700


def test_failed_write_leaves_the_file_and_no_key_elsewhere(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(profiles, MANAGED)

    def full(self: PartFile) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartFile, "finish", full)
    with pytest.raises(OSError, match="No space"):
        ProfileFile(profiles).write(Profile("third", {"app_key": CANARY}), replace=False)
    assert profiles.read_text() == MANAGED
    assert os.listdir(profiles.parent) == ["config.toml"]


def leaks_of(error: BaseException | None) -> list[str]:
    """Return where the key is, in the errors of a chain and in their frames but those of this file."""
    found: list[str] = []
    while error is not None:
        if CANARY in f"{error!r} {vars(error)} {getattr(error, 'object', '')!r} {getattr(error, 'doc', '')!r}":
            found.append(type(error).__name__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                found += [f"{frame.f_code.co_name}:{name}" for name, it in frame.f_locals.items() if CANARY in repr(it)]
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("step", ["pwrite", "fsync", "replace"])
def test_write_on_a_full_disk_leaves_no_key_in_the_frames_of_its_error(
    profiles: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    text = table("other", app_key=CANARY)
    write(profiles, text)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space") as failed:
        ProfileFile(profiles).write(Profile("work", {"app_key": CANARY}), replace=False)
    assert leaks_of(failed.value) == []
    assert profiles.read_text() == text
    assert os.listdir(profiles.parent) == ["config.toml"]


def test_folder_that_cannot_be_synced_costs_no_profile(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(profiles, table("other", app_id="a"))
    sync = os.fsync

    def fails_for_folders(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(file)

    monkeypatch.setattr(os, "fsync", fails_for_folders)
    with pytest.raises(OSError, match="Input/output error"):
        ProfileFile(profiles).write(Profile("work", {"app_id": "b"}), replace=False)
    assert set(tomllib.loads(profiles.read_text())["profiles"]) == {"other", "work"}


@pytest.mark.parametrize(
    "content", [f"[profiles.default]\napp_key = {CANARY}\n".encode(), CANARY.encode() + b"\xff"], ids=["toml", "utf-8"]
)
def test_file_that_cannot_be_read_leaves_no_key_in_the_frames_of_its_error(profiles: Path, content: bytes) -> None:
    write(profiles, "")
    profiles.write_bytes(content)
    for use in (ProfileFile(profiles).read, ProfileFile(profiles).find):
        with pytest.raises(ConfigurationError) as failed:
            use("default")
        assert leaks_of(failed.value) == []


def test_key_that_is_not_utf8_is_in_no_frame_of_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "key", "")
    path.write_bytes(CANARY.encode() + b"\xff\n")
    with pytest.raises(ConfigurationError, match="cannot be read") as failed:
        read_key(path)
    assert leaks_of(failed.value) == []
    login = sign_in.LoginOptions(
        profile=None,
        app_id="a",
        base_url=None,
        key_stdin=True,
        ca_file=None,
        proxy=None,
        no_check=True,
        overwrite=False,
    )
    with path.open(encoding="utf-8") as piped, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", piped)
        with pytest.raises(ConfigurationError, match="not valid text") as failed:
            sign_in._key(login)
    assert leaks_of(failed.value) == []


def test_part_of_a_killed_process_is_replaced(profiles: Path) -> None:
    write(profiles.with_name("config.toml.part"), "left over" * 100)
    ProfileFile(profiles).write(Profile("work", {"app_id": "a"}), replace=False)
    assert profiles.read_text() == table("work", app_id="a")
    assert os.listdir(profiles.parent) == ["config.toml"]


def test_two_writers_lose_nothing(profiles: Path) -> None:
    write(profiles, "")
    left = [f"p{number}" for number in range(20)]

    def work(names: list[str]) -> None:
        while names:
            try:
                ProfileFile(profiles).write(Profile(names[0], {"app_id": "a"}), replace=False)
            except ConfigurationError as error:
                # The other one holds the file.
                assert "another process is writing it" in str(error)  # noqa: PT017
                continue
            names.pop(0)

    threads = [threading.Thread(target=work, args=(left[half::2],)) for half in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(tomllib.loads(profiles.read_text())["profiles"]) == {f"p{number}" for number in range(20)}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
VALUES = st.dictionaries(st.sampled_from(KEYS), TEXTS, min_size=1)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_any_text_survives_any_order_of_edits(edits: list[tuple[str, dict[str, str]]]) -> None:
    text, expected = "# mine\u2028still a comment\n", {}
    for name, values in edits:
        new = replace_table(text, name, values)
        assert new is not None
        text = new
        expected[name] = values
    assert tomllib.loads(text).get("profiles", {}) == expected
    assert text.startswith("# mine\u2028still a comment\n")
