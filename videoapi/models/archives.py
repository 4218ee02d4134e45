"""Archives: the recordings and other files of a session that is over."""

from datetime import datetime
from typing import ClassVar

import attrs

from videoapi.models.base import Model
from videoapi.models.redaction import redact_url, redact_urls
from videoapi.models.times import parse_time


@attrs.frozen(repr=False, kw_only=True)
class FileLink(Model):
    """Where a file lies. Source: docs/contract.md 5.3."""

    url: str | None = attrs.field(default=None, repr=redact_url)


@attrs.frozen(repr=False, kw_only=True)
class ArchiveFile(Model):
    """A file that can be downloaded.

    Args:
        kind: `recording`, `transcoded`, `chatdata` or `metadata`.
        url: Where it lies. Its query may be a secret; a repr leaves it out.
        archive_id: The archive it belongs to.
        room_id: The room it is of.
        conf_num: The session it is of.
        trans_date: The archive's time, as on the wire.
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
    """The files of one session; the service keeps them for 72 hours. Source: docs/contract.md 5.3."""

    _id: str | None = None
    trans_date: str | None = None
    conf_num: str | None = None
    app_id: str | None = None
    room_id: str | None = None
    recording: _Links = attrs.field(default=None, repr=redact_urls)
    transcoded: _Links = attrs.field(default=None, repr=redact_urls)
    chatdata: _Links = attrs.field(default=None, repr=redact_urls)
    metadata: _Links = attrs.field(default=None, repr=redact_urls)

    @property
    def archive_id(self) -> str | None:
        """The service's id of the archive."""
        return self._id

    @property
    def trans_at(self) -> datetime | None:
        """When the archive was made, aware, in UTC."""
        return parse_time(self.trans_date)

    @property
    def identity(self) -> str | None:
        """What makes the archive one and the same when it is read again; None where it has no id."""
        return self._id or None

    @property
    def files(self) -> tuple[ArchiveFile, ...]:
        """Every file of the archive, in order: recordings, transcoded ones, chat, metadata."""
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
