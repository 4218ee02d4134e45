"""Dask workers that are replaced when they end, as by a service manager: `dask_workers.py ADDRESS COUNT FOLDER`.

Each is a fork of this process, which has imported everything: so workers are killed while they work, not while they
start.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sys
import time

from distributed import Worker

import videoapi.dask.rooms  # noqa: F401


def work(address: str, folder: str) -> None:
    async def run() -> None:
        async with Worker(address, nthreads=1, local_directory=folder, dashboard=False) as worker:
            await worker.finished()

    asyncio.run(run())


def main(address: str, count: str, folder: str) -> None:
    logging.basicConfig(format="%(asctime)s - %(process)d - %(message)s")
    fork = multiprocessing.get_context("fork")

    def start() -> multiprocessing.process.BaseProcess:
        process = fork.Process(target=work, args=(address, folder))
        process.start()
        return process

    running = [start() for _ in range(int(count))]
    while True:
        time.sleep(0.1)
        running = [process if process.is_alive() else start() for process in running]


if __name__ == "__main__":
    main(*sys.argv[1:])
