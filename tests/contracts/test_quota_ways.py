"""Every way to make a model work counts for every limit; run against each redis-server that is here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.quotas import Quota, Quotas
from core.store.keys import Keys
from core.turns.jobs import Job, Receipt, Seal, StoredJob
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Ending, MessageRef, Outcome, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
PRESSED = MessageRef("C1", "2.0")
WAYS = ["question", "retry", "regenerate", "completion"]
LIMITS = {
    "turns": (Quota(turns=1), "reached the limit of 1 question a minute. Try again in"),
    "tokens": (Quota(tokens=50), "reached the limit of 50 tokens a day. Try again in"),
    "queued": (Quota(queued=1), "already have 1 question waiting, the most allowed."),
}
SCOPES = {"user": "You", "channel": "This channel", "workspace": "All of us together"}


def quotas_of(scope: str, quota: Quota) -> Quotas:
    """That quota, for a person, a channel or the workspace."""
    given: Any = {scope: quota}
    return Quotas(**given)


class Team:
    """People who share a queue with quotas."""

    def __init__(self, client: redis.asyncio.Redis, quotas: Quotas) -> None:
        self.client, self.asked = client, 0
        self.memory = Memory(client, retention=3600)
        self.queue = TurnQueue(client, self.memory, platforms=["slack"], quotas=quotas)

    async def ask(self, name: str, user: str = "U1") -> Receipt:
        """Ask a question, in a line of its own."""
        return await self.queue.submit(Turn(name, CHANNEL, f"slack:{name}", Author(user, ""), "why?", 1.0))

    async def take(self) -> Job:
        """The next question, as a worker gets it."""
        [job] = (await self.queue.claim(1, idle=True)).jobs
        return job

    async def answer(self, *, keep: bool = False, tokens: int = 50) -> None:
        """Answer it; ``keep`` it for a Retry button."""
        job = await self.take()
        seal = Seal("so be it", Outcome(Ending.COMPLETE), tokens=tokens)
        kept = StoredJob(replace(job.turn, attempt=job.turn.attempt + 1), (PRESSED,), scopes=job.stored[0].scopes)
        await self.queue.seal(job, seal, [], kept if keep else None)
        assert await self.queue.commit(job, seal) == "done"

    async def go(self, way: str, user: str = "U1") -> Receipt:
        """Make the model work: ask, ask again what was kept, or what was answered to its end, or complete a text."""
        self.asked += 1
        match way:
            case "question":
                return await self.ask(f"new{self.asked}", user)
            case "completion":
                return await self.queue.admit(CHANNEL, user, f"completion{self.asked}")
            case "retry":
                return await self.queue.retry(CHANNEL, "t0", PRESSED, user)
            case _:
                turn = Turn("t0", CHANNEL, "slack:t0", Author("U1", ""), "why?", 1.0)
                return await self.queue.retry(CHANNEL, "t0", PRESSED, user, unkept=turn)

    async def later(self, *measures: str) -> None:
        """Some time later: what was counted is over."""
        for measure in measures:
            for name in await self.client.keys(f"{{parley}}:quota:*:{measure}*"):
                await self.client.delete(name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("measure", list(LIMITS))
@pytest.mark.parametrize("scope", list(SCOPES))
async def test_every_way_counts_for_every_limit(
    redis_client: redis.asyncio.Redis, way: str, measure: str, scope: str
) -> None:
    """It is refused in the words that a question gets, changes nothing then, and is counted where it is let in."""
    quota, said = LIMITS[measure]
    team = Team(redis_client, quotas_of(scope, quota))
    assert (await team.ask("t0")).accepted
    await team.answer(keep=way == "retry")
    if measure == "queued":
        assert (await team.ask("t1")).accepted

    refused = await team.go(way)
    assert refused.status == "quota"
    assert refused.note.startswith(SCOPES[scope])
    assert said.replace("have", "has" if scope == "channel" else "have") in refused.note
    assert await redis_client.hexists(Keys.retries(CHANNEL), "t0") is (way == "retry"), "the button stays"

    await team.later("turns", "tokens")
    if measure == "queued":
        await team.answer()
    let_in = await team.go(way)
    assert let_in.accepted
    if way == "completion":
        if measure == "queued":
            return  # a completion does not wait
        await team.queue.charge(CHANNEL, "U1", 50)
    elif measure == "tokens":
        await team.answer()
    assert (await team.ask("after")).status == "quota", "it was counted"
    if measure == "queued":
        await team.answer()
        assert (await team.ask("after")).accepted, "what was answered does not wait"


@pytest.mark.parametrize("way", ["retry", "regenerate"])
async def test_who_asks_again_is_who_it_counts_for(redis_client: redis.asyncio.Redis, way: str) -> None:
    """Not who asked at first: their turns, their tokens, and what waits."""
    team = Team(redis_client, Quotas(user=Quota(turns=1, tokens=100, queued=1), admins=frozenset({"U9"})))
    assert (await team.ask("t0")).accepted
    await team.answer(keep=way == "retry", tokens=10)
    assert (await team.go(way, "U2")).accepted
    assert (await team.ask("t2", "U2")).status == "quota"
    await team.later("turns")
    assert "waiting" in (await team.ask("t2", "U2")).note
    assert (await team.ask("t1", "U1")).accepted, "who asked at first has nothing of it"
    await team.answer(tokens=100)
    await team.later("turns")
    assert "tokens a day" in (await team.ask("t2", "U2")).note
    await team.later("turns", "open")
    assert (await team.ask("t3", "U1")).accepted


async def test_admins_ask_again_without_a_limit(redis_client: redis.asyncio.Redis) -> None:
    """Nothing of it is counted for anybody."""
    team = Team(redis_client, Quotas(Quota(turns=1, queued=1), Quota(turns=1), Quota(), frozenset({"U9"})))
    assert (await team.ask("t0")).accepted
    await team.answer(keep=True)
    assert (await team.go("retry", "U9")).accepted
    await team.answer()
    assert await redis_client.keys("{parley}:quota:*:open") == []


async def test_a_retry_that_is_pressed_early_waits_although_the_first_attempt_ends(
    redis_client: redis.asyncio.Redis,
) -> None:
    """The button is there a moment before its turn is done with."""
    team = Team(redis_client, Quotas(user=Quota(queued=2)))
    assert (await team.ask("t0")).accepted
    job = await team.take()
    kept = StoredJob(replace(job.turn, attempt=1), (PRESSED,), scopes=job.stored[0].scopes)
    await team.queue.seal(job, Seal("", Outcome(Ending.FAILED, retry=True)), [], kept)
    assert (await team.go("retry")).accepted
    assert (await team.ask("t1")).status == "quota", "both are counted"
    assert await team.queue.commit(job, None) == "done"
    assert (await team.ask("t1")).accepted
    assert (await team.ask("t2")).status == "quota"


async def test_who_regenerates_twice_asks_once(redis_client: redis.asyncio.Redis) -> None:
    """Two people press in the same moment; a refusal keeps nobody from pressing later."""
    team = Team(redis_client, Quotas(user=Quota(turns=1)))
    assert (await team.ask("t0")).accepted
    await team.answer()
    assert (await team.go("regenerate")).status == "quota"
    await team.later("turns")
    pressed = [(await team.go("regenerate", user)).status for user in ("U1", "U2")]
    await team.answer()
    pressed.append((await team.go("regenerate", "U3")).status)
    assert pressed == ["accepted", "duplicate", "duplicate"]


async def test_commands_cost_nothing(redis_client: redis.asyncio.Redis) -> None:
    """Whoever has asked too much can still have help, and be forgotten."""
    team = Team(redis_client, Quotas(user=Quota(turns=1, tokens=50, queued=1)))
    assert (await team.ask("t0")).accepted
    assert (await team.ask("t1")).status == "quota"
    for number, command in enumerate(("help", "memory", "settings", "forget")):
        turn = Turn(f"c{number}", CHANNEL, f"slack:c{number}", Author("U1", ""), command, 1.0)
        assert (await team.queue.submit(turn)).accepted
    await team.later("turns")
    await team.answer(tokens=0)
    assert (await team.ask("t1")).accepted, "commands are not counted"


async def test_of_many_refusals_the_first_is_told(redis_client: redis.asyncio.Redis) -> None:
    """By whatever process, to each person, until it may work again; what says so ends by itself."""
    teams = [Team(redis_client, Quotas(user=Quota(turns=1))) for _ in range(2)]
    for user in ("U1", "U2"):
        assert (await teams[0].ask(f"first {user}", user)).accepted
    told = {"U1": 0, "U2": 0}
    for number in range(200):
        for user in told:
            team = teams[number % 2]
            told[user] += await team.queue.tells(await team.ask(f"{user} {number}", user), user)
    assert told == {"U1": 1, "U2": 1}
    names = await redis_client.keys("{parley}:seen:told:*")
    assert len(names) == 2
    for name in names:
        assert 0 < await redis_client.ttl(name) <= 60
