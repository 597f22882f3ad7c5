"""What it costs to hear the room: calls of Slack, calls to Redis, tokens, and what a prefix cache keeps."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from core.store.connection import connect
from core.store.embedded import embedded_redis
from tests.bench.figures import Figure
from tests.core.prompts.prefix import cached, mean_tokens
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import in_slack
from tests.waiting import wait_until

CHANNEL = "C0GENERAL"
READS = ("conversations.replies", "conversations.history")


@dataclass(frozen=True, slots=True)
class Mode:
    """What is heard, and how: ``events`` for a workspace that sends us what is said in channels."""

    name: str
    hear: str
    events: bool = True


MODES = (
    Mode("HEAR=mention", "mention"),
    Mode("HEAR=thread, by events", "thread"),
    Mode("HEAR=thread, by reading", "thread", events=False),
    Mode("HEAR=room", "room"),
)
TALKS = {
    "nothing overheard": {"overheard": 0},
    "2 overheard in the thread": {"overheard": 2},
    "20 overheard in the channel": {"overheard": 0, "room": 20},
}
"""Talks of a hundred questions: see ``tests.core.prompts.prefix``."""


async def measure(quick: bool) -> list[Figure]:
    """Mentions in a thread, or with HEAR=room in a channel, each after two messages of other people."""
    figures: list[Figure] = []
    for mode in MODES:
        figures += await _mentions(mode, 2 if quick else 20)
    turns = 10 if quick else 100
    for name, talk in TALKS.items():
        tokens, share = mean_tokens("chat", turns=turns, **talk), cached("chat", turns=turns, **talk)
        figures += [
            Figure(f"{turns} questions, {name}: tokens of a prompt", round(tokens), ""),
            Figure("the same: share that a prefix cache keeps", round(100 * share, 1), "%"),
        ]
    return figures


async def _mentions(mode: Mode, number: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with SlackDouble() as slack, TgiDouble() as tgi, embedded_redis(Path(folder) / "redis") as url:
            slack.channel_messages = mode.events
            redis = await connect(url)
            async with in_slack(slack, tgi, Path(folder), HEAR=mode.hear, REDIS_URL=url):
                root = await _ask(slack)
                thread = "" if mode.hear == "room" else root
                for _ in range(2):  # names are known then, and that events reach us
                    await _talk(slack, thread)
                    await _ask(slack, thread)
                before, seen = await _scripts(redis), len(slack.calls)
                for _ in range(number):
                    await _talk(slack, thread)
                    await _ask(slack, thread)
                calls = Counter(call.method for call in slack.calls[seen:])
                scripts = await _scripts(redis) - before
                told = tgi.requests[-1].inputs.count("on Thursday.")
            await redis.aclose()
    assert mode.hear == "mention" or told, "nothing was heard"
    reads = sum(calls[method] for method in READS)
    return [
        Figure(f"{mode.name}: calls of Slack for a mention", round(calls.total() / number, 2), ""),
        Figure(f"{mode.name}: of these to read what was said", round(reads / number, 2), ""),
        Figure(f"{mode.name}: calls to Redis for a mention and two messages", round(scripts / number, 2), ""),
        Figure(f"{mode.name}: messages of others in the last prompt, of {2 * number + 4}", told, ""),
    ]


async def _talk(slack: SlackDouble, thread: str) -> None:
    """Two people say something to each other, and Parley has got it."""
    for user in ("U0BOB", "U0CLEO"):
        await slack.say(CHANNEL, "No, it is on Thursday.", user=user, thread=thread or None)
    await wait_until(lambda: not slack.unacked() and not slack.undelivered())


async def _ask(slack: SlackDouble, thread: str = "") -> str:
    """A mention, until its answer is whole; its id."""
    before = len(slack.replies(CHANNEL))
    ts = await slack.mention(CHANNEL, "so when is it?", thread=thread or None)
    await wait_until(lambda: len(slack.replies(CHANNEL)) > before, description="a reply")
    await wait_until(lambda: not slack.replies(CHANNEL)[-1].buttons, description="a finished reply")
    return ts


async def _scripts(redis: Redis) -> int:
    """How many scripts were called so far."""
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"] for command in ("evalsha", "eval"))
