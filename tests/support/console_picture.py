"""Take the picture of the sandbox's console that README shows: `make pictures`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import sync_playwright

from videoapi import VideoAPIError, VideoClient
from videoapi.sandbox import Sandbox

OUT = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "console.png"
NOW = datetime(2026, 1, 31, 10, 30, tzinfo=UTC)


async def traffic(sandbox: Sandbox) -> None:
    """Send calls of each kind, some of which meet faults."""
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        rooms = [await client.rooms.create(name=name) for name in ("Weekly stand-up", "Board meeting", "Interview")]
        sandbox.fault("rooms.get", "drop_before")
        sandbox.fault("rooms.list", 503)
        for room in rooms:
            await client.rooms.get(room.room_id)
            token = await client.tokens.create(room.room_id, name="Ann", user_ref="u-1", role="moderator")
        sandbox.join(token.value)
        await client.rooms.list().to_list()
        sandbox.fault("cdr.*", "throttle", retry_after=0)
        await client.cdr.by_period("2026-01-25", "2026-01-31").to_list()
        try:
            await client.rooms.get("0123456789abcdef01234567")
        except VideoAPIError as error:
            print(error)


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed", file=sys.stderr)
        return 1
    OUT.parent.mkdir(exist_ok=True)
    sandbox = Sandbox(console=True, seed="1", calls=250, today=NOW.date(), clock=lambda: NOW)
    with sandbox.in_thread() as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{running.base_url.split('/video')[0]}/")
        # Playwright runs a loop on this thread.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, traffic(running)).result()
        page.wait_for_timeout(1_500)
        page.screenshot(path=str(OUT))
        browser.close()
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
