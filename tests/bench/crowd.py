"""Many mentions at once in one workspace, under Slack's real tiers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import psutil

from tests.bench.figures import Figure, at
from tests.bench.mention import TEXT
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import in_slack
from tests.waiting import wait_until


async def measure(quick: bool) -> list[Figure]:
    """20 and 100 people ask at once, each in a channel of their own; 120 words at 40 words/s each."""
    figures: list[Figure] = []
    for people in (5,) if quick else (20, 100):
        figures += await _crowd(people, 200 if quick else 40)
    return figures


async def _crowd(people: int, rate: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with SlackDouble() as slack, TgiDouble(rate=rate) as tgi:
            tgi.answer, tgi.first_after = TEXT, 0.2
            channels = [f"C0CROWD{i}" for i in range(people)]
            for channel in channels:
                slack.add_channel(channel, channel.lower())
            async with in_slack(slack, tgi, Path(folder)) as parley:
                process = psutil.Process(parley.process.pid)
                cpu = sum(process.cpu_times()[:2])
                asked = {c: await slack.mention(c, "measure") for c in channels}
                loop = asyncio.get_running_loop()
                begun = loop.time()
                done: dict[str, float] = {}

                def all_whole() -> bool:
                    for channel in channels:
                        if channel not in done and any(p.text == TEXT for p in slack.replies(channel, asked[channel])):
                            done[channel] = loop.time() - begun
                    return len(done) == people

                await wait_until(all_whole, timeout=240, description="every answer whole")
                cpu = sum(process.cpu_times()[:2]) - cpu
                acks = [e.acked_at - e.sent_at for e in slack.envelopes if e.acked_at and e.sent_at]
                shown = [len(slack.replies(c, asked[c])[0].versions) for c in channels]
                memory = process.memory_info().rss / 2**20
                refused = len(slack.refused)
    name = f"{people} at once: "
    return [
        Figure(name + "answers whole", people, ""),
        Figure(name + "whole after, p50", round(at(0.5, list(done.values())), 2), "s"),
        Figure(name + "whole after, p95", round(at(0.95, list(done.values())), 2), "s"),
        Figure(name + "versions of an answer, mean", round(sum(shown) / people, 1), ""),
        Figure(name + "calls refused", refused, ""),
        Figure(name + "acknowledged after, p99", round(at(0.99, acks) * 1000, 1), "ms"),
        Figure(name + "CPU per answer", round(cpu / people * 1000, 1), "ms"),
        Figure(name + "memory of the process", round(memory, 1), "MB"),
    ]
