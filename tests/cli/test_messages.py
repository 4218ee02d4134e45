"""Messages name flags and variables, never the arguments of the library."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

import videoapi
from videoapi.cli.app import videoapi as root
from videoapi.cli.messages import option_names, translate
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
PACKAGE = Path(videoapi.__file__).parent
# Words with an underscore that the user of a command does know: columns and fields of files, names of settings.
FIELDS = {"room_id", "user_ref", "owner_ref", "conf_num", "role_based_recording", "live_recording"}
PYTHON = re.compile(r"(?<![\w-])[a-z]\w*=(?!\w*=)|\b[A-Z][a-z]+[A-Z]\w+\(|\w+\(\)|\b(?:None|True|False)\b|`")
UNDERSCORES = re.compile(r"(?<![\w/{'.-])[a-z]+(?:_[a-z]+)+(?![\w}'])")


def python_words(text: str) -> list[str]:
    return [*PYTHON.findall(text), *(word for word in UNDERSCORES.findall(text) if word not in FIELDS)]


def in_command(words: str) -> click.Context:
    command: click.Command = root
    context = click.Context(root)
    for word in words.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    return context


SPOKEN = (
    ("rooms create", "settings.moderators", "settings.moderators must be 1.", "--moderators must be 1."),
    ("rooms create", "settings.peep", "settings.peep must be true.", "--setting peep must be true."),
    ("rooms create", "settings.duration", "settings.duration must be 1.", "--minutes must be 1."),
    ("rooms create", "name", "name must be text.", "--name must be text."),
    ("rooms create", None, "settle=-1.0: give seconds.", "--settle -1.0: give seconds."),
    ("rooms create", None, "none within 3 s of the 30 s (timeout).", "none within 3 s of the 30 s (--timeout)."),
    ("rooms create", None, "none within 30 s (attempt_timeout).", "none within 30 s."),
    ("rooms create-many", "settings.moderators", "settings.moderators must be 1.", "settings.moderators must be 1."),
    ("rooms create-many", "name", "name is missing.", "name is missing."),
    ("rooms create-many", None, "journal= needs a job_id=, by which", "--journal needs a --job-id, by which"),
    ("rooms create-many", None, "RedisLeases: invalid URL of Redis", "--redis or VIDEOAPI_REDIS: invalid URL of Redis"),
    ("rooms create-many", None, "RedisGate: redis-py is not installed", "redis-py is not installed"),
    (
        "rooms create-many",
        None,
        "sip.pin is a secret, which anyone who can read the queue could read. Create it in one "
        "process, without a queue.",
        "sip.pin is a secret, which worker processes are not given. Create it without --workers.",
    ),
    ("rooms get", "room_id", "room_id is not an ID.", "ROOM_ID is not an ID."),
    ("rooms get", None, "GET /rooms/{room_id}: Room not found.", "GET /rooms/{room_id}: Room not found."),
    ("cdr list", "room_id", "room_id is not an ID.", "--room is not an ID."),
    ("cdr list", "start", "start is not a day.", "FROM is not a day."),
    ("cdr list", "conf_num", "conf_num is required.", "--conference is required."),
    ("cdr list", None, "It broke. Resume from the error's `cursor` later.", "It broke."),
    ("tokens create", "role", "role must be one of a, b.", "--role must be one of a, b."),
    ("archives download", None, "give overwrite=True, or name= another name", "give --overwrite"),
    ("archives download", None, "add it to recording_hosts=", "add it to --recording-host"),
    (
        "archives download",
        None,
        "Check recording_auth=: it is",
        "Check VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD: it is",
    ),
    ("dialin", None, "Invalid base_url: the port.", "Invalid VIDEOAPI_BASE_URL: the port."),
    ("dialin", None, "For a private CA, pass ca_file=.", "For a private CA, pass --ca-file."),
    ("dialin", None, "app_id holds a colon.", "VIDEOAPI_APP_ID holds a colon."),
    ("request", "path", "Invalid path '/..': expected one.", "Invalid PATH '/..': expected one."),
    ("rooms list", None, "Skipped a record. Further ones are logged at DEBUG.", "Skipped a record."),
    ("request", None, "a path; put a query into params.", "a path; give a query with --param."),
)


@pytest.mark.parametrize(("command", "field", "text", "shown"), SPOKEN)
def test_arguments_become_what_the_running_command_calls_them(
    command: str, field: str | None, text: str, shown: str
) -> None:
    with in_command(command):
        assert translate(text, field) == shown


def test_options_are_named_by_their_longest_spelling() -> None:
    names = option_names(in_command("cdr export").command.params)
    assert (names["start"], names["end"], names["room_id"], names["out"]) == ("FROM", "TO", "--room", "OUT")


@pytest.mark.parametrize(
    ("variables", "arguments", "words"),
    [
        ({"APP_ID": ""}, (), "VIDEOAPI_APP_ID"),
        ({"APP_ID": "", "APP_KEY": ""}, (), "--app-key-file or VIDEOAPI_APP_KEY"),
        ({"APP_ID": "a:b"}, (), "VIDEOAPI_APP_ID holds a colon"),
        ({"APP_ID": "a\nb"}, (), "VIDEOAPI_APP_ID holds a control character"),
        ({"APP_KEY": "a\nb"}, (), "VIDEOAPI_APP_KEY holds a control character"),
        ({"BASE_URL": "ftp://x"}, (), "Invalid VIDEOAPI_BASE_URL: it must begin"),
        ({"BASE_URL": " "}, (), "VIDEOAPI_BASE_URL is empty"),
        ({"BASE_URL": "http://api.example.com"}, (), "VIDEOAPI_ALLOW_HTTP=1"),
        ({"BASE_URL": "https://u:p@x"}, (), "VIDEOAPI_BASE_URL"),
        ({"BASE_URL": "https://x:0"}, (), "VIDEOAPI_BASE_URL"),
        ({"RECORDING_PASSWORD": ""}, (), "VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD"),
        ({"PROXY": "no proxy"}, (), "Invalid VIDEOAPI_PROXY: expected the URL of an HTTP proxy"),
        ({}, ("--proxy", "no proxy"), "Invalid --proxy"),
        ({}, ("--ca-file", "missing.pem"), "--ca-file 'missing.pem'"),
        ({"CA_FILE": "missing.pem"}, (), "from VIDEOAPI_CA_FILE 'missing.pem'"),
        ({}, ("--app-key-file", "missing"), "The key file missing cannot be read"),
    ],
)
def test_wrong_configuration_names_a_variable_or_flag(
    cli: Cli,
    sandbox: Sandbox,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"VIDEOAPI_{name}", value)
    result = cli("rooms", "list", *arguments)
    assert result.exit_code == 5, result.output
    assert words in result.stderr
    assert python_words(result.stderr) == []
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("rooms", "create", "--name", ""),
        ("rooms", "create", "--name", "A", "--data", f"a={'x' * 10}", "--setting", '{"knock": "perhaps"}'),
        ("rooms", "create", "--name", "A", "--setting", "participants=-3"),
        ("rooms", "create", "--name", "A", "--setting", '{"scheduled": true}'),
        ("rooms", "create", "--name", "A", "--setting", '{"scheduled": true, "scheduled_time": "now"}'),
        ("rooms", "create", "--name", "A", "--setting", '{"adhoc": true, "scheduled": true}'),
        ("rooms", "create", "--name", "A", "--setting", "mode=other"),
        ("rooms", "create", "--name", "A", "--setting", "quality=other"),
        ("rooms", "get", "no id"),
        ("rooms", "get", ""),
        ("rooms", "update", "no id", "--name", "A"),
        ("rooms", "update", "a", "--participants", "-1"),
        ("rooms", "delete", "no id", "--yes"),
        ("rooms", "users", "no id"),
        ("rooms", "resolve", "no reference"),
        ("tokens", "create", "no id", "--name", "A", "--user-ref", "u"),
        ("tokens", "create", "a", "--name", "", "--user-ref", "u"),
        ("tokens", "create", "a", "--name", "A", "--user-ref", ""),
        ("tokens", "create", "a", "--name", "A", "--user-ref", "u", "--role", ""),
        ("tokens", "create", "a", "--name", "A", "--user-ref", "u", "--data", '{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}'),
        ("cdr", "list", "2026-01-01T10:00", "2026-01-02"),
        ("cdr", "list", "2026-01-01T10:00Z", "2026-01-02"),
        ("cdr", "list", "x", "2026-01-02"),
        ("cdr", "list", "1800-01-01", "2026-01-02"),
        ("cdr", "list", "2026-01-02", "2026-01-01"),
        ("cdr", "list", "--conference", ""),
        ("cdr", "list", "--conference", "."),
        ("cdr", "list", "2026-01-01", "2026-01-02", "--cursor", "x"),
        ("archives", "list", "--room", ""),
        ("archives", "download", "2026-01-01", "2026-01-02", "files", "--recording-host", "a/b"),
        ("archives", "download", "2026-01-01", "2026-01-02", "files", "--recording-host", "*"),
        ("request", "GET", "no path", "--operation", "read"),
        ("request", "G T", "/path", "--operation", "read"),
        ("request", "GET", "/path", "--operation", "read", "--header", "a b=c"),
    ],
    ids=lambda arguments: " ".join(arguments[:3])[:60],
)
def test_invalid_input_is_reported_without_python(
    cli: Cli, sandbox: Sandbox, folder: Path, arguments: tuple[str, ...]
) -> None:
    result = cli(*arguments)
    assert result.exit_code in (2, 5), result.output
    assert python_words(result.stderr) == [], result.stderr
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize(
    ("route", "kind", "arguments"),
    [
        ("rooms.get", "status", ("rooms", "get", "0" * 24)),
        ("rooms.get", "html", ("rooms", "get", "0" * 24)),
        ("rooms.get", "redirect", ("rooms", "get", "0" * 24)),
        ("rooms.get", "expired", ("rooms", "get", "0" * 24)),
        ("rooms.get", "hang", ("rooms", "get", "0" * 24, "--timeout", "0.5")),
        ("rooms.list", "cut", ("rooms", "list", "--timeout", "3")),
        ("rooms.create", "drop_after", ("rooms", "create", "--name", "A", "--on-unknown", "strict")),
        ("rooms.create", "status_after", ("rooms", "create", "--name", "A", "--on-unknown", "strict")),
        ("tokens.create", "drop_after", ("tokens", "create", "0" * 24, "--name", "A", "--user-ref", "u")),
        ("rooms.delete", "drop_after", ("rooms", "delete", "0" * 24, "--yes", "--timeout", "1")),
        ("dialin.get", "throttle", ("dialin", "--timeout", "0.5")),
    ],
)
def test_failed_calls_are_reported_without_python(
    cli: Cli, sandbox: Sandbox, route: str, kind: str, arguments: tuple[str, ...]
) -> None:
    sandbox.fault(route, kind, times=None, **({"retry_after": 30} if kind == "throttle" else {}))
    result = cli(*arguments)
    assert result.exit_code in (1, 3, 5), result.output
    assert result.stderr
    assert python_words(result.stderr.partition("To find out:")[0]) == [], result.stderr


def test_service_that_cannot_be_reached_is_reported_without_python(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:9", "https://no-such-host.invalid"):
        monkeypatch.setenv("VIDEOAPI_BASE_URL", url)
        result = cli("rooms", "get", "a", "--timeout", "1")
        assert result.exit_code == 5, result.output
        assert python_words(result.stderr) == [], result.stderr


def configuration_messages() -> Iterator[tuple[str, str]]:
    """Yield the constant texts of the errors that the library raises before anything is sent."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).parts[0]
        if place in ("cli", "sandbox", "testing.py", "pytest_plugin.py", "webhooks", "blocking", "telemetry"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("ConfigurationError", "ValidationError")
                and node.args
            ):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text_of(node.args[0])


