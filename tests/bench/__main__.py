"""``make bench``: what Parley costs and how fast it shows text, measured here and now.

Real processes and a real Redis against the doubles of Slack and TGI, on loopback. Compare figures of one run with each
other; another machine gives others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from tests.bench import budget, crowd, discord, durable, hearing, long, memory, mention, models, page, start
from tests.bench.figures import Figure
from tests.journeys import process
from tests.nursery import Nursery

SCENES: dict[str, Callable[[bool], Coroutine[None, None, list[Figure]]]] = {
    "mention": mention.measure,
    "long": long.measure,
    "crowd": crowd.measure,
    "discord": discord.measure,
    "memory": memory.measure,
    "hearing": hearing.measure,
    "durable": durable.measure,
    "budget": budget.measure,
    "models": models.measure,
    "page": page.measure,
    "start": start.measure,
}


def main() -> None:
    """Run the scenes and print one table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"which of {', '.join(SCENES)}; all without")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    if unknown := set(options.scenes) - set(SCENES):
        parser.error(f"no scene called {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    with ExitStack() as stack:
        if options.quick:
            process.nursery = stack.enter_context(Nursery.open())
        for name in options.scenes or SCENES:
            print(f"\n{name}")
            for figure in asyncio.run(SCENES[name](options.quick)):
                figures.append(figure)
                print(f"  {figure.name:<68} {figure.value:>10} {figure.unit}")
    if options.json:
        packages = ("parley-assistant", "slack-bolt", "discord.py", "text-generation", "redis", "aiohttp", "jinja2")
        record = {
            "at": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "versions": {name: version(name) for name in packages},
            "figures": [figure.as_json() for figure in figures],
        }
        options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
