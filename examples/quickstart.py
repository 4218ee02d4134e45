"""Create a room, issue a token, list the rooms, and delete the room.

For servers only: never put an APP_KEY into client-side code (browser, mobile, desktop).
Run: VIDEOAPI_APP_ID=… VIDEOAPI_APP_KEY=… python quickstart.py
"""

import asyncio

from videoapi import RoomSettings, VideoClient


async def main() -> None:
    async with VideoClient() as client:
        room = await client.rooms.create(name="Stand-up", owner_ref="team-42", settings=RoomSettings(participants=10))
        print(f"created {room.name} ({room.room_id}) at {room.created_at}")

        token = await client.tokens.create(room.room_id, name="Ann", role="moderator", user_ref="u-1")
        print(f"{token!r} lets Ann join; send its value only to her browser")

        async for known in client.rooms.list():
            print(f"listed {known.name} ({known.room_id})")

        await client.rooms.delete(room.room_id)
        print(f"deleted {room.name}")


if __name__ == "__main__":
    asyncio.run(main())
