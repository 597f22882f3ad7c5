"""Forgetting reaches everything: a store is filled with every kind of key, and searched afterwards."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis.asyncio

from bots.commands.memory import forget_person
from bots.commands.store import Store as Opened
from bots.discord.store import DiscordStore
from bots.platforms import PLATFORMS, load_all_settings
from bots.web.board import Boards, Entry, Stage
from bots.web.people import People
from core.archive.archive import Archive
from core.memory.conversations import Memory
from core.memory.exchange import MAX_CONVERSATION_MESSAGES, Exchange, Thread
from core.memory.feedback import Feedback
from core.memory.following import OPENED_THREAD
from core.memory.listening import Listening
from core.quotas import Quota, Quotas
from core.store.catalog import STORED
from core.store.keys import Keys
from core.turns.jobs import Seal, StoredJob
from core.turns.lease import Lease
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Ending, Message, MessageRef, Outcome, Role, Turn

ZOE, BOB = Author("U777", "Zoe Zebra"), Author("U7", "Bob")
WORD, OTHERS = "zebra", "giraffe"
"""What nobody but Zoe says, with the answers to it; and what nobody but Bob does."""
MONTH = 30 * 86_400
CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = replace(CHANNEL, thread="5.0")
BUSY = ConversationKey("slack", "T1", "C2")
"""A channel where what Zoe said has left the list, and stands in the notes alone."""
BRANCH = replace(BUSY, thread="9.0")
"""A thread that copied those notes."""
DISCORD = ConversationKey("discord", "100", "20")
PRIVATE = DISCORD.apart(ZOE.id)
PAGE, OWN = ConversationKey("web", "page", "general"), ConversationKey("web", "page", f"@{ZOE.id}")
ANSWERED, STOPPED = Outcome(Ending.COMPLETE), Outcome(Ending.STOPPED, retry=True)
NOBODYS = {
    "ready:slack", "held:slack", "bell:slack", "clock:slack", "suspects:slack", "epoch", "workers", "schema",
    "quarantine", "probe", "timings", "connections", "discord:commands", "discord:alive", "discord:places",
    "discord:left", "discord:servers", "slack:left", "page:channels", "listening:slack",
}  # fmt: skip
"""Keys that hold nothing of what anybody said, nor who they are."""
PASSING = {"lane", "clock", "turn"}
"""What may bear a person's id for ten minutes, or an hour, after a question was taken back; never what they said."""


