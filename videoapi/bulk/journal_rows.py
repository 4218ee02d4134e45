"""What the journal stores of an item of a bulk run, or of a room in the list."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final

from videoapi.bulk.sending import BulkItem
from videoapi.creation.changes import identity_of
from videoapi.creation.references import with_location
from videoapi.creation.scan import ListedRoom
from videoapi.protocol.envelope import InvalidJSON, parse

_YIELD_EVERY: Final = 500


def entry_of(item: BulkItem) -> str:
    """Return the journal key of an item, independent of where the room carries the reference."""
    return with_location(reference_of(item), in_data=False)


def identity_hash(item: BulkItem) -> str:
    """Return a hash of the room's name and `owner_ref`, which identify it to the caller."""
    return _hash(identity_of(item.given.name, item.given.owner_ref))


def spec_hash(item: BulkItem) -> str:
    """Return a hash of the request body, which shows whether the spec has changed."""
    return hashlib.blake2s(item.request.body or b"{}", digest_size=16).hexdigest()


async def rows_of(listed: Iterable[ListedRoom]) -> list[tuple[str, str, str]]:
    """Return what the journal takes over from listed rooms, without holding the event loop."""
    rows = []
    for number, room in enumerate(listed, 1):
        rows.append(row_of(room))
        if number % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
    return rows


def row_of(listed: ListedRoom) -> tuple[str, str, str]:
    """Return what the journal takes over from a listed room."""
    try:
        room = parse(listed.raw or b"")
    except InvalidJSON:
        room = {}
    name, owner_ref = room.get("name"), room.get("owner_ref")
    # A list that omits the name says nothing about it.
    known = name is not None and (owner_ref is not None or not listed.in_owner_ref)
    identity = _hash(identity_of(name, None if owner_ref == listed.reference else owner_ref)) if known else ""
    return with_location(listed.reference, in_data=False), identity, listed.room_id


def _hash(identity: bytes) -> str:
    return hashlib.blake2s(identity, digest_size=8).hexdigest()


def reference_of(item: BulkItem) -> str:
    """Return the reference that is sent with an item."""
    assert item.request.reference is not None
    return item.request.reference
