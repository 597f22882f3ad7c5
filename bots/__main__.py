"""What ``parley`` starts, and ``python -m bots``: little enough that Ctrl-C while it starts is no traceback."""

import sys


def main() -> None:
    """Run a command. Ctrl-C ends it with exit code 130, also while its libraries are still being loaded."""
    try:
        from bots.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
