"""Archives: the recordings and other files of a finished session."""

from datetime import datetime
from typing import ClassVar

import attrs

from videoapi.models.base import Kept, Model
from videoapi.models.redaction import redact_url, redact_urls
from videoapi.models.times import parse_time


@attrs.frozen(repr=False, kw_only=True)
class FileLink(Model):
    """A link to an archived file.

    Args:
        url: The file's URL. Its query may be a secret, and the repr omits it. [doc]

    Source: docs/contract.md 5.3.
    """

    # "exact": a number is not a URL.
    url: str | None = attrs.field(default=None, repr=redact_url, metadata={"exact": True})
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(repr=False, kw_only=True)
class ArchiveFile(Model):
    """A downloadable file.

    The service documents no ID of a file, nor whether its URL stays the same. The command line identifies a file by
    `archive_id`, `kind` and the URL without its query, which may be a signature that changes with each request. Files
    that differ only in the query count as different ones. Brackets say how a field is known: see `RoomSettings`.

    Args:
        kind: `recording`, `transcoded`, `chatdata` or `metadata`. [doc]
        url: The file's URL. Its query may be a secret, and the repr omits it. [doc]
        archive_id: The archive that contains the file. [doc]
        room_id: The room of the session. [doc]
        conf_num: The conference number of the session. [doc]
        trans_date: The archive's time, as in the response. [doc]
    """

    composed: ClassVar[bool] = True

    kind: str
    url: str = attrs.field(repr=redact_url)
    archive_id: str | None = None
    room_id: str | None = None
    conf_num: str | None = None
    trans_date: str | None = None


_Links = tuple[FileLink | str | None, ...] | str | None


@attrs.frozen(repr=False, kw_only=True)
class Archive(Model):
    """The files of one session; the service keeps them for 72 hours.

    A kind of file may be a list of links, a single one, or a URL; `files` lists all of them in one form.
    Each field says how it is known: "doc" means that the service documents it, "code" that programs use it.

    Args:
        _id: The archive's ID; read it as `archive_id`. [doc]
        trans_date: When the archive was created, ISO 8601 in UTC, as in the response. `trans_at` is the parsed
            time. [doc]
        conf_num: The session; the same as in its call records. [doc]
        app_id: The APP_ID of your project. [doc]
        room_id: The ID of the room. [doc]
        recording: Recordings, presumably of single streams; a list of objects with `url`. [doc]
        transcoded: Recordings that were composed and converted; a list of objects with `url`. [doc]
        chatdata: The chat of the session; a URL. [doc]
        metadata: Presumably describes the session's files; a URL. [doc]

    Source: docs/contract.md 5.3.
    """

    _id: str | None = None
    trans_date: str | None = None
    conf_num: str | None = None
    app_id: str | None = None
    room_id: str | None = None
    recording: _Links = attrs.field(default=None, repr=redact_urls)
    transcoded: _Links = attrs.field(default=None, repr=redact_urls)
    chatdata: _Links = attrs.field(default=None, repr=redact_urls)
    metadata: _Links = attrs.field(default=None, repr=redact_urls)
    _extra: Kept = attrs.field(default=None, repr=False, eq=False)

    @property
    def archive_id(self) -> str | None:
        """The archive's ID."""
        return self._id

    @property
    def trans_at(self) -> datetime | None:
        """When the archive was created (aware, UTC)."""
        return parse_time(self.trans_date)

    @property
    def identity(self) -> str | None:
        """The ID that identifies the archive when it is read again; None if it has no ID."""
        return self._id or None

    @property
    def files(self) -> tuple[ArchiveFile, ...]:
        """All files of the archive, in this order: recordings, transcoded files, chat, metadata."""
        return tuple(
            ArchiveFile(
                kind=kind,
                url=url,
                archive_id=self._id,
                room_id=self.room_id,
                conf_num=self.conf_num,
                trans_date=self.trans_date,
            )
            for kind in ("recording", "transcoded", "chatdata", "metadata")
            for url in _urls(getattr(self, kind))
        )


def _urls(links: _Links) -> list[str]:
    listed = (links,) if isinstance(links, str) else links or ()
    urls = (link.url if isinstance(link, FileLink) else link for link in listed)
    return [url for url in urls if url]
