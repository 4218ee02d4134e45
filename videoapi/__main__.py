"""Runs the command: `python -m videoapi`."""

from videoapi.cli import main

if __name__ == "__main__":
    main()
