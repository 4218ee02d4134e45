"""`python -m videoapi.cli.demo`, the same as `videoapi demo`."""

from videoapi.cli.demo import demo

if __name__ == "__main__":
    demo(prog_name="videoapi demo")
