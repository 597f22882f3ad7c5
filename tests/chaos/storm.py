"""A storm over a fleet: people ask without pause while its processes are killed and frozen at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from redis.exceptions import RedisError

from tests.chaos.fleet import Fleet, Member
from tests.chaos.oracle import final
from tests.chaos.people import USERS, People, Question
from tests.waiting import wait_until

SEASON = 8
"""Rounds after which people move to another channel: a memory that is full forgets, and here nothing may be missing."""
LANES = 20
"""People who ask at the same time, each in a lane of their own."""


@dataclass
class Storm:
    """What is done to a fleet, by the dice of ``seed``, until ``kills`` processes were killed."""

    fleet: Fleet
    people: People
    kills: int
    seed: int
    every: float = 0.7
    """Seconds between two faults, on average."""
    killed: int = 0
    frozen: int = 0
    disasters: dict[str, int] = field(default_factory=dict)
    victims: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        self._over = asyncio.Event()
        self._thawing: set[asyncio.Task[None]] = set()

    async def rage(self, *, disasters: bool = True) -> None:
        """Ask and break until enough were killed."""
        async with asyncio.TaskGroup() as group:
            for number in range(LANES):
                group.create_task(self._ask(number, USERS[number % 3]))
            group.create_task(self._break(disasters))
        await asyncio.gather(*self._thawing)

    async def _ask(self, number: int, user: str) -> None:
        """One person: a question, often one right behind it, sometimes one in a thread, then a pause."""
        for rounds in count():
            if self._over.is_set():
                break
            # Two people share a channel.
            channel = self.people.channel(number // 2 + LANES * (rounds // SEASON))
            words = self._dice.choice((5, 20, 40, 80, 1400))
            asked = await self.people.ask(channel, user=user, words=words)
            if self._dice.random() < 0.4:
                await self.people.ask(channel, user=user)
            if self._dice.random() < 0.3:
                await self.people.ask(channel, user=user, thread=asked.ts)
            if self._dice.random() < 0.2:
                await self.fleet.slack.resend(asked.ts)
            await self._answered(asked)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self._dice.uniform(0.1, 2))

    async def _answered(self, question: Question) -> None:
        """People read before they go on; some lose patience."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._dice.choice((2, 10, 30))):
                await wait_until(
                    lambda: final(self.people.reply(question)) or self._over.is_set(), timeout=60, pause=0.1
                )

    async def _break(self, disasters: bool) -> None:
        """One fault after another."""
        great: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("Redis killed", self._kill_redis),
            ("Redis paused 4 s", self._pause_redis),
            ("SCRIPT FLUSH", self._flush_scripts),
            ("sockets cut", self.fleet.slack.drop_sockets),
            ("SIGTERM", self._stop_one),
        ]
        for number in count(1):
            if self.killed >= self.kills:
                break
            await asyncio.sleep(self._dice.expovariate(1 / self.every))
            if disasters and number % 25 == 0:
                name, strike = great[number // 25 % len(great)]
                self.disasters[name] = self.disasters.get(name, 0) + 1
                await strike()
            else:
                await self._strike()
        self._over.set()

    async def _strike(self) -> None:
        """Kill one, or freeze it for longer than its lease."""
        chosen = self._dice.choice([*self.fleet.workers, *self.fleet.workers, *self.fleet.listeners] or [None])
        if not chosen or chosen.frozen:
            return
        if self._dice.random() < 0.15:
            chosen.freeze()
            self.frozen += 1
            task = asyncio.create_task(self._thaw(chosen, self._dice.uniform(0.2, 5.0)))
            self._thawing.add(task)
            task.add_done_callback(self._thawing.discard)
        else:
            chosen.kill()
            self.killed += 1
            self.victims.append(chosen)

    async def _thaw(self, member: Member, after: float) -> None:
        await asyncio.sleep(after)
        member.thaw()

    async def _kill_redis(self) -> None:
        self.fleet.server.kill()
        await asyncio.sleep(self._dice.uniform(0.2, 2))
        self.fleet.server.start()

    async def _pause_redis(self) -> None:
        await self.fleet.redis.execute_command("CLIENT", "PAUSE", "4000", "ALL")  # type: ignore[no-untyped-call]

    async def _flush_scripts(self) -> None:
        with suppress(RedisError):
            await self.fleet.redis.script_flush()

    async def _stop_one(self) -> None:
        if self.fleet.workers:
            self._dice.choice(self.fleet.workers).thaw()
            with suppress(TimeoutError):
                await self._dice.choice(self.fleet.workers).stop()


def recoveries(fleet: Fleet, victims: list[Member]) -> list[float]:
    """Seconds from a worker's death until another had each turn that it was answering."""
    taken = fleet.taken()
    done = {(line["turn"], member.pid) for member in fleet.members for line in member.lines("answered")}
    died = {member.pid: member.killed_at for member in victims}
    seconds = []
    for number, one in enumerate(taken):
        if one.pid in died and (one.turn, one.pid) not in done:
            heir = next((later for later in taken[number + 1 :] if later.turn == one.turn), None)
            if heir and heir.at > died[one.pid]:
                seconds.append(heir.at - died[one.pid])
    return sorted(seconds)
