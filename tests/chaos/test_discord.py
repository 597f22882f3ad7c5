"""Workers that die in the middle of Discord's answers: each question has one reply, whole, and is remembered so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.store.keys import Keys
from core.types import Message, Role
from tests.chaos.fleet import Member, Server
from tests.chaos.scribe import Scribe, tag_of
from tests.doubles.discord import DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import User
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import is_done, tokens
from tests.journeys.process import environment
from tests.nursery import Nursery
from tests.waiting import wait_until

CHANNELS = [str(210_000_000_000_000_000 + number) for number in range(8)]
WORKERS, ROUNDS, KILLS = 3, 4, 2
"""Two kills in each round: a third death would be the end of a turn."""


@asynccontextmanager
async def crew(nursery: Nursery, folder: Path, settings: dict[str, str]) -> AsyncIterator[list[Member]]:
    """So many workers at any time, whoever dies; all that ever were."""
    members: list[Member] = []

    async def keep() -> None:
        while True:
            for _ in range(WORKERS - sum(member.running for member in members)):
                log = folder / f"worker-{len(members)}.log"
                child = await nursery.start(("run", "worker"), environment(folder, **settings), folder, log)
                members.append(Member(log.stem, child, log))
            await asyncio.sleep(0.05)

    keeping = asyncio.create_task(keep())
    try:
        yield members
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        for member in members:
            member.kill()
        await asyncio.gather(*(member.wait() for member in members))


def busy(members: list[Member]) -> list[Member]:
    """Those that took something, and run."""
    return [one for one in members if one.running and not one.killed_at and one.lines("turn claimed")]


async def nothing_waits(server: Server) -> bool:
    """Whether no lane stands anywhere."""
    places = [Keys.lanes(place, "discord") for place in ("ready", "held", "suspects")]
    return not sum([await server.client.zcard(place) for place in places])


@pytest.mark.slow
async def test_workers_die_while_people_watch_in_discord(nursery: Nursery, tmp_path: Path) -> None:
    """Nothing is lost, doubled or out of order."""
    dice = random.Random(4)  # noqa: S311 - repeatable, not secret
    server = Server(tmp_path)
    server.start()
    async with DiscordDouble() as discord, TgiDouble() as tgi:
        scribe = Scribe(tgi)
        for channel in CHANNELS:
            discord.add_channel(channel, f"c{channel}")
        settings = {**tokens(discord, tgi), "REDIS_URL": server.url, "LEASE_SECONDS": "3", "LOG_LEVEL": "debug"}
        log = tmp_path / "listener.log"
        given = environment(tmp_path, **settings)
        listener = Member("listener", await nursery.start(("run", "discord", "--no-worker"), given, tmp_path, log), log)
        await wait_until(lambda: discord.gateway.connected and "connected to Discord" in listener.text)
        asked: list[Posted] = []
        async with crew(nursery, tmp_path, settings) as members:
            for _ in range(ROUNDS):
                for number, channel in enumerate(CHANNELS):
                    user = str(310_000_000_000_000_000 + number)
                    discord.users.setdefault(user, User(user, f"person{number}", f"Person {number}"))
                    words = f"q{len(asked)}w{dice.randint(30, 90)}"
                    asked.append(discord.mention(words, channel=channel, user=user))
                for _ in range(KILLS):
                    await wait_until(lambda: busy(members), description="a worker with something to do")
                    await asyncio.sleep(dice.uniform(0.1, 0.6))  # somewhere in the middle of what it writes
                    dice.choice(busy(members)).kill()
                try:
                    await wait_until(lambda: all(any(map(is_done, discord.replies(one))) for one in asked), pause=0.05)
                except AssertionError:
                    raise AssertionError("\n".join(one.text[-1500:] for one in (listener, *members))) from None
            await wait_until(lambda: nothing_waits(server), description="all is committed")
        assert sum(bool(one.killed_at) for one in members) >= ROUNDS * KILLS
        written = [text.strip() for text in scribe.written]
        for number, question in enumerate(asked):
            [answer] = discord.replies(question)
            assert answer.text.strip() in written, answer.text[-200:]
            assert tag_of(answer.text) == f"q{number}"
        assert not discord.pings
        for channel in CHANNELS:
            [name] = [one async for one in server.client.scan_iter(f"{{parley}}:conv:discord:*:{channel}:messages")]
            kept = [Message.from_json(entry) for entry in await server.client.lrange(name, 0, -1)]
            there = [question for question in asked if question.channel == channel]
            assert [message.text for message in kept if message.role is Role.USER] == [
                text.split(" ", 1)[1] if " " in text else text for text in (question.text for question in there)
            ]
            assert [message.text.strip() for message in kept if message.role is Role.ASSISTANT] == [
                discord.replies(question)[0].text.strip() for question in there
            ]
        listener.kill()
        await listener.wait()
    await server.stop()
