"""``make chaos``: hundreds of kills, and what they cost. Prints the figures; exit code 1 if anything was lost.

Real processes and a real Redis with an append-only file, against the doubles of Slack and TGI, with leases of three
seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import at
from tests.chaos.fleet import sailing
from tests.chaos.oracle import judge, settle
from tests.chaos.people import People
from tests.chaos.storm import Storm, recoveries

LEASE = 3.0
"""Seconds. A call of Slack gets a third of it, and two busy cores need that."""


async def rage(kills: int, seed: int, workers: int, listeners: int) -> int:
    """One storm. Returns how much went wrong."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="parley-chaos-") as folder:
        async with sailing(Path(folder), lease=LEASE) as fleet:
            people = People(fleet)
            storm = Storm(fleet, people, kills, seed)
            async with fleet.kept(workers, listeners):
                await storm.rage()
                faults = []
                try:
                    await settle(fleet, people, timeout=180)
                except AssertionError as error:
                    faults.append(str(error))
            verdict = await judge(fleet, people)
            faults += verdict.faults
            seconds = recoveries(fleet, storm.victims)
            given = [*(await fleet.redis.lrange("{parley}:dead", 0, -1))]
            rows = {
                "processes killed": storm.killed,
                "processes frozen": storm.frozen,
                **storm.disasters,
                "processes started": len(fleet.members),
                "messages accepted": verdict.messages - verdict.refused,
                "replies": verdict.replies,
                "of these whole": verdict.whole,
                "plainly marked": verdict.marked,
                "given up after three deaths": len(given),
                "told to come back later": verdict.refused,
                "lost": verdict.lost,
                "duplicates": verdict.duplicates,
                "order inversions": verdict.inversions,
                "stale edits": verdict.stale,
                "answers begun": len(fleet.scribe.written),
                "turns taken over after a kill": len(seconds),
                "recovery, p50": f"{at(0.5, seconds):.2f} s" if seconds else "-",
                "recovery, p95": f"{at(0.95, seconds):.2f} s" if seconds else "-",
                "other faults": len(faults),
                "took": f"{time.monotonic() - begun:.0f} s",
            }
            for name, value in rows.items():
                print(f"  {name:<40} {value:>10}")
            if faults:
                print("\n".join(faults[:40]))
                kept = Path(tempfile.mkdtemp(prefix="parley-chaos-logs-"))
                for member in fleet.members:
                    (kept / f"{member.name}-{member.pid}.log").write_text(member.text, encoding="utf-8")
                print(f"Logs are in {kept}")
    return len(faults)


def main() -> None:
    """Let it rage."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--listeners", type=int, default=2)
    options = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # clients that die while the doubles answer
    print(f"\nchaos, --seed {options.seed}", flush=True)
    sys.exit(bool(asyncio.run(rage(options.kills, options.seed, options.workers, options.listeners))))


if __name__ == "__main__":
    main()