def text_of(node: Any) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) if isinstance(value, ast.Constant) else "0" for value in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return ""


# What no command can cause: it has no option for it, or checks it first.
PROGRAMS_ONLY = (
    "--concurrency 0 is above most connections",
    "Set proxy, trust_env",
    "Give VIDEOAPI_APP_ID and VIDEOAPI_APP_KEY, or credentials=",
    "to= is empty",
    "to=0 is not a directory",
    "The unknown fields of this 0 were not kept",
    "settings are those of a room",
    "The middleware 0 returned",
    "A middleware",
    "rate=0:",
    "RetryPolicy(",
    "--audit 0:",
    "reference must come from new_reference()",
    "ssl_context must be",
    "Set --ca-file or ssl_context",
    "by=0:",
    "late=0:",
    "Another open client of this account on the same SessionManager",
    "gate must be a RedisGate",
    "gate= needs --rate:",
    "processes=0: give the number",
    "This gate has no rate=",
    "lease= takes what",
    "lease= needs a",
    "lease_ttl=",
    "shard_size=0 takes",
    "Give the broker",
)


def test_every_message_of_the_library_has_only_words_of_the_command_line() -> None:
    commands = ("create", "create-many", "resolve", "update")
    words = [*(f"rooms {name}" for name in commands), "tokens create", "cdr export", "archives download"]
    parameters = {parameter.name: parameter for command in words for parameter in in_command(command).command.params}
    left = []
    with click.Context(click.Command("all", params=list(parameters.values()))):
        for place, text in configuration_messages():
            shown = translate(text)
            if python_words(shown) and not shown.startswith(PROGRAMS_ONLY):
                left.append((place, shown))
    assert left == []


