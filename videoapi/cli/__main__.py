"""`python -m videoapi.cli`, the same as `videoapi`."""

from videoapi.cli import main

if __name__ == "__main__":
    main()
