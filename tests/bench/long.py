"""A long answer under Slack's real tiers: one edit a second while it is young, then a pace that can be kept."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import mean

from tests.bench.figures import Figure
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import in_slack
from tests.waiting import wait_until


async def measure(quick: bool) -> list[Figure]:
    """3,000 words at 40 words/s, with a program in the middle."""
    words, rate = (300, 400) if quick else (3000, 40)
    prose = " ".join(f"word{i}" + ("." if i % 12 == 11 else "") for i in range(words // 2))
    code = "\n".join(f"print({i})" for i in range(words // 10))
    text = f"{prose}\n\n```python\n{code}\n```\n\n{prose}"
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with SlackDouble() as slack, TgiDouble(rate=rate) as tgi:
            tgi.answer, tgi.max_input_tokens, tgi.max_total_tokens = text, 50_000, 60_000
            async with in_slack(slack, tgi, Path(folder), MAX_NEW_TOKENS="20000"):
                ts = await slack.mention("C0GENERAL", "go on and on")
                await wait_until(lambda: tgi.requests and tgi.requests[-1].finished_at, timeout=200)
                end = tgi.requests[-1].token_times[-1]
                await wait_until(lambda: shown(slack, ts).endswith(text[-40:]), timeout=60)
                whole = slack.replies("C0GENERAL", ts)[-1].versions[-1].at
                times = sorted(version.at for posted in slack.replies("C0GENERAL", ts) for version in posted.versions)
                posts = len(slack.replies("C0GENERAL", ts))
                refused = len(slack.refused)
    young = [b - a for a, b in pairwise(times) if b - times[0] < 20]
    old = [b - a for a, b in pairwise(times) if b - times[0] > 50]
    # A short answer, as with --quick, is over by then.
    kept = [Figure("long answer: the same after 50 s", round(mean(old), 2), "s")] if old else []
    return [
        Figure("long answer: messages", posts, ""),
        Figure("long answer: seconds between two edits, in the first 20 s, mean", round(mean(young), 2), "s"),
        *kept,
        Figure("long answer: calls refused", refused, ""),
        Figure("long answer: model's last token to the whole text visible", round((whole - end) * 1000, 1), "ms"),
    ]


def shown(slack: SlackDouble, ts: str) -> str:
    """All that a person sees of the reply."""
    return "\n".join(posted.markdown for posted in slack.replies("C0GENERAL", ts))
