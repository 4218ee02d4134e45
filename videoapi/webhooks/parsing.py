"""From the body of a delivery to an event."""

from collections.abc import Mapping
from typing import Any

from videoapi.models.strict_json import DecodeError, loads_record
from videoapi.webhooks.errors import InvalidEvent
from videoapi.webhooks.events import WebhookEvent, build_event, is_type

_BOM = b"\xef\xbb\xbf"


def parse_event(body: bytes | str) -> WebhookEvent:
    """Parse the body of a delivery, or the result of an event's `to_json`. No credentials are checked.

    Args:
        body: The JSON text; its content type does not matter.

    Returns:
        An event of the class that belongs to its type; `UnknownEvent` for an unknown one.

    Raises:
        InvalidEvent: If the body is not JSON, not an object, or has no `type`. The message contains nothing of it.
    """
    found = read_event(body)
    # Error reporters store the variables of the frames of an error.
    del body
    if isinstance(found, InvalidEvent):
        raise found
    return found


def read_event(body: object) -> WebhookEvent | InvalidEvent:
    """Return the event in a body, or the error for a body that has none."""
    fields, problem = _fields_of(body)
    return InvalidEvent(f"Not an event: {problem}. Not handled.") if problem else build_event(fields)


def _fields_of(body: Any) -> tuple[Mapping[str, Any], str]:
    try:
        raw = body.encode() if isinstance(body, str) else bytes(body) if _is_binary(body) else None
    except UnicodeEncodeError:
        return {}, "not valid JSON"
    if raw is None:
        return {}, f"expected bytes or text, not {type(body).__name__}"
    try:
        value, _ = loads_record(raw.removeprefix(_BOM))
    except DecodeError as error:
        return {}, error.problem
    if not isinstance(value, dict):
        return {}, "the JSON is not an object"
    if not is_type(value.get("type")):
        return {}, "the object has no type"
    return value, ""


def _is_binary(body: object) -> bool:
    return isinstance(body, (bytes, bytearray, memoryview))
