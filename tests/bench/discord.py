"""Discord: one mention, three at once in a channel, and a hundred channels at once, under Discord's limits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil

from tests.bench.figures import Figure, at, milliseconds
from tests.bench.mention import TEXT
from tests.doubles.discord import GENERAL, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import in_discord, is_done
from tests.journeys.process import Parley
from tests.waiting import wait_until


async def measure(quick: bool) -> list[Figure]:
    """120 words at 40 words/s in each answer."""
    rate = 200 if quick else 40
    figures: list[Figure] = []
    for first_words in (0, 120):
        runs = [await _run([GENERAL], rate, first_words) for _ in range(1 if quick else 5)]
        name = f"FIRST_WORDS_MS={first_words}: "
        figures += [
            milliseconds(name + "model's first token to first text visible", [run.answers[0].first for run in runs]),
            milliseconds(name + "model's last token to the whole text visible", [run.answers[0].end for run in runs]),
            milliseconds(name + "longest time between two edits", [max(run.answers[0].gaps) for run in runs]),
            Figure(name + "calls refused", sum(run.refused for run in runs), ""),
        ]
    three = await _run([GENERAL] * 3, rate, 120)
    figures += [
        milliseconds("three at once: model's last token to the whole text, the slowest", [three.slowest_end]),
        Figure("three at once: versions of the one with the fewest", min(one.versions for one in three.answers), ""),
        Figure("three at once: calls refused", three.refused, ""),
    ]
    people = 10 if quick else 100
    crowd = await _run([str(210000000000000000 + i) for i in range(people)], rate, 120)
    name, ends = f"{people} channels at once: ", [one.end for one in crowd.answers]
    signs = [one.sign for one in crowd.answers]
    return [
        *figures,
        Figure(name + "answers whole", len(crowd.answers), ""),
        Figure(name + "first sign of life, p50", round(median(signs), 2), "s"),
        Figure(name + "first sign of life, the last", round(max(signs), 2), "s"),
        Figure(name + "last token to the whole text, p50", round(median(ends), 2), "s"),
        Figure(name + "last token to the whole text, p95", round(at(0.95, ends), 2), "s"),
        Figure(name + "last token to the whole text, the slowest", round(max(ends), 2), "s"),
        Figure(name + "versions, mean", round(sum(one.versions for one in crowd.answers) / people, 1), ""),
        Figure(name + "calls refused", crowd.refused, ""),
        Figure(name + "most calls in a second", crowd.busiest, ""),
        Figure(name + "memory of the process", round(crowd.memory, 1), "MB"),
    ]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one answer showed: seconds from the question to the first sign, and from tokens to text."""

    sign: float
    first: float
    end: float
    gaps: Sequence[float]
    versions: int


@dataclass(frozen=True, slots=True)
class _Run:
    answers: Sequence[_Answer]
    refused: int
    busiest: int
    memory: float

    @property
    def slowest_end(self) -> float:
        return max(one.end for one in self.answers)


@asynccontextmanager
async def _ready(rate: float, first_words: int) -> AsyncIterator[tuple[DiscordDouble, TgiDouble, Parley]]:
    """Parley in Discord, warm."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with DiscordDouble() as discord, TgiDouble(rate=rate) as tgi:
            tgi.answer = TEXT
            settings = {"FIRST_WORDS_MS": str(first_words), "WORKER_SLOTS": "128"}
            async with in_discord(discord, tgi, Path(folder), **settings) as parley:
                warm = discord.mention("warm up", channel=RANDOM)
                await wait_until(lambda: any(map(is_done, discord.replies(warm))), timeout=30)
                await wait_until(lambda: time.monotonic() - discord.calls[-1].at > 1.1, description="a quiet second")
                yield discord, tgi, parley


async def _run(channels: Sequence[str], rate: float, first_words: int) -> _Run:
    """One question in each of these places, all at once."""
    async with _ready(rate, first_words) as (discord, tgi, parley):
        for channel in channels:
            if channel not in discord.channels:
                discord.add_channel(channel, f"c{channel}")
        discord.rest.limits.busiest = 0
        asked = [discord.mention(f"question-{i}", channel=c, user=_person(discord, i)) for i, c in enumerate(channels)]
        await wait_until(
            lambda: all(any(map(is_done, discord.replies(one))) for one in asked), timeout=120, description="all whole"
        )
        times = {one.inputs.rsplit("question-", 1)[1].split("\n")[0]: one.token_times for one in tgi.requests[1:]}
        answers = []
        for number, question in enumerate(asked):
            answers.append(_seen(discord, question, discord.replies(question)[0], times[str(number)]))
        memory = psutil.Process(parley.process.pid).memory_info().rss / 2**20
        return _Run(answers, len(discord.refused), discord.rest.limits.busiest, memory)


def _person(discord: DiscordDouble, number: int) -> str:
    """Somebody for each question, so that nobody waits for an answer of their own."""
    from tests.doubles.discord_world import User

    user = str(310000000000000000 + number)
    discord.users.setdefault(user, User(user, f"person{number}", f"Person {number}"))
    return user


def _seen(discord: DiscordDouble, question: Posted, reply: Posted, tokens: Sequence[float]) -> _Answer:
    shown = [version.at for version in reply.versions]
    typed = [when for when, channel in discord.rest.typing if channel == question.channel and when >= question.at]
    whole = next(version.at for version in reply.versions if version.content == TEXT)
    return _Answer(
        sign=min([*typed, reply.at]) - question.at,
        first=reply.at - tokens[0],
        end=whole - tokens[-1],
        gaps=[b - a for a, b in pairwise(shown)],
        versions=len(shown),
    )
