"""The cost of `import videoapi`, and the direction of imports inside the package."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import videoapi

PACKAGE = Path(videoapi.__file__).parent


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads in a fresh interpreter."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_package_import_loads_only_the_package_itself() -> None:
    loaded = loaded_by("import videoapi")
    assert {name for name in loaded if name.startswith("videoapi")} == {"videoapi"}
    heavy = {"aiohttp", "attrs", "attr", "cattrs", "msgspec", "asyncio", "yarl", "click", "rich", "ssl", "logging"}
    assert not (heavy | {"typing", "re", "enum"}) & loaded


def test_error_classes_load_no_network_modules() -> None:
    loaded = loaded_by("from videoapi import NotFound, VideoAPIError")
    assert not {"aiohttp", "cattrs", "msgspec", "asyncio"} & loaded


def test_client_import_loads_no_sandbox_cli_or_test_modules() -> None:
    loaded = loaded_by("from videoapi import VideoClient")
    assert "aiohttp" in loaded
    excluded = ("videoapi.sandbox", "videoapi.cli.", "videoapi.testing", "videoapi.pytest_plugin")
    assert not [name for name in loaded if name.startswith(excluded)]
    assert not {"click", "rich", "pytest", "trustme", "aioresponses", "aiohttp.web"} & loaded


def test_client_construction_loads_no_namespace_modules() -> None:
    loaded = loaded_by("from videoapi import VideoClient; VideoClient('id', 'key', 'https://api.example.com/v1')")
    ours = {name for name in loaded if name.startswith("videoapi.")}
    later = ("models", "resources", "creation", "streaming", "bulk", "downloads")
    assert not [name for name in ours if name.split(".")[1] in later]
    assert "videoapi.transport.resolver" not in ours
    assert not {"cattrs", "msgspec"} & loaded


def test_webhooks_import_loads_no_client_and_no_server() -> None:
    loaded = loaded_by("from videoapi.webhooks import Webhooks; Webhooks(('a', 'b')).asgi()")
    assert not {"aiohttp", "videoapi.client", "videoapi.sandbox", "starlette", "fastapi", "click"} & loaded
    assert "aiohttp" in loaded_by("from videoapi.webhooks import Webhooks; Webhooks(('a', 'b')).aiohttp()")


def test_pytest_plugin_import_is_lazy() -> None:
    loaded = loaded_by("import videoapi.pytest_plugin")
    assert not {"aiohttp", "cattrs", "msgspec", "aioresponses", "videoapi.client", "videoapi.sandbox"} & loaded


def test_public_names_are_sorted_complete_and_importable() -> None:
    assert videoapi.__all__ == sorted(videoapi.__all__)
    assert set(videoapi.__all__) == set(videoapi._HOME)
    for name in videoapi.__all__:
        assert getattr(videoapi, name) is not None
        assert name in dir(videoapi)
    assert not set(videoapi.__all__) - set(dir(videoapi))
    with pytest.raises(AttributeError, match="nonsense"):
        videoapi.nonsense  # noqa: B018


def test_type_checkers_see_the_same_public_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module
        for node in ast.walk(guarded)
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert declared == {name: f"videoapi.{home}" for name, home in videoapi._HOME.items()}


def test_version_matches_the_installed_package() -> None:
    from importlib.metadata import version

    assert videoapi.__version__ == version("videoapi")


def test_every_module_can_be_imported_or_needs_an_extra_that_is_not_installed() -> None:
    extras = {"dask", "distributed", "opentelemetry", "pandas", "plotly", "pyarrow", "redis", "taskiq", "taskiq_redis"}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        try:
            importlib.import_module(".".join(part for part in parts if part != "__init__"))
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.partition(".")[0] not in extras:
                raise
        except videoapi.ConfigurationError as missing:
            if "pip install 'videoapi[taskiq]'" not in str(missing):
                raise


def test_import_contracts_hold() -> None:
    root = PACKAGE.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("the import contracts are in the repository, not in the wheel")
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_modules_are_at_most_24_kib() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert path.stat().st_size <= 24 * 1024, path.name
