"""The events of the service: one frozen class per documented type, and one for all others."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Self, TypeVar, cast

import attrs

from videoapi.errors import ValidationError
from videoapi.models.base import Kept, Model, set_extra
from videoapi.models.fields import unknown
from videoapi.models.redaction import redact_urls, redact_within
from videoapi.models.strict_json import DecodeError, clean
from videoapi.webhooks.field_readers import PartlyReadable, read_count, read_text, read_time, read_urls

_M = TypeVar("_M", bound=Model)


@attrs.frozen(repr=False, kw_only=True)
class TransferDestination(Model):
    """The storage to which the service has delivered files.

    Args:
        name: The kind of storage: `awss3`, `ftp`, `sftp`, `ssh`, or another one. [doc]
        host: The server, for `ftp`, `sftp` and `ssh`. [doc]
        account: The account, for `awss3`. [doc]

    Source: docs/contract.md 6.
    """

    composed: ClassVar[bool] = True

    name: str | None = None
    host: str | None = attrs.field(default=None, repr=redact_within)
    account: str | None = attrs.field(default=None, repr=redact_within)
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build the destination from the result of `to_dict`; a value that it cannot have goes to `extra`.

        Args:
            fields: Values by API field name; unknown ones go to `extra`.
        """
        return _build(cls, _cleaned(fields, cls))


def _read_destination(value: Any) -> TransferDestination:
    if isinstance(value, TransferDestination):
        return value
    if not isinstance(value, Mapping):
        raise DecodeError("expected an object")
    return _build(TransferDestination, value)


@attrs.frozen(repr=False, kw_only=True)
class WebhookEvent(Model):
    """An event of the service. A handler of this class receives the events of every type.

    An event proves only that its sender knew your credentials, if you set any. Read the record that it refers to before
    you act on it.

    Args:
        type: The type, such as `roomdrop`. [doc]
        trans_date: When it happened, an aware datetime in UTC; the service sends a Unix time. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        conf_num: The session; the same as in its call records and archive. Older texts call it `conf_key`. [doc]

    Source: docs/contract.md 6.
    """

    composed: ClassVar[bool] = True

    type: str
    trans_date: datetime | None = attrs.field(default=None, metadata={"reader": read_time})
    app_id: str | None = None
    room_id: str | None = None
    conf_num: str | None = None
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    @property
    def digest(self) -> str:
        """The identity of the event: 64 hexadecimal digits, derived from its content in whatever order."""
        content = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by API field name, plus `extra`; `trans_date` as ISO 8601 text."""
        wire = super().to_dict()
        if self.trans_date is not None:
            wire["trans_date"] = self.trans_date.isoformat()
        return wire

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build the event from the result of `to_dict`, or from a parsed body.

        A field with a value that it cannot have reads None, and the value goes to `extra`. Called on `WebhookEvent`,
        it returns an event of the class that belongs to the type.

        Args:
            fields: Values by API field name; unknown ones go to `extra`.

        Raises:
            ValidationError: If `fields` is not a mapping, or has no `type` that is text.
        """
        cleaned = _cleaned(fields, cls)
        kind = cleaned.get("type")
        if not is_type(kind):
            raise ValidationError(f"Not a valid {cls.__name__}: type: expected text that is not empty.", field="type")
        return cast(Self, build_event(cleaned, None if cls is WebhookEvent else cls))


@attrs.frozen(repr=False, kw_only=True)
class SessionEnded(WebhookEvent):
    """A session has ended (`roomdrop`).

    Read its call records with `client.cdr.by_conference(event.conf_num)`. Some may be added later.

    Args:
        type: `roomdrop`. [doc]
        trans_date: When it happened, an aware datetime in UTC. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        conf_num: The session; the same as in its call records and archive. [doc]

    Source: docs/contract.md 6.
    """

    type: str = "roomdrop"


@attrs.frozen(repr=False, kw_only=True)
class RecordingReady(WebhookEvent):
    """The recordings of a session exist (`recording`): files of individual streams.

    `Transcoded` announces the converted video, which can be watched.

    Args:
        type: `recording`. [doc]
        trans_date: When it happened, an aware datetime in UTC. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        conf_num: The session; the same as in its call records and archive. [doc]
        recording: The URLs of the files. Their queries may be secrets, and the repr omits them. [doc]

    Source: docs/contract.md 6.
    """

    type: str = "recording"
    recording: tuple[str, ...] | None = attrs.field(default=None, metadata={"reader": read_urls}, repr=redact_urls)


