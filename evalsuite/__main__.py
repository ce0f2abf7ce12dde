"""`python -m evalsuite` is the command `evalsuite`."""

from evalsuite.cli.main import run

if __name__ == "__main__":
    run()