def all_commands() -> list[str]:
    def names(group: click.Group, context: click.Context, prefix: str = "") -> Iterator[str]:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from names(command, context, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}"

    assert isinstance(root, click.Group)
    return list(names(root, click.Context(root)))


@cache
def texts(folder: Path, *, without: tuple[str, ...] = ()) -> set[str]:
    """Return all texts in the code of a folder, with 0 for what is filled in."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        if path.relative_to(folder).parts[0] not in without:
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {text_of(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr)}
    return found


# Options that messages of the library name, each with the only command that such a message is of, or leads to.
ONLY_IN = {
    "--archives": "report",
    "--ca-file": "dialin",
    "--control": "rooms resolve",
    "--cursor": "rooms list",
    "--json": "report",
    "--overwrite": "report",
    "--param": "request",
    "--profile": "dialin",
    "--proxy": "dialin",
    "--recording-host": "archives download",
    "--workers": "rooms create-many",
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


@pytest.mark.parametrize("command", all_commands())
def test_a_limit_of_a_call_is_named_only_by_commands_that_set_it(command: str) -> None:
    limits = [parameter for parameter in in_command(command).command.params if parameter.name == "timeout"]
    sets_it = [getattr(limit, "help", "") for limit in limits] == ["Time limit for the call, including its retries."]
    with in_command(command):
        shown = translate("GET /rooms: no complete response within 90 s (timeout), attempt 2 of 3.")
    assert shown == f"GET /rooms: no complete response within 90 s{' (--timeout)' * sets_it}, attempt 2 of 3."


@pytest.mark.parametrize("command", all_commands())
def test_messages_of_the_library_name_only_options_that_the_command_has(command: str) -> None:
    context = in_command(command)
    own = {name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    library = texts(PACKAGE, without=("cli", "sandbox", "webhooks", "blocking", "telemetry", "taskiq", "dask"))
    with context:
        named = {option for text in library for option in OPTION.findall(translate(text))}
    assert named - own <= set(ONLY_IN)


def test_options_in_messages_exist() -> None:
    options = {command: in_command(command).command.params for command in all_commands()}
    for option, command in ONLY_IN.items():
        assert any(option in parameter.opts for parameter in options[command]), option
    options["sandbox"] = in_command("sandbox").command.params
    every = {name for found in options.values() for one in found for name in (*one.opts, *one.secondary_opts)}
    named = {option for text in texts(PACKAGE / "cli") for option in OPTION.findall(text)}
    assert named - every == {"--help", "--no-"}
