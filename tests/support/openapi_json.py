"""Write videoapi/sandbox/openapi.json, the JSON form of docs/openapi.yaml: `make openapi`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "openapi.yaml"
GENERATED = ROOT / "videoapi" / "sandbox" / "openapi.json"


def source() -> dict[str, Any]:
    """Return the document as it is written, in YAML."""
    # The loader in C takes a tenth of the time, and each of pytest's workers loads the document.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(SOURCE.read_text(encoding="utf-8"), loader)
    return document


def as_json(document: dict[str, Any]) -> str:
    """Return the text of the JSON form: one value per line, so that changes are readable."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    GENERATED.write_text(as_json(source()), encoding="utf-8")
