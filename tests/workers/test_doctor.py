"""`videoapi doctor` finds out whether the Redis of the workers answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.programs import free_port
from support.redis_server import RedisServer

pytestmark = pytest.mark.slow
PASSWORD = "CanaryRedisPassword"


def sharing(url: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIDEOAPI_")}
    done = subprocess.run(
        [sys.executable, "-m", "videoapi", "doctor", "--json", "--timeout", "12"],
        env=environment
        | {
            "VIDEOAPI_REDIS": url,
            "VIDEOAPI_RATE": "200/s",
            "VIDEOAPI_PROCESSES": "4",
            "VIDEOAPI_BASE_URL": f"https://127.0.0.1:{free_port()}/video/v2",
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert PASSWORD not in done.stdout + done.stderr
    (check,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "sharing")
    return dict(check)


def test_redis_that_answers(redis_server: RedisServer) -> None:
    check = sharing(redis_server.url)
    assert check["status"] == "ok", check
    assert f"Redis at 127.0.0.1:{redis_server.port} answers" in check["text"]
    assert "rate 200/s, 4 processes" in check["text"]


def test_redis_that_hangs(redis_server: RedisServer) -> None:
    redis_server.pause()
    check = sharing(redis_server.url)
    redis_server.resume()
    assert (check["status"], check["text"]) == (
        "warn",
        f"Redis at 127.0.0.1:{redis_server.port}: no answer within 2 s",
    )


@pytest.mark.parametrize("url", [f"redis://:{PASSWORD}@127.0.0.1:{{port}}/0", f"http://:{PASSWORD}@host", "host:1"])
def test_redis_that_is_not_there(url: str) -> None:
    check = sharing(url.format(port=free_port()))
    assert check["status"] == "warn"
    assert "Redis" in check["text"]
