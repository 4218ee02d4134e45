"""The options of a run of creates, and which of them go together."""

from __future__ import annotations

import os
from typing import Literal

import attrs

from videoapi.bulk.lease import Lease
from videoapi.config import one_of
from videoapi.creation.create_request import new_reference
from videoapi.errors import ConfigurationError


@attrs.frozen(kw_only=True)
class JobOptions:
    """Options of a run of creates.

    Args:
        job_id: Names the job, so that another process can resume it.
        resumable: Whether the caller passed the ID, so that an earlier process may have started the job.
        journal: Path of the journal file, or None.
        resend: Whether a create that is proven absent is sent again.
        dedupe: Whether duplicate rooms are deleted at the end.
        audit: Whether the room list is read at the end; `settled` first waits one settle time.
        keep_rooms: Whether outcomes carry their room.
        lease: The lease of the shard of the job that this run creates, or None if it creates the whole job.
    """

    job_id: str
    resumable: bool
    journal: str | os.PathLike[str] | None = None
    resend: bool = True
    dedupe: bool = False
    audit: bool | Literal["settled"] = True
    keep_rooms: bool = False
    lease: Lease | None = None


def job_options(
    job_id: str | None,
    journal: str | os.PathLike[str] | None,
    on_unknown: str,
    dedupe: str,
    audit: bool | Literal["settled"],
    keep_rooms: bool,
    lease: Lease | None,
) -> JobOptions:
    """Return the options of a run of creates.

    Raises:
        ConfigurationError: If they are invalid, or exclude each other.
    """
    one_of("on_unknown", on_unknown, ("resend", "strict"))
    if audit not in (True, False, "settled"):
        raise ConfigurationError(f"audit={audit!r}: give True, False or 'settled'.")
    one_of("dedupe", dedupe, ("report", "delete"))
    if job_id is not None:
        check_job_id(job_id)
    if journal is not None and job_id is None:
        raise ConfigurationError("journal= needs a job_id=, by which a later run finds what was under way.")
    if lease is not None:
        _check_shard(lease, job_id, journal, dedupe, audit)
    return JobOptions(
        job_id=job_id or new_reference(),
        resumable=job_id is not None,
        journal=journal,
        resend=on_unknown == "resend",
        dedupe=dedupe == "delete",
        audit=audit if lease is None else False,
        keep_rooms=keep_rooms,
        lease=lease,
    )


def check_job_id(job_id: object) -> None:
    """Raise ConfigurationError if this cannot name a job."""
    if not isinstance(job_id, str) or not job_id:
        raise ConfigurationError("job_id must be a text that is not empty.")
    if not _is_encodable(job_id):
        raise ConfigurationError("job_id contains a lone surrogate, which no file can hold.")


def _check_shard(
    lease: Lease, job_id: str | None, journal: object, dedupe: str, audit: bool | Literal["settled"]
) -> None:
    if not callable(getattr(lease, "left", None)):
        raise ConfigurationError(
            "lease= takes what RedisLeases.hold() yields, or any object with `fresh` and `left()`."
        )
    if job_id is None:
        raise ConfigurationError("lease= needs a job_id=, which all shards of the job have in common.")
    if journal is not None:
        raise ConfigurationError(
            "journal= is a file of one machine, and another worker may have had the lease before: leave it out."
        )
    if dedupe == "delete":
        raise ConfigurationError("dedupe='delete' could delete a room that another worker has just reported.")
    if audit == "settled":
        raise ConfigurationError("A shard is not audited. Call rooms.audit(job_id, specs) after the last one.")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