@dataclass
class Store:
    """A whole deployment's Redis."""

    client: Any
    memory: Memory = field(init=False)
    queue: TurnQueue = field(init=False)
    said: int = 0

    def __post_init__(self) -> None:
        self.memory = Memory(self.client, retention=MONTH)
        quota = Quotas(user=Quota(turns=100, tokens=10**6, queued=100))
        self.queue = TurnQueue(self.client, self.memory, platforms=["slack", "discord", "web"], quotas=quota)

    def turn(self, key: ConversationKey, author: Author, lane: str = "") -> Turn:
        """A question of somebody."""
        self.said += 1
        word = WORD if author == ZOE else OTHERS
        return Turn(
            f"{key.platform}:t{self.said}", key, lane or f"{key}/{author.id}", author, f"the {word}?", float(self.said)
        )

    def exchange(self, turn: Turn, epoch: int = 0) -> Exchange:
        """What is remembered of it."""
        word = WORD if turn.author == ZOE else OTHERS
        asked = Message(Role.USER, turn.text, id=turn.id, author=turn.author, at=turn.at)
        answer = Message(Role.ASSISTANT, f"a {word}!", id=f"a-{turn.id}", at=turn.at, reply_to=turn.id)
        return Exchange(turn.key, epoch, turn.id, "", (asked, answer))

    async def say(self, key: ConversationKey, author: Author, root: str = "") -> Turn:
        """Somebody asks, and is answered."""
        turn = self.turn(key, author)
        loaded = await self.memory.load(key, Thread(root, 10**6) if root else None)
        assert await self.memory.append(self.exchange(turn, loaded.epoch))
        return turn

    async def overhear(self) -> None:
        """Both say something to each other, and edit it; one edit is of what nobody stored yet."""
        await Listening(self.client, "slack", "room").keep()
        for key in (CHANNEL, THREAD):
            for author, word in ((ZOE, WORD), (BOB, OTHERS)):
                said = Message(Role.USER, f"a {word}", id=f"m-{key}-{author.id}", author=author, at=10.0**6)
                assert await self.memory.overhear(key, said)
                assert await self.memory.correct(key, said.id, f"another {word}", at=10.0**6 + 1)
                await self.memory.correct(key, f"{said.id}-unread", f"a third {word}", at=10.0**6 + 1)

    async def note(self, key: ConversationKey, *authors: Author, text: str = "") -> None:
        """Notes are written of all that is there."""
        loaded = await self.memory.load(key)
        voices = loaded.voices | {author.id for author in authors}
        text = text or f"- {loaded.summary} {[m.text for m in loaded.messages]}"
        assert await self.memory.fold(replace(loaded, voices=voices), text, loaded.messages[-1].id)

    async def tell(self, key: ConversationKey, author: Author) -> None:
        """Somebody tells something to remember."""
        turn = self.turn(key, author)
        await self.memory.facts.tell(turn, turn.text)

    async def keep(self, turn: Turn, *voices: str) -> None:
        """A turn can be asked again."""
        job = StoredJob(replace(turn, attempt=1), (MessageRef("C1", "1"),), since=time.time(), voices=voices)
        await self.client.hset(Keys.retries(turn.key), turn.id, job.to_json())
        await self.client.expire(Keys.retries(turn.key), 3600)

    async def give_up(self, turn: Turn) -> None:
        """A turn becomes a dead letter."""
        await self.queue.submit(turn)
        [job] = (await self.queue.claim(1, idle=True)).jobs
        assert await self.queue.move_to_dead_letters(job, "it was too hard")

    async def garble(self, turn: Turn) -> None:
        """The same, of entries that cannot be read: one as a job, one not even as JSON."""
        job = StoredJob(turn).to_json()
        await self.client.rpush(Keys.inbox(turn.lane), job.replace('"at"', '"when"'), job[:-9])
        assert await self.queue.requeue_orphans() == 1
        assert not (await self.queue.claim(1, idle=True)).jobs

    async def fill(self) -> None:
        """Put every kind of key there that Parley has."""
        for key, root in ((CHANNEL, ""), (THREAD, "slack:t1"), (DISCORD, ""), (PRIVATE, ""), (PAGE, ""), (OWN, "")):
            for author in (ZOE, BOB) if key not in (PRIVATE, OWN) else (ZOE,):
                turn = await self.say(key, author, root)
                await self.keep(turn)
                if author == BOB:  # and once together with what Zoe asked
                    together = replace(turn, text=f"{WORD} and {OTHERS}", id=f"{turn.id}b")
                    await self.keep(together, ZOE.id)
                if key.platform == "web":
                    entry = replace(Entry.of(turn), stage=Stage.DONE, answer=f"a {turn.text}")
                    await Boards(self.client, retention=MONTH).show(key, entry)
        for author in (ZOE, BOB):
            await self.note(CHANNEL, author)
        await self.say(BUSY, ZOE)
        await self.note(BUSY, ZOE)
        for _ in range(MAX_CONVERSATION_MESSAGES // 2 + 1):
            last = await self.say(BUSY, BOB)
        await self.memory.load(BRANCH, Thread(last.id, 10**6))
        await self.say(BRANCH, BOB)
        for key in (BUSY, BRANCH):
            assert WORD in (await self.memory.load(key)).summary
        await self.queue.submit(replace(self.turn(CHANNEL, ZOE), place={OPENED_THREAD: THREAD.thread}))
        [job] = (await self.queue.claim(1, idle=True)).jobs
        assert await self.queue.commit(job, None) == "done"
        for author in (ZOE, BOB):
            await self.give_up(self.turn(CHANNEL, author))
            await self.garble(self.turn(CHANNEL, author))
            await Feedback(self.client).rate("slack:t1", author.id, "up")
            await People(self.client, retention=MONTH).set_name(author.id, author.name)
            await self.queue.first(f"{CHANNEL}/{author.id}/refused")
            await self.memory.choose(CHANNEL, "temperature", "0.2")
            for key in (CHANNEL, THREAD, PAGE):
                await self.tell(key, author)
        await self.tell(PRIVATE, ZOE)
        await self.tell(OWN, ZOE)
        await self.overhear()
        await DiscordStore(self.client).count_bot_answer("20")

    async def forget_person(self, user: str) -> None:
        """As ``parley memory forget --user`` does."""
        archive = Archive(self.client, retention=MONTH)
        await forget_person(Opened(self.client, archive, self.memory, load_all_settings(_env_file=None)), user)

    async def finish(self) -> None:
        """A worker does what is left to do."""
        while jobs := (await self.queue.claim(10, idle=True)).jobs:
            for job in jobs:
                lease = Lease(job, 60, time.monotonic())
                seal = None if lease.withdrawn else Seal("!", ANSWERED, self.exchange(job.turn))
                assert await self.queue.commit(job, seal) == "done"

    async def holding(self, *needles: str) -> dict[str, str]:
        """Every key that holds one of these, or is called so, with what it holds."""
        pattern = re.compile("|".join(rf"(?<![\w-]){re.escape(needle)}(?![\w-])" for needle in needles))
        return {name: text for name, text in (await self.dump()).items() if pattern.search(f"{name} {text}")}

    async def dump(self) -> dict[str, str]:
        """All of Redis, as text."""
        read = {
            "string": self.client.get,
            "list": lambda name: self.client.lrange(name, 0, -1),
            "hash": self.client.hgetall,
            "set": self.client.smembers,
            "zset": lambda name: self.client.zrange(name, 0, -1),
        }
        names = [name async for name in self.client.scan_iter(count=1000)]
        return {name: str(await read[await self.client.type(name)](name)) for name in names}


def kind_of(name: str) -> str:
    """What the documentation calls a key, without what differs: its part for a conversation's."""
    rest = name.removeprefix("{parley}:")
    if rest.startswith("conv:"):
        return f"conv {rest.rpartition(':')[2]}"
    return rest if rest in NOBODYS else rest.partition(":")[0]


def documented() -> set[str]:
    """Every kind of key that the catalog and the platforms list."""
    known = [*STORED, *(one for platform in PLATFORMS for one in platform.stored_keys())]
    names = {re.sub(r"<platform>(:<person>)?", lambda found: "U1" if found[1] else "slack", one.name) for one in known}
    return {kind_of("{parley}:" + name.replace("conv:<conversation>", "conv:slack:T1:C1")) for name in names}


@pytest.fixture
async def store(client: redis.asyncio.Redis) -> Store:
    """One that is filled."""
    made = Store(client)
    await made.fill()
    return made


EVERYWHERE = {
    *("conv messages", "conv state", "conv retries", "conv board", "conv facts", "conv room", "conv changed"),
    *("dead", "feedback", "page", "quota", "seen"),
}
"""Kinds of keys where a person is found before they are forgotten."""


async def test_after_a_person_is_forgotten_no_key_holds_their_words_or_their_id(store: Store) -> None:
    """Wherever they spoke, also if that left the list long ago, and while they wait for an answer; others' stay."""
    waiting, answered = store.turn(CHANNEL, ZOE, "slack:a"), store.turn(THREAD, ZOE, "slack:b")
    await store.queue.submit(answered)
    [job] = (await store.queue.claim(1, idle=True)).jobs
    await store.queue.mark(job, posting=0, refs=[], text=f"a {WORD}")
    again = StoredJob(replace(job.turn, attempt=1), since=time.time())
    await store.queue.seal(job, Seal(f"a {WORD}", STOPPED, store.exchange(job.turn)), [], again)
    await store.queue.submit(waiting)
    before = await store.holding(WORD, ZOE.id)
    assert {kind_of(name) for name in before} >= EVERYWHERE | {"lane", "clock"}
    others = await store.holding(OTHERS)

    spoke = Keys.following(THREAD)
    assert "person" in await store.client.hgetall(spoke)  # a digest of Zoe's id
    await store.forget_person(ZOE.id)
    assert "person" not in await store.client.hgetall(spoke)
    notes = await store.queue.commit(job, Seal(f"a {WORD}", STOPPED, store.exchange(job.turn)))
    assert isinstance(notes, tuple)  # what was being answered learns of it
    assert await store.queue.commit(replace(job, notes=notes), None) == "done"
    await store.finish()

    left = await store.holding(WORD, ZOE.id, ZOE.name)
    assert {kind_of(name) for name in left} <= PASSING
    assert not await store.holding(WORD, ZOE.name)
    assert max([await store.client.ttl(name) for name in left], default=0) <= 3600
    # Notes went, since nobody can take one person's words out of them, and edits of what is not stored yet, since
    # nobody knows whose they are; nothing else of others did.
    kept = await store.holding(OTHERS)
    assert {name for name in others if not name.endswith(("state", "retries", "changed"))} <= kept.keys()
    assert {BOB.id: "up"} == await store.client.hgetall(Keys.feedback("slack:t1"))


async def test_notes_that_tell_nothing_of_a_person_stay(store: Store) -> None:
    """Nor does a name that begins alike drop anything."""
    summary = (await store.memory.load(BUSY)).summary
    await store.forget_person("U77")
    assert (await store.memory.load(BUSY)).summary == summary
    await store.forget_person(BOB.id)
    assert (await store.memory.load(BUSY)).summary == summary
    assert not (await store.memory.load(CHANNEL)).summary
    assert not await store.holding(OTHERS)


async def test_notes_of_which_nobody_wrote_down_whose_words_they_tell_go(store: Store) -> None:
    """They are of an older version, or there were too many people, or the record is damaged."""
    for voices in (None, '["*"]', "no JSON"):
        await store.client.hset(Keys.state(BUSY), mapping={"summary": "- something", "folded": "x"})
        await store.client.hdel(Keys.state(BUSY), "voices")
        if voices:
            await store.client.hset(Keys.state(BUSY), "voices", voices)
        await store.memory.withdraw_author(BUSY, "U1")
        assert not (await store.memory.load(BUSY)).summary


PLACES = {
    "a channel with its threads": (CHANNEL, {CHANNEL, THREAD}),
    "a thread": (THREAD, {THREAD}),
    "a channel of notes": (BUSY, {BUSY, BRANCH}),
    "a channel of the page": (PAGE, {PAGE}),
    "somebody's own channel": (OWN, {OWN}),
    "a channel where somebody else asked in private": (DISCORD, {DISCORD}),
}


@pytest.mark.parametrize(("key", "reached"), PLACES.values(), ids=PLACES)
async def test_after_a_conversation_is_forgotten_nothing_of_it_is_left(
    store: Store, key: ConversationKey, reached: set[ConversationKey]
) -> None:
    """Its messages, notes, retries, board and dead letters, and those of its threads; and of nothing else."""
    for one in reached:
        await store.give_up(store.turn(one, BOB, f"slack:{one.channel}"))
    before = await store.dump()
    assert any(name.startswith(f"{Keys.CONVERSATIONS}{key}:") for name in before)
    await store.memory.forget(key, asker=BOB.id)
    after = await store.dump()
    for name, text in after.items():
        if kind_of(name).startswith("conv ") and Keys.part_of(name)[0] in reached:
            assert kind_of(name) in ("conv state", "conv settings", "conv forks", "conv following")
            assert not re.search(rf"{WORD}|{OTHERS}|{ZOE.id}|{BOB.id}", text), name
    letters = after.get(Keys.DEAD, "")
    assert not any(f'"{one}"' in letters or f"lane:{one}" in letters for one in reached)
    elsewhere = {name for name in before if "conv:" in name and Keys.part_of(name)[0] not in reached}
    assert {name: before[name] for name in elsewhere} == {name: after.get(name) for name in elsewhere}


async def test_who_forgets_a_channel_forgets_what_they_asked_there_in_private(store: Store) -> None:
    """They, and nobody else."""
    await store.memory.forget(DISCORD, asker=BOB.id)
    assert (await store.memory.load(PRIVATE)).messages
    await store.memory.forget(DISCORD, asker=ZOE.id)
    assert not (await store.memory.load(PRIVATE)).messages
    assert not await store.client.exists(Keys.state(DISCORD.apart(BOB.id)))


ERASED = {
    "a thread": (THREAD, {THREAD}),
    "a channel": (CHANNEL, {CHANNEL, THREAD}),
    "a channel where somebody asked in private": (DISCORD, {DISCORD, PRIVATE}),
    "a workspace": (ConversationKey("slack", "T1", ""), {CHANNEL, THREAD, BUSY, BRANCH}),
}


@pytest.mark.parametrize(("place", "reached"), ERASED.values(), ids=ERASED)
async def test_of_a_place_that_is_gone_nothing_is_left_but_that_it_was_forgotten(
    store: Store, place: ConversationKey, reached: set[ConversationKey]
) -> None:
    """Also what was chosen there, and what anybody asked there in private."""
    for one in reached:
        await store.memory.choose(one, "temperature", "0.3")
    before = await store.dump()
    await store.memory.erase(place)
    after = await store.dump()
    for name, text in after.items():
        if kind_of(name).startswith("conv ") and Keys.part_of(name)[0] in reached:
            assert (kind_of(name), text) == ("conv state", str({"epoch": "1"}))
    assert not any(f'"{one}"' in after.get(Keys.DEAD, "") for one in reached)
    elsewhere = {name for name in before if "conv:" in name and Keys.part_of(name)[0] not in reached}
    assert {name: before[name] for name in elsewhere if not name.endswith("forks")} == {
        name: after.get(name) for name in elsewhere if not name.endswith("forks")
    }


async def test_what_was_being_answered_when_it_was_forgotten_cannot_be_asked_again(store: Store) -> None:
    """What its button would ask was written down after it was forgotten."""
    await store.queue.submit(store.turn(CHANNEL, ZOE))
    [job] = (await store.queue.claim(1, idle=True)).jobs
    await store.memory.forget(CHANNEL)
    seal, again = Seal("!", STOPPED, store.exchange(job.turn)), StoredJob(replace(job.turn, attempt=1))
    assert await store.queue.seal(job, seal, [], again)
    assert await store.queue.commit(job, seal) == "done"
    assert not await store.client.exists(Keys.retries(CHANNEL), Keys.messages(CHANNEL))


async def test_every_kind_of_key_is_looked_at(store: Store) -> None:
    """Whoever adds one decides whether it holds anything of people; then it is filled here."""
    await store.queue.submit(store.turn(CHANNEL, ZOE))
    met = {kind_of(name) for name in await store.dump()}
    assert documented() - met - NOBODYS <= {"conv folding", "budget", "discord"}


async def fill_past_the_list(memory: Memory, store: Store) -> ConversationKey:
    """A channel whose first ten messages stand in the notes alone, and the next ones in the list as well."""
    key = ConversationKey("slack", "T1", "C9")
    store.said = 1000
    for _ in range(MAX_CONVERSATION_MESSAGES // 2):
        await store.say(key, BOB)
    await store.note(key, BOB, text="- all of it")
    for _ in range(5):
        await store.say(key, BOB)
    assert (await memory.load(key)).summary
    return key


CHANGES: dict[str, tuple[str, float, bool]] = {
    "one that left the list": ("slack:t1003", 1003.0, True),
    "one at which nobody looks any more, said when others were that left the list": ("slack:t1003x", 1003.5, True),
    "one that is in the list and in the notes": ("slack:t1050", 1050.0, True),
    "one that came after the notes": ("slack:t1104", 1104.0, False),
    "one that nobody asked us, newer than what left the list": ("slack:t1050x", 1050.5, False),
    "one of which nobody says when it was said": ("slack:t9", 0.0, True),
}


@pytest.mark.parametrize(("message", "said", "dropped"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("change", ["withdraw", "correct"])
async def test_notes_go_with_what_may_stand_in_them(
    store: Store, change: str, message: str, said: float, dropped: bool
) -> None:
    """Edited or deleted; and notes that are being written meanwhile are not stored either."""
    memory = store.memory
    key = await fill_past_the_list(memory, store)
    before = await memory.load(key)
    if change == "withdraw":
        await memory.withdraw(key, message, said=said)
    else:
        await memory.correct(key, message, "something else", said=said)
    after = await memory.load(key)
    assert bool(after.summary) is not dropped
    if dropped:
        assert not await memory.fold(before, "- all of it, again", before.messages[-1].id)


async def test_a_thread_drops_the_notes_that_it_copied(store: Store) -> None:
    """Of what left the list of its channel before it began."""
    await store.memory.withdraw(BUSY, "slack:t1", said=1.0)
    assert not (await store.memory.load(BUSY)).summary
    assert not (await store.memory.load(BRANCH)).summary


async def test_notes_of_a_version_that_wrote_down_less_go_with_what_is_older_than_the_list(store: Store) -> None:
    """It did not say what left the list."""
    key = await fill_past_the_list(store.memory, store)
    await store.client.hdel(Keys.state(key), "gone", "voices")
    await store.memory.withdraw(key, "slack:t1050x", said=1050.5)
    assert (await store.memory.load(key)).summary
    await store.memory.withdraw(key, "slack:t1001", said=1001.0)
    assert not (await store.memory.load(key)).summary


async def test_a_person_who_was_only_overheard_is_forgotten(store: Store) -> None:
    """Nothing else is stored of that channel; others' words stay, and so do those of a place that nobody erases."""
    silent, other = replace(CHANNEL, channel="C7"), replace(CHANNEL, channel="C8")
    for key in (silent, other):
        for author, word in ((ZOE, WORD), (BOB, OTHERS)):
            assert await store.memory.overhear(key, Message(Role.USER, word, f"m-{author.id}", author, 1.0))
    await store.forget_person(ZOE.id)
    assert [message.author for message in (await store.memory.load(silent)).room] == [BOB]
    await store.memory.erase(silent)
    assert not (await store.memory.load(silent)).room
    assert (await store.memory.load(other)).room
    await store.memory.erase(replace(CHANNEL, channel=""))
    assert not (await store.memory.load(other)).room
