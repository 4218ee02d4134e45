"""Errors of the library in the words of the command line: flags and variables instead of Python arguments.

A parameter of a command has the name of the library's argument that it sets, so the running command says how each
argument is written: `settle` is `--settle`, and `start` is FROM. What no command has as a parameter comes from the
environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import click

from videoapi.cli.client_options import CallLimit
from videoapi.errors import ConfigurationError


class CommandError(ConfigurationError):
    """An error of the command, not of the library: its message has the reader's words, such as keys of a file."""


# Sentences that only a program can follow, or that have more than one name in them.
_PHRASES: Final = (
    (re.compile(r" Before [^.]*, call rooms\.resolve\([^)]*\)\."), ""),
    (re.compile(r"^No credentials: give (.*)\.$"), r"No credentials: run videoapi login, or give --profile, or \1."),
    (re.compile(r"app_id= or (?=VIDEOAPI_APP_ID)"), ""),
    (re.compile(r"app_key= or VIDEOAPI_APP_KEY"), "--app-key-file or VIDEOAPI_APP_KEY"),
    (re.compile(r"allow_http=True \((VIDEOAPI_ALLOW_HTTP=1)\)"), r"\1"),
    (re.compile(r"see allow_http="), "see VIDEOAPI_ALLOW_HTTP"),
    (re.compile(r"Invalid proxy:"), "Invalid --proxy or VIDEOAPI_PROXY:"),
    (re.compile(r"\bRedis(?:Gate|Leases): (?=invalid URL|the URL)"), "--redis or VIDEOAPI_REDIS: "),
    (re.compile(r"\bRedis(?:Gate|Leases): (?=redis-py)"), ""),
    (re.compile(r"\bRedisGate(?= at .* failed: )"), "Redis"),
    (
        re.compile(r"this process sends at its own part of each account's rate: rate / \(2 x \d+ processes\)"),
        "this process sends at half of its share of the rate",
    ),
    (re.compile(r"^account \S+ at \S+ paused for ([\d.]+) s after "), r"waiting \1 s: too many requests, "),
    (re.compile(r", which anyone who can read the queue could read\."), ", which worker processes are not given."),
    (re.compile(r"in one process, without a queue\."), "without --workers."),
    (re.compile(r"recording_auth=\(user, password\), or "), ""),
    (re.compile(r"recording_auth=\(user, password\)"), "VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD"),
    (re.compile(r"to which recording_auth= is not sent"), "to which the recording user and password are not sent"),
    (re.compile(r"recording_hosts=\[('[^']*')\]"), r"--recording-host \1"),
    (re.compile(r", or update that room"), ""),
    (re.compile(r", or name= another name"), ""),
    (re.compile(r"; give name= another name"), "; move it away"),
    (re.compile(r"; allow_remote=True if that is meant"), ""),
    (re.compile(r"`page\.cursor` or `stream\.cursor`"), "the output of an earlier run"),
    (re.compile(r"the cursor, or omit the cursor"), "the cursor, or leave out --cursor"),
    (re.compile(r" \w+(?: on)? from the error's `cursor`(?: later)?\."), ""),
    (re.compile(r" Further ones are logged at DEBUG\."), ""),
    (re.compile(r" \((?:attempt_timeout|connect_timeout)\)"), ""),
    (re.compile(r"\bmax_connections="), "most connections: "),
    (re.compile(r"put a query into params"), "give a query with --param"),
    (re.compile(r"`record\.conf_num`"), "the conf_num of a record"),
    (re.compile(r"expected the `reference` of an error or outcome"), "expected one such as vx and 26 characters"),
    (re.compile(r" or use datetime\([^)]*\)"), ""),
    (re.compile(r"must be a date, YYYY-MM-DD, or an aware datetime at midnight UTC"), "must be a day, YYYY-MM-DD"),
    (re.compile(r"give a date, or a datetime at midnight UTC"), "give YYYY-MM-DD"),
)
# Where a command has no parameter for an argument: the variable, or the option of the command that is needed next.
_ELSEWHERE: Final = {
    "allow_http": "VIDEOAPI_ALLOW_HTTP",
    "app_id": "VIDEOAPI_APP_ID",
    "app_key": "VIDEOAPI_APP_KEY",
    "base_url": "VIDEOAPI_BASE_URL",
    "ca_file": "--ca-file",
    "control": "--control",
    "proxy": "--proxy",
    "recording_auth": "VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD",
    "recording_hosts": "--recording-host",
}
_FLAG: Final = re.compile(r"(?<![\w.])([a-z]\w*)=True\b")
_VALUE: Final = re.compile(r"(?<![\w.])([a-z]\w*)=(?=[^\s,.;:)])")
_NAMED: Final = re.compile(r"(?<![\w.])([a-z]\w*)=(?=[\s,.;:)]|$)")
# No word of English has an underscore.
_WORD: Final = re.compile(r"(?<![\w.'/{-])([a-z]+(?:_[a-z]+)+)(?![\w'/=}])")
_BEGINNINGS: Final = ("", "Invalid ")
_LIMIT: Final = re.compile(r" \(timeout\)")
"""The limit of a call, which not every command has an option for."""


def translate(text: str, field: str | None = None) -> str:
    """Return a message of the library with the flags of the running command, without advice to a program.

    Args:
        text: The message.
        field: The argument or field that the message is about, or None.
    """
    flags = _flags()
    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    if field is not None and (name := _name(field, flags)) is not None:
        for beginning in _BEGINNINGS:
            if re.match(rf"{re.escape(beginning + field)}(?!\w)", text):
                text = f"{beginning}{name}{text[len(beginning + field) :]}"
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("room_id"):
        text = text.replace("{room_id}", str(context.params["room_id"]))
    text = _FLAG.sub(_by(flags, "{0}"), text)
    text = _VALUE.sub(_by(flags, "{0} "), text)
    text = _NAMED.sub(_by(flags, "{0}"), text)
    text = _WORD.sub(_by(flags, "{0}"), text)
    return _LIMIT.sub(" (--timeout)" if _limits_a_call() else "", text)


def option_names(parameters: Iterable[click.Parameter]) -> dict[str, str]:
    """Return how each parameter of a command is written, by the name of the argument that it sets."""
    return {
        parameter.name: (
            max(parameter.opts, key=len)
            if isinstance(parameter, click.Option)
            else (parameter.metavar or parameter.name.upper()).strip("[].")
        )
        for parameter in parameters
        if parameter.name
    }


def _flags() -> Mapping[str, str]:
    context = click.get_current_context(silent=True)
    return _ELSEWHERE | (option_names(context.command.params) if context is not None else {})


def _limits_a_call() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and any(isinstance(parameter, CallLimit) for parameter in context.command.params)


def _name(argument: str, flags: Mapping[str, str]) -> str | None:
    """Return how an argument is written; None if the running command has no word for it, as for the cell of a file."""
    group, _, setting = argument.rpartition(".")
    if group == "settings" and setting not in flags:
        return f"{flags['setting']} {setting}" if "setting" in flags else None
    return flags.get(setting) if group in ("", "settings") else None


def _by(flags: Mapping[str, str], form: str) -> Callable[[re.Match[str]], str]:
    def replaced(match: re.Match[str]) -> str:
        name = flags.get(match[1])
        return match[0] if name is None else form.format(name)

    return replaced
