"""nginx and haproxy as packaged by Debian, started by a test in front of a local service."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

_NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  limit_req_zone $binary_remote_addr zone=calls:64k rate={rate}r/s;
  server {{
    listen 127.0.0.1:{port};
    {extra}
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_read_timeout 200ms;
      {location}
    }}
  }}
}}
"""
_HAPROXY = """
defaults
  mode http
  timeout connect 200ms
  timeout client 5s
  timeout server 200ms
  retries 0
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server one 127.0.0.1:{upstream}{check}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def nginx(upstream: int, *, location: str = "", extra: str = "", rate: int = 1000) -> AsyncIterator[str]:
    """Yield the address of an nginx in front of port `upstream`; skip the test if nginx is not installed."""
    port = free_port()
    with _directory() as directory:
        config = directory / "nginx.conf"
        config.write_text(
            _NGINX.format(directory=directory, port=port, upstream=upstream, location=location, extra=extra, rate=rate)
        )
        async with _running(
            "nginx", "-p", str(directory), "-c", str(config), "-e", str(directory / "early"), port=port
        ):
            yield f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def haproxy(upstream: int, *, check: bool = False) -> AsyncIterator[str]:
    """Yield the address of an haproxy in front of port `upstream`; with `check` it detects that the port is down."""
    port = free_port()
    with _directory() as directory:
        config = directory / "haproxy.cfg"
        rule = " check inter 50ms fall 1" if check else ""
        config.write_text(_HAPROXY.format(port=port, upstream=upstream, check=rule))
        async with _running("haproxy", "-db", "-f", str(config), port=port):
            yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        # The gateways' workers may run as another user.
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.asynccontextmanager
async def _running(program: str, *arguments: str, port: int) -> AsyncIterator[None]:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        pytest.skip(f"needs {program}, which is not installed")
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None, f"{program} ended with {process.returncode}"
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    await writer.wait_closed()
                    break
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
