"""Call records as a Dask data frame, and their export by the workers of a cluster."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from videoapi.arrow.periods import By, Period, windows
from videoapi.dask import worker
from videoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from dask import dataframe
else:
    # For `typing.get_type_hints`: the optional package is imported only when it is used.
    dataframe = SimpleNamespace(DataFrame=Any)


def read_cdr(start: date | str, end: date | str, *, by: By = "week") -> dataframe.DataFrame:
    """Return the call records of a period as a `dask.dataframe`, read by the workers when it is computed.

    The columns and their types are always those of `videoapi.arrow.SCHEMA`. Each computation reads the records from the
    service; to compute more than once, export them first.

    Args:
        start: First day in UTC, inclusive.
        end: Last day in UTC, inclusive.
        by: The size of a partition: `day`, `week`, `month` or `year`. A partition must fit into the memory of a worker.

    Raises:
        ValidationError: If the period is invalid.
        ConfigurationError: If Dask is not installed.
    """
    worker.require_dask()
    from dask import dataframe

    from videoapi.arrow import SCHEMA

    meta = frame_of(SCHEMA.empty_table())
    return dataframe.from_map(_read, windows(start, end, by), meta=meta, label="videoapi-cdr", enforce_metadata=True)


def export_cdr(
    start: date | str,
    end: date | str,
    folder: Path | str,
    *,
    by: By = "month",
    overwrite: bool = False,
    late: int = 3,
    today: date | None = None,
) -> list[dict[str, Any]]:
    """Export the call records of a period to a folder, one file per window, by the workers of the current cluster.

    The folder must be on a disk that all workers and this process share. If a worker or this process is killed, call
    the function again: it does not request complete windows again, and the files are the same, byte for byte.

    Args:
        start: First day in UTC, inclusive.
        end: Last day in UTC, inclusive.
        folder: The folder, which is created if it does not exist.
        by: The size of a window: `day`, `week`, `month` or `year`.
        overwrite: As in `client.cdr.export_window`, like the arguments that follow.
        late: Number of days for which a window stays open for late records.
        today: The current day in UTC.

    Returns:
        The manifest entries of all windows, as in `_manifest.json`: `file`, `first`, `last`, `rows`, `sha256` and
        `exported`.

    Raises:
        ValidationError: If the period is invalid.
        ConfigurationError: If Dask is not installed, a worker has no credentials, or the folder is not shared.
        VideoAPIError: If the records of a window cannot be read.
        OSError: If a file operation fails.
    """
    worker.require_dask()
    from videoapi.arrow.data_set import DataSet
    from videoapi.arrow.periods import utc_today

    dask: Any = import_module("dask")
    export = dask.delayed(_export, pure=False)
    day = today or utc_today()
    # As an absolute path: the working directories of the workers may be others.
    target = str(Path(folder).absolute())
    tasks = [export(window, target, overwrite, late, day) for window in windows(start, end, by)]
    notes: tuple[dict[str, Any], ...] = dask.compute(*tasks)
    if missing := [note["file"] for note in notes if not Path(target, note["file"]).exists()]:
        raise ConfigurationError(
            f"{target}: the workers have written {len(notes):,} files, of which this process does not see "
            f"{len(missing):,}, such as {missing[0]}. Give a folder that all of them share."
        )
    DataSet(Path(target), {}).write_manifest()
    return list(notes)


def frame_of(table: Any) -> Any:
    """Return a `pyarrow.Table` as a pandas data frame whose types do not depend on its values."""
    import pandas
    import pyarrow

    # Without these, a column of flags with nulls would have objects.
    kinds = {pyarrow.bool_(): pandas.BooleanDtype(), pyarrow.string(): pandas.StringDtype("pyarrow")}
    return table.to_pandas(types_mapper=kinds.get)


def _read(window: Period) -> Any:
    import pyarrow

    from videoapi.arrow import SCHEMA

    batches: list[Any] = []
    with worker.client().cdr.by_period(window.first, window.last) as stream:
        for batch in stream.arrow():
            if stream.discarded:
                kept = pyarrow.Table.from_batches(batches, SCHEMA)
                batches = kept.slice(0, kept.num_rows - stream.discarded).to_batches()
            batches.append(batch)
    return frame_of(pyarrow.Table.from_batches(batches, SCHEMA))


def _export(window: Period, folder: str, overwrite: bool, late: int, today: date) -> dict[str, Any]:
    reports = worker.client().cdr
    return reports.export_window(window, folder, overwrite=overwrite, late=late, today=today)
