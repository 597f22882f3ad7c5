"""``python -m bots`` is ``parley``."""

from bots.cli import main

if __name__ == "__main__":
    main()
