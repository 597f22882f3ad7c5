"""One mention: how soon its first words are seen, how its edits go, how late its end is."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from tests.bench.figures import Figure, milliseconds
from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Posted
from tests.doubles.tgi import Seen, TgiDouble
from tests.journeys.process import in_slack
from tests.waiting import wait_until

TEXT = " ".join(f"word{i}" for i in range(119)) + " end."


async def measure(quick: bool) -> list[Figure]:
    """120 words at 40 words/s, with and without gathering first words; then with edits of three seconds."""
    rate = 200 if quick else 40
    figures: list[Figure] = []
    for first_words in (0, 120):
        runs = [await _once(rate, first_words) for _ in range(1 if quick else 5)]
        name = f"FIRST_WORDS_MS={first_words}: "
        figures += [
            milliseconds(name + "model's first token to first text visible", [r.first for r in runs]),
            milliseconds(name + "model's last token to the whole text visible", [r.end for r in runs]),
            milliseconds(name + "longest time between two edits", [r.gap for r in runs]),
            Figure(name + "versions shown", runs[0].versions, ""),
            Figure(name + "calls refused", sum(r.refused for r in runs), ""),
            Figure(name + "final texts that differ from what was generated", sum(not r.exact for r in runs), ""),
        ]
    kind, slow = await _once(rate, 120), await _once(rate, 120, slow=3.0)
    ratio = round(slow.stream / kind.stream, 3)
    figures.append(Figure("duration of the model's stream, edits of 3 s to fast ones", ratio, "to 1"))
    return figures


class _Run:
    """What one mention showed, in seconds."""

    def __init__(self, posted: Posted, seen: Seen, refused: int) -> None:
        times = [version.at for version in posted.versions]
        whole = next(version.at for version in posted.versions if version.text == TEXT)
        self.first = times[0] - seen.token_times[0]
        self.end = whole - seen.token_times[-1]
        self.gap = max(b - a for a, b in pairwise(times))
        self.versions = len(times)
        self.exact = posted.text == TEXT
        self.stream = seen.token_times[-1] - seen.token_times[0]
        self.refused = refused


async def _once(rate: float, first_words: int, slow: float = 0.0) -> _Run:
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with SlackDouble() as slack, TgiDouble(rate=rate) as tgi:
            tgi.answer = TEXT
            async with in_slack(slack, tgi, Path(folder), FIRST_WORDS_MS=str(first_words)):
                warm = await slack.mention("C0RANDOM", "warm up")
                await wait_until(lambda: any(p.text == TEXT for p in slack.replies("C0RANDOM", warm)), timeout=30)
                if slow:
                    slack.slow("chat.update", slow)
                ts = await slack.mention("C0GENERAL", "measure")
                await wait_until(lambda: any(p.text == TEXT for p in slack.replies("C0GENERAL", ts)), timeout=60)
                return _Run(slack.replies("C0GENERAL", ts)[0], tgi.requests[-1], len(slack.refused))
