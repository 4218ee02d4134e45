"""What a failed `TaskGroup` leaves in the task that survives it."""

import asyncio

import pytest


async def survive_a_failed_group() -> None:
    """On Python 3.11 and 3.12, `cancelling()` of the current task stays 1 after that."""

    async def fails() -> None:
        raise OSError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(1)
