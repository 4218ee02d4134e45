"""The blocking client works in a notebook, whose cells run inside an event loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from videoapi.sandbox import Sandbox

# Only looked for: the import takes seconds, and each of pytest's workers imports each file of tests.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not (find_spec("nbclient") and find_spec("ipykernel")), reason="nbclient is not installed"),
]

# In a process of its own, because the library leaves sockets open.
EXECUTE = """
import json, sys
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

manager = AsyncKernelManager()
# This interpreter, and no installed kernel.
arguments = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
manager._kernel_spec = KernelSpec(argv=arguments, language="python")
cells = [nbformat.v4.new_code_cell(source) for source in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
NotebookClient(notebook, timeout=60, km=manager).execute()
results = [[out["data"]["text/plain"] for out in cell.outputs if "data" in out] for cell in notebook.cells]
print(json.dumps(results))
"""
CELLS = {
    "import asyncio\nasyncio.get_running_loop().is_running()": ["True"],
    "from videoapi.blocking import VideoClient\nclient = VideoClient()": [],
    "client.rooms.create(name='Stand-up').name": ["'Stand-up'"],
    "[room.name for room in client.rooms.list()]": ["['Stand-up']"],
    "from videoapi import RoomSpec\n"
    "client.rooms.create_many((RoomSpec(f'Room {n}') for n in range(3)), progress=print).counts": [
        "Counter({'created': 3})"
    ],
    "async def inner():\n    return len(client.rooms.list().to_list())\nawait inner()": ["4"],
    "client.close()": [],
}


def test_cells_of_a_notebook_use_the_blocking_client(tmp_path: Path) -> None:
    with Sandbox(seed=7).in_thread() as sandbox:
        environment = {
            **os.environ,
            "VIDEOAPI_APP_ID": sandbox.app_id,
            "VIDEOAPI_APP_KEY": sandbox.app_key,
            "VIDEOAPI_BASE_URL": sandbox.base_url,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "IPYTHONDIR": str(tmp_path),
            "JUPYTER_RUNTIME_DIR": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE],
            input=json.dumps(list(CELLS)),
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert dict(zip(CELLS, json.loads(done.stdout), strict=True)) == CELLS
