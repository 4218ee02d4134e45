"""The command line, a thin wrapper around the library. Needs the extra `cli`.

Independent of HTTP; the library makes every decision.
"""

from __future__ import annotations


def main() -> None:
    """Run the `videoapi` command.

    Raises:
        SystemExit: Always; with code 5 if the extra `cli` is not installed, 130 after Ctrl-C.
    """
    try:
        from videoapi.cli.app import videoapi
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        import sys

        sys.stderr.write("The command line needs the extra `cli`: pip install 'videoapi[cli]'\n")
        raise SystemExit(5) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    videoapi(prog_name="videoapi")
