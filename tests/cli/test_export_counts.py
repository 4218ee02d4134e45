"""Exports that stop anywhere, of a service that cuts and reorders: the counts in the state are exact, as the rows."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from videoapi import SessionManager, VideoClient
from videoapi.cli import export_file
from videoapi.cli.csv_rows import call_table
from videoapi.cli.export import ExportOptions, ExportWriter, export
from videoapi.cli.export_file import ExportFile
from videoapi.errors import VideoAPIError
from videoapi.protocol.backoff import RetryPolicy

START = date(2026, 1, 1)


class Service:
    """A service whose rows are sent in any order, and whose bodies break off.

    Args:
        random: Chooses everything.
        last: The last day of the period, counted from its first.
    """

    def __init__(self, random: Random, last: int) -> None:
        self.random = random
        self.inclusive = random.random() < 0.5
        self.shuffled = False
        self.cut = 0.0
        days = sorted(random.randint(-1, last + 2) for _ in range(random.choice([10, 60, 1_500])))
        self.rows = [(day, self._row(n, day)) for n, day in enumerate(days)]

    def _row(self, n: int, day: int) -> Any:
        kind = self.random.random()
        if kind < 0.06:
            return self.random.choice([None, 5, [n]])
        when = None if kind < 0.12 else f"{START + timedelta(day)}T10:00:00Z"
        price = {"price": 0.5} if self.random.random() < 0.2 else {}
        return {"call_num": str(n), "cdr_id": f"id{n}", "trans_date": when, **price}

    async def respond(self, request: web.Request) -> web.StreamResponse:
        first, last = (date.fromisoformat(text) for text in request.path.rsplit("/", 2)[1:])
        last -= timedelta(0 if self.inclusive else 1)
        found = [row for day, row in self.rows if first <= START + timedelta(day) <= last]
        if self.shuffled:
            self.random.shuffle(found)
        body = json.dumps({"result": "0", "cdr": found}).encode()
        response = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
        await response.prepare(request)
        if self.random.random() >= self.cut:
            await response.write(body)
            return response
        await response.write(body[: int(len(body) * self.random.random())])
        assert request.transport is not None
        request.transport.close()
        return response

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.respond)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/video/v2"
        await runner.cleanup()

    def wanted(self, last: int) -> dict[str, int]:
        rows = [row for day, row in self.rows if 0 <= day <= last]
        records = [row for row in rows if isinstance(row, dict)]
        return {
            "records": len(records),
            "rejected": len(rows) - len(records),
            "undated": sum(row["trans_date"] is None for row in records),
            "odd price": sum("price" in row for row in records),
            "outside": sum(day == last + 1 for day, _ in self.rows) * self.inclusive,
        }


class Stopped(BaseException):
    """The end of the process."""


@contextlib.contextmanager
def stopping(after: int, *, killed: bool) -> Iterator[None]:
    """Stop an export after some rows; if killed, it has no time to save."""
    with pytest.MonkeyPatch.context() as patch:
        add, count = ExportFile.add, iter(range(after))

        def stop(*given: Any) -> None:
            if next(count, None) is None:
                raise Stopped
            add(*given)

        patch.setattr(ExportFile, "add", stop)
        if killed:
            patch.setattr(ExportWriter, "stop", lambda _: None)
        with contextlib.suppress(Stopped, VideoAPIError):
            yield


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("seed", range(12))
async def test_export_that_is_stopped_anywhere_has_exact_rows_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, killed: bool
) -> None:
    monkeypatch.setattr(export_file, "SAVE_EVERY", 0.0)
    random = Random(seed)
    last = random.randint(0, 20)
    service, out = Service(random, last), tmp_path / "out.jsonl"
    async with service.url() as url, SessionManager() as manager:
        retry = RetryPolicy(attempts=4, base=0.001)
        client = VideoClient("a" * 24, "key", url, session=manager, retry=retry, allow_http=True)
        job = ExportOptions(
            out=out,
            table=call_table(),
            question={"app_id": "a"},
            cursor=None,
            overwrite=False,
            fresh=False,
            excel=False,
            strict=False,
            as_json=False,
            quiet=True,
            again=[],
        )

        async def run() -> None:
            await export(
                job, lambda cursor: client.cdr.by_period(START, START + timedelta(last), cursor=cursor, extra=True)
            )

        for _ in range(random.randint(1, 5)):
            service.shuffled, service.cut = random.random() < 0.3, random.choice([0, 0, 0.2])
            with stopping(random.randint(0, len(service.rows) // 3), killed=killed):
                await run()
        service.cut = 0.0
        await run()
    lines = [json.loads(line)["call_num"] for line in out.read_text().splitlines()]
    assert Counter(lines) == Counter(
        row["call_num"] for day, row in service.rows if isinstance(row, dict) and 0 <= day <= last
    )
    state = json.loads((tmp_path / "out.jsonl.state").read_text())
    found = {"odd price": 0, **state["counts"], "records": state["records"], "rejected": state["rejected"]}
    wanted = service.wanted(last)
    assert {name: found[name] for name in wanted} == wanted
    assert state["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert len(state["rows"]) == wanted["rejected"]
