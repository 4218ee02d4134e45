"""The shards of a job: which spec belongs to which, whatever else is in the job. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import attrs

from videoapi.creation.references import JobReferences
from videoapi.models.rooms import RoomSpec
from videoapi.sharding.spec_json import specs_to_json


@attrs.frozen(kw_only=True)
class Shard:
    """A part of a job that one worker creates at a time.

    Args:
        name: Names its lease.
        indices: The positions of its specs in the job, from 0.
        specs: The specs as JSON text.
    """

    name: str
    indices: tuple[int, ...]
    specs: str = attrs.field(repr=False)


def shards_of(job_id: str, specs: Iterable[tuple[int, RoomSpec]], count: int) -> list[Shard]:
    """Return the shards of a job, without empty ones.

    The key of a spec alone decides about its shard. So the same lease protects it in every run of the job, even if
    other specs were added, fixed or left out since.

    Args:
        job_id: The job.
        specs: Valid specs, each with its position.
        count: Number of shards of the job, the same in all its runs.
    """
    references = JobReferences(job_id)
    parts: dict[int, list[tuple[int, RoomSpec]]] = {}
    for index, spec in specs:
        digest = hashlib.blake2s(references.of_key(spec.key).encode(), digest_size=8).digest()
        parts.setdefault(int.from_bytes(digest) % count, []).append((index, spec))
    return [
        Shard(
            name=f"{number + 1}/{count}",
            indices=tuple(index for index, _ in part),
            specs=specs_to_json(spec for _, spec in part),
        )
        for number, part in sorted(parts.items())
    ]
