"""The layout of the package: each part with its purpose, size and imports.

    python tests/support/layout.py [ROOT]

A part is a package, or a top-level module of `videoapi/`.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGE = "videoapi"


class Part(NamedTuple):
    name: str
    purpose: str
    modules: int
    lines: int
    imports: frozenset[str]


def parts(root: Path) -> list[Part]:
    """Return the parts of the package below `root`, packages first."""
    folder = root / PACKAGE
    packages = sorted(path.parent for path in folder.glob("*/__init__.py"))
    names = {path.name for path in packages} | {path.stem for path in folder.glob("*.py")}
    return [
        *(_part(path.name, path / "__init__.py", sorted(path.rglob("*.py")), names) for path in packages),
        *(_part(path.stem, path, [path], names) for path in sorted(folder.glob("*.py"))),
    ]


def arrows(found: list[Part]) -> set[tuple[str, str]]:
    """Return which part imports which."""
    return {(part.name, other) for part in found for other in part.imports}


def circles(found: list[Part]) -> list[str]:
    """Return the parts that import themselves by way of others, `__init__` aside: it only names what is public."""
    imports = {part.name: part.imports - {"__init__"} for part in found if part.name != "__init__"}
    reached = {name: set(direct) for name, direct in imports.items()}
    for _ in imports:
        for name, names in reached.items():
            reached[name] = names.union(*(reached.get(other, set()) for other in names))
    return sorted(name for name, names in reached.items() if name in names)


def _part(name: str, home: Path, files: list[Path], names: set[str]) -> Part:
    doc = ast.get_docstring(ast.parse(home.read_text(encoding="utf-8"))) or ""
    sources = [path.read_text(encoding="utf-8") for path in files]
    imports = {part for source in sources for part in _imports(source, names)}
    lines = sum(source.count("\n") for source in sources)
    return Part(name, " ".join(doc.partition("\n\n")[0].split()), len(files), lines, frozenset(imports - {name}))


def _imports(source: str, names: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith(f"{PACKAGE}."))
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            head, _, rest = node.module.partition(".")
            if head == PACKAGE:
                # A name of the package itself is public, and resolved by `__init__`.
                found.update([rest.partition(".")[0]] if rest else _named(node, names))
    return found & names


def _named(node: ast.ImportFrom, names: set[str]) -> set[str]:
    return {alias.name if alias.name in names else "__init__" for alias in node.names}


def main(root: Path) -> None:
    found = parts(root)
    width = max(len(part.name) for part in found)
    for part in found:
        size = f"{part.modules:3} modules {part.lines:6,} lines"
        print(f"{part.name:{width}}  {size}  {part.purpose}  <- {', '.join(sorted(part.imports)) or 'nothing'}")
    client = sum(part.lines for part in found if part.name not in ("sandbox", "cli"))
    loose = sum(part.modules == 1 and not (root / PACKAGE / part.name).is_dir() for part in found)
    print(f"{loose} loose modules, {len(arrows(found))} arrows, circles: {', '.join(circles(found)) or 'none'}")
    print(f"{client:,} lines without sandbox and CLI")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
