"""The functions of docs/howto/bulk-workers.md, with a real Redis."""

import re
from pathlib import Path
from typing import Any

from support.redis_server import RedisServer

from videoapi import VideoClient
from videoapi.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "bulk-workers.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


async def test_the_functions_of_the_page_run_a_job(redis_server: RedisServer) -> None:
    names: dict[str, Any] = {}
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))[:3]:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    async with (
        Sandbox(seed=1) as sandbox,
        VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3, attempt_timeout=5) as client,
    ):
        nonce = await names["begin"](redis_server.url)
        shards = range(names["SHARDS"])
        documents = [await names["run_shard"](client, redis_server.url, nonce, number) for number in shards]
        report, audit = await names["end"](client, documents)
        assert report.counts == {"created": 40}
        assert audit.complete
        assert len(sandbox.ledger.rooms) == 40
