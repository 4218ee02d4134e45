"""A room, a token, a list, and the end of the room.

For servers only: never put an APP_KEY into a program that runs at a user's.
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… python quickstart.py
"""

import asyncio

from videoapi import RoomSettings, VideoClient


async def main() -> None:
    async with VideoClient() as client:
        room = await client.rooms.create(name="Stand-up", owner_ref="team-42", settings=RoomSettings(participants=10))
        print(f"made {room.name} ({room.room_id}) at {room.created_at}")

        token = await client.tokens.create(room.room_id, name="Ann", role="moderator", user_ref="u-1")
        print(f"{token!r} lets Ann in; its text is for her browser alone")

        async for known in client.rooms.list():
            print(f"the project has {known.room_id}: {known.name}")

        await client.rooms.delete(room.room_id)
        print("gone again")


if __name__ == "__main__":
    asyncio.run(main())
