"""Each guide says first what can go wrong, and the page on the sandbox agrees with the OpenAPI document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto"
# Their own layouts say the same.
OTHERS = {"troubleshooting.md"}
GUIDES = [path for path in sorted(HOWTO.glob("*.md")) if path.name not in OTHERS]
ROW = re.compile(r"^\| .+ \| .+ \| .+ \|$", re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_guide_says_what_can_go_wrong(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    section = text.split("## What can go wrong\n")[1].split("\n## ")[0]
    rows = [row for row in ROW.findall(section) if not row.startswith("| You see |")]
    assert len(rows) >= 5


def test_certainty_of_each_route_is_that_of_the_openapi_document() -> None:
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "reference" / "sandbox-faithfulness.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (\w+) \| (\w+)", page, re.MULTILINE)
    documented = {route: (request, success) for route, request, success in rows}
    expected = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "patch", "delete"):
                certainty = operation["x-certainty"]
                success = operation["responses"].get("200", {}).get("x-certainty", certainty)
                expected[f"{method.upper()} {path}"] = (certainty, success)
    assert documented == expected


def test_switches_of_the_page_exist() -> None:
    from videoapi.sandbox import Switches

    page = (ROOT / "docs" / "reference" / "sandbox-faithfulness.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    named = {name for name in re.findall(r"`(\w+)`", table) if "_" in name} - {"by_period"}
    assert named <= {name for name in dir(Switches()) if not name.startswith("_")}
    assert len(named) > 15
