"""The notebook of examples/, run by a kernel of its own against a sandbox."""

from __future__ import annotations

from datetime import date

import pytest
from support.programs import EXAMPLES, environment

from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.slow


def test_notebook_sums_up_the_minutes_of_a_month() -> None:
    # Not at the top: the import takes seconds, and each of pytest's workers imports each file of tests.
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook was saved with outputs"
    assert sum(len(cell.source.splitlines()) for cell in notebook.cells) < 60
    with Sandbox(seed=7, calls=300, today=date(2026, 1, 31)).in_thread() as sandbox:
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute(env=environment(sandbox))
        written = nbformat.writes(notebook)
        assert sandbox.app_key not in written
        assert sandbox.ledger.count("cdr.by_period") >= 1
    _, client, minutes, _ = notebook.cells
    assert client.outputs[0].data["text/plain"] == f"<VideoClient {sandbox.base_url}>"
    total = minutes.outputs[0].data["text/plain"].strip("'").split()
    assert total[1:3] == ["minutes", "in"]
    assert int(total[0]) > 1000
    assert "stderr" not in written
