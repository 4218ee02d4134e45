"""Switches for behavior that the service documents inconsistently: one field per switch, its default first."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from videoapi.sandbox.rate_limit import RateLimit

SwitchCheck = Callable[[object, "attrs.Attribute[Any]"], object]


def _choice(value: object, field: "attrs.Attribute[Any]") -> object:
    choices: tuple[object, ...] = field.metadata["choices"]
    spelled = ("null", "nothing", "none") if value is None else (str(value).lower(),)
    for choice in choices:
        if str(choice).lower() in spelled:
            return choice
    known = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"switch {field.name}: {value!r} is not one of {known}")


def _amount(value: object, field: "attrs.Attribute[Any]") -> object:
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if number < 0 or isinstance(value, bool):
        raise ValueError(f"switch {field.name}: {value!r} is neither None nor a number from 0 on")
    return int(number) if number.is_integer() else number


def _rate(value: object, field: "attrs.Attribute[Any]") -> object:
    if value is None or str(value).strip().lower() == "none":
        return None
    try:
        return RateLimit.parse(value)
    except ValueError as error:
        raise ValueError(f"switch {field.name}: {error}") from None


def _convert(value: object, _: object, field: "attrs.Attribute[Any]") -> object:
    check: SwitchCheck = field.metadata["check"]
    return check(value, field)


def _one_of(*choices: object) -> Any:
    return attrs.field(
        default=choices[0],
        converter=attrs.Converter(_convert, takes_self=True, takes_field=True),
        metadata={"choices": choices, "check": _choice},
    )


def _number(default: float | None = None, check: SwitchCheck = _amount) -> Any:
    return attrs.field(
        default=default,
        converter=attrs.Converter(_convert, takes_self=True, takes_field=True),
        metadata={"check": check},
    )


@attrs.define(kw_only=True)
class Switches:
    """The sandbox's switches; assigning an unknown value raises `ValueError`.

    Args:
        result_as: The type of `result` in errors: `number` or `string`.
        cdr_result: The type of `result` in lists of records: `string` or `number`.
        dialin_result: Whether the response with the dial-in numbers has no `result` (`absent`) or `0`.
        envelope: The form of all errors: `result`, or the newer `status`.
        status_mode: `real` HTTP statuses, or 200 on everything (`legacy200`).
        create_status: The HTTP status of a create: 200 or 201.
        auth_failure_body: The body of a refused login: `result`, `sms`, `status` or `empty`.
        strict: Whether numbers as text, and similar deviations, are rejected.
        unknown_settings: Whether unknown settings are rejected (`reject`) or ignored (`drop`).
        unknown_room: The result code for a room that does not exist: 40001 or 50007.
        delete_active: The result code for deleting a room with a running session: 50004 or 10030.
        adhoc_rule: When an ad hoc room ends: after its `duration`, or always after one session (`single`).
        seats: Whether only users in the session take a seat (`present`), or valid tokens too (`issued`).
        room_keys: The year whose keys a room has: `2021`, `2018`, or those of `v2`.
        sip_ids: The type of the SIP IDs: `number` or `string`.
        project_quality: The project's highest quality: `HD`, `SD` or `LD`.
        echo: How responses contain `owner_ref` and `data`: `exact`, `lower`, `truncate` or `no_data`.
        list_omits: What the room list leaves out: `nothing`, `data` or `owner_ref`.
        list_echo: The same as `echo`, for the room list only.
        list_cap: Maximum number of rooms in the list; None for all.
        list_keeps: Which rooms a capped list has: the `oldest` or the `newest`.
        list_lag: Seconds until a new room is in the list.
        get_lag: Seconds until a new room can be read.
        idle_users: The users of an idle room: `null`, `[]` or `absent`.
        period_end: Whether the last day of a period is `inclusive` or `exclusive`.
        cdr_schema: The shape of call records: `new` or `old`.
        cdr_order: Their order: `ascending`, `descending` or `shuffled`.
        empty_archive: An archive without files: `[]`, `null`, or an item without files (`bare`).
        file_refusal: The HTTP status of a refused file: 403 or 401.
        webhook_content_type: The `Content-Type` of notifications: `text/plain`, `application/json` or `none`.
        webhook_values: The type of the numbers in notifications: `string` or `number`.
        webhook_time: The unit of their `trans_date`: `s` or `ms`.
        webhook_retry: How often a notification is repeated until the response is 200.
        rate_limit: Maximum number of requests per second; None for no limit.
        retry_after: The `Retry-After` of a 429: `absent`, `seconds` or `date`.
        limited_executes: Whether the service executes a request to which it responds with 429.
        file_size: The size of each recording in bytes; None varies it.
        file_hours: How long files are kept, in hours.

    Source: docs/contract.md 10.
    """

    result_as: str = _one_of("number", "string")
    cdr_result: str = _one_of("string", "number")
    dialin_result: str = _one_of("absent", "0")
    envelope: str = _one_of("result", "status")
    status_mode: str = _one_of("real", "legacy200")
    create_status: int = _one_of(200, 201)
    auth_failure_body: str = _one_of("result", "sms", "status", "empty")
    strict: bool = _one_of(False, True)
    unknown_settings: str = _one_of("reject", "drop")
    unknown_room: int = _one_of(40001, 50007)
    delete_active: int = _one_of(50004, 10030)
    adhoc_rule: str = _one_of("duration", "single")
    seats: str = _one_of("present", "issued")
    room_keys: str = _one_of("2021", "2018", "v2")
    sip_ids: str = _one_of("number", "string")
    project_quality: str = _one_of("HD", "SD", "LD")
    echo: str = _one_of("exact", "lower", "truncate", "no_data")
    list_omits: str = _one_of("nothing", "data", "owner_ref")
    list_echo: str = _one_of("exact", "lower", "truncate", "no_data")
    list_cap: int | None = _number()
    list_keeps: str = _one_of("oldest", "newest")
    list_lag: float = _number(0)
    get_lag: float = _number(0)
    idle_users: str = _one_of("null", "[]", "absent")
    period_end: str = _one_of("inclusive", "exclusive")
    cdr_schema: str = _one_of("new", "old")
    cdr_order: str = _one_of("ascending", "descending", "shuffled")
    empty_archive: str = _one_of("[]", "null", "bare")
    file_refusal: int = _one_of(403, 401)
    webhook_content_type: str = _one_of("text/plain", "application/json", "none")
    webhook_values: str = _one_of("string", "number")
    webhook_time: str = _one_of("s", "ms")
    webhook_retry: int = _number(0)
    rate_limit: RateLimit | None = _number(check=_rate)  # noqa: RUF009 - an attrs field
    retry_after: str = _one_of("seconds", "date", "absent")
    limited_executes: bool = _one_of(False, True)
    # Not in the documented table: size of recordings in bytes (None: it varies), and hours they are kept.
    file_size: int | None = _number()
    file_hours: float | None = _number(72)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> "Switches":
        """Build the switches from names and values.

        Args:
            values: Values by the name of the switch.

        Raises:
            ValueError: If a name or value is unknown; the message lists the known ones.
        """
        switches = cls()
        switches.set(values)
        return switches

    def set(self, values: Mapping[str, object]) -> None:
        """Change switches, all of the given ones or none.

        Args:
            values: Values by the name of the switch.

        Raises:
            ValueError: If a name or value is unknown; nothing was changed.
        """
        known = attrs.fields_dict(type(self))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown switch {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        changed = attrs.evolve(self, **dict[str, Any](values))
        for name in values:
            setattr(self, name, getattr(changed, name))