@attrs.frozen(repr=False, kw_only=True)
class Transcoded(WebhookEvent):
    """A converted recording of a session exists (`transcoded`), and can be watched.

    A session may have several; nothing says which one is the last.

    Args:
        type: `transcoded`. [doc]
        trans_date: When it happened, an aware datetime in UTC. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        conf_num: The session; the same as in its call records and archive. [doc]
        recording: The URLs of the files; the service documents a single one. The repr omits their queries. [doc]
        stage: The sequence number of the file: a number, or text if it is not a number. [doc]
        file_size: The size in bytes: a number, or text if it is not a number. [doc]

    Source: docs/contract.md 6.
    """

    type: str = "transcoded"
    recording: tuple[str, ...] | None = attrs.field(default=None, metadata={"reader": read_urls}, repr=redact_urls)
    stage: int | str | None = attrs.field(default=None, metadata={"reader": read_count})
    file_size: int | str | None = attrs.field(default=None, metadata={"reader": read_count})


@attrs.frozen(repr=False, kw_only=True)
class FileTransferred(WebhookEvent):
    """The service has delivered the files of a session to your storage (`file-transfer`).

    Args:
        type: `file-transfer`. [doc]
        trans_date: When it happened, an aware datetime in UTC. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        conf_num: The session; the same as in its call records and archive. [doc]
        destination: The storage to which they were delivered. [doc]
        files: The URLs of the files; other facts about a file are in `extra["files"]`. The repr omits the queries.
            [doc]

    Source: docs/contract.md 6.
    """

    type: str = "file-transfer"
    destination: TransferDestination | None = attrs.field(default=None, metadata={"reader": _read_destination})
    files: tuple[str, ...] | None = attrs.field(default=None, metadata={"reader": read_urls}, repr=redact_urls)


@attrs.frozen(repr=False, kw_only=True)
class UnknownEvent(WebhookEvent):
    """An event of a type that this version does not know; its own fields are in `extra`.

    Args:
        type: The type, which is not one of the other classes. [doc, unknown]
        trans_date: When it happened, an aware datetime in UTC. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        conf_num: The session; the same as in its call records and archive. [doc]

    Source: docs/contract.md 6.
    """


_CLASSES: Final[Mapping[str, type[WebhookEvent]]] = {
    "roomdrop": SessionEnded,
    "recording": RecordingReady,
    "transcoded": Transcoded,
    "file-transfer": FileTransferred,
}


def is_type(value: object) -> bool:
    """Return whether a value can be the `type` of an event."""
    return isinstance(value, str) and bool(value.strip())


def build_event(fields: Mapping[str, Any], cls: type[WebhookEvent] | None = None) -> WebhookEvent:
    """Build an event from cleaned JSON with a valid `type`; `cls` is that of the type by default."""
    if not fields.get("conf_num") and fields.get("conf_key"):
        fields = {**fields, "conf_num": fields["conf_key"]}
        del fields["conf_key"]
    return _build(cls or _CLASSES.get(fields["type"].strip(), UnknownEvent), fields)


def _cleaned(fields: Any, cls: type[Model]) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping):
        raise ValidationError(f"Not a valid {cls.__name__}: expected an object.")
    cleaned: Mapping[str, Any] = clean(fields)[0]
    return cleaned


def _build(cls: type[_M], fields: Mapping[str, Any]) -> _M:
    # A field is read by the reader in its metadata, or as text.
    values: dict[str, Any] = {}
    odd: dict[str, Any] = {}
    for field in attrs.fields(cast(Any, cls)):
        found = fields.get(field.name)
        if found is None or field.name == "_extra":
            continue
        reader = field.metadata.get("reader", read_text)
        try:
            values[field.name] = reader(found)
        except DecodeError as error:
            odd[field.name] = found
            values[field.name] = error.value if isinstance(error, PartlyReadable) else None
    built = cls(**values)
    set_extra(built, unknown(cls, fields) | odd)
    return built
