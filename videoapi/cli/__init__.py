"""The command line: arguments in, library calls, tables and progress bars out. Needs the extra `cli`.

Knows no HTTP; every decision is the library's.
"""

from __future__ import annotations


def main() -> None:
    """Run the `videoapi` command.

    Raises:
        SystemExit: Always; 5 where the extra `cli` is not installed.
    """
    try:
        from videoapi.cli.app import videoapi
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        import sys

        sys.stderr.write("The command line needs the extra `cli`: pip install 'videoapi[cli]'\n")
        raise SystemExit(5) from None
    videoapi(prog_name="videoapi")
