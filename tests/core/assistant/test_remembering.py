"""Commands about what people told to remember, as they are given in a channel, a thread and a direct message."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis.asyncio

from core.assistant.command import CommandReply
from core.assistant.commands import Confirmation, find
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.memory.facts import MAX_FACTS
from core.policy import Policy, Venue
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role, Turn

ANN, BOB = Author("U1", "Ann"), Author("U2", "Bob")
CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = replace(CHANNEL, thread="17.1")
DIRECT = replace(CHANNEL, channel="D1")
VENUE = Venue("@Parley ", shared=True, buttons=True, threads=True, contact="@ops")
ALONE = Venue()
AT = 1_795_000_000.0


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """An empty memory."""
    return Memory(client, retention=3600)


class Chat:
    """People who give commands."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self._said = memory, 0

    async def __call__(
        self, text: str, author: Author = ANN, key: ConversationKey = CHANNEL, venue: Venue = VENUE
    ) -> CommandReply:
        """What Parley says to a command; admins alone can forget and choose settings here."""
        self._said += 1
        command = find(text)
        assert command, text
        turn = Turn(f"t{self._said}", key, str(key), author, text, AT)
        policy = Policy(forget_by="admins", settings_by="admins", retention=30 * 86_400)
        return await command(turn, self.memory, venue, policy)

    async def facts(self, key: ConversationKey = CHANNEL) -> list[str]:
        """What is remembered."""
        return [f"{fact.number} {fact.text}" for fact in await self.memory.facts.all(key)]


@pytest.fixture
def say(memory: Memory) -> Chat:
    """Give commands."""
    return Chat(memory)


async def test_what_is_told_is_noted_with_its_number_and_how_to_remove_it(say: Chat) -> None:
    """By anybody, in a thread for its channel."""
    said = await say("remember: standup is at 9:15")
    assert said.text == (
        "Noted for this channel as 1: “standup is at 9:15”. `@Parley memory` lists what I was told, "
        "`@Parley forget 1` removes it."
    )
    assert (await say("remember that we use Go", BOB, THREAD)).text.startswith("Noted for this channel as 2: “we use")
    assert await say.facts() == ["1 standup is at 9:15", "2 we use Go"]
    said = await say("remember: buy milk", ANN, DIRECT, ALONE)
    assert said.text.startswith("Noted for this conversation as 1: “buy milk”. `memory` lists")


async def test_memory_lists_what_was_told_by_whom_and_when(say: Chat) -> None:
    """Also where nothing was said yet, and in a thread; before what nobody told, the notes."""
    hears = "In threads where I was asked, I also read what isn't meant for me, and remember it with the thread."
    assert (await say("memory")).text == f"I remember nothing of this channel yet. {hears}"
    await say("remember: standup is at 9:15")
    await say("remember: **we use Go", BOB)
    await say("1 is wrong: standup is at 9:30", BOB)
    told = (
        "What I was told to remember for this channel (`@Parley forget 2` removes one, and `@Parley 2 is wrong: …` "
        "corrects one):\n\n"
        "- **1**: standup is at 9:30 (corrected by Bob, 18 November 2026)\n"
        "- **2**: **we use Go** (Bob, 18 November 2026)"
    )
    assert (await say("memory")).text == f"I remember nothing of this channel yet. {hears}\n\n{told}"
    assert (await say("memory", key=THREAD)).text == f"I remember nothing of this thread yet. {hears}\n\n{told}"
    asked = Message(Role.USER, "hi", id="q", author=ANN, at=2.0)
    answer = Message(Role.ASSISTANT, "ho", id="a", at=2.0, reply_to="q")
    await say.memory.append(Exchange(CHANNEL, 0, "q", "", (asked, answer)))
    await say.memory.fold(await say.memory.load(CHANNEL), "- a greeting", "a")
    said = (await say("memory")).text
    assert said.startswith("I remember 1 message and 1 answer of this channel")
    assert said.index(told) < said.index("My notes")


async def test_one_is_removed_by_its_number(say: Chat) -> None:
    """A number that does not exist: the reply lists those that do."""
    assert (await say("forget 1")).text == (
        "I was told nothing to remember for this channel yet. `@Parley remember: standup is at 9:15` tells me "
        "something."
    )
    for text in ("one", "two", "three"):
        await say(f"remember: {text}")
    assert (await say("forget 2?")).text == (
        "`@Parley forget 2` would remove “two” for this channel. Nothing is removed yet."
    )
    assert (await say("forget #2", BOB, THREAD)).text == "Removed 2: “two”."
    assert await say.facts() == ["1 one", "3 three"]
    assert (await say("forget 2")).text == "Number 2 is removed already. There's 1 and 3: `@Parley memory` lists them."
    said = await say("forget 7")
    assert said.text == "There's no number 7 in this channel. There's 1 and 3: `@Parley memory` lists them."
    assert (await say("forget 0")).text.startswith("There's no number 0 in this channel.")
    assert said.private
    assert (await say("forget 3 and 1")).text.startswith("Did you mean `@Parley forget 1`?")
    assert await say.facts() == ["1 one", "3 three"]


async def test_a_correction_replaces_what_it_means(say: Chat) -> None:
    """By number, or what is most like it; where nothing is, it is noted, and how to say it to the model."""
    await say("remember: standup is at 9:15")
    await say("remember: the release is on Thursday")
    said = (await say("that is wrong: standup is at 9:30", BOB)).text
    assert said == "Corrected 1: “standup is at 9:30” replaces “standup is at 9:15”."
    said = (await say("2 is wrong: it is on Friday", BOB)).text
    assert said == "Corrected 2: “it is on Friday” replaces “the release is on Thursday”."
    assert await say.facts() == ["1 standup is at 9:30", "2 it is on Friday"]
    [first, _] = await say.memory.facts.all(CHANNEL)
    assert (first.author, first.corrected) == (BOB, True)
    said = (await say("that's wrong: lunch is at noon")).text
    assert said == (
        "Noted for this channel as 3: “lunch is at noon”. I was told nothing like it before, so it's a new entry. If "
        "you meant my last answer, say it without “that is wrong:”, and `@Parley forget 3` removes the entry."
    )
    assert (await say.memory.facts.all(CHANNEL))[-1].corrected
    assert (await say("9 is wrong: x")).text.startswith("There's no number 9 in this channel. There's 1, 2 and 3:")
    for text in ("that is wrong:", "3 is wrong"):
        assert "`@Parley 3 is wrong: standup is at 9:30` corrects number 3" in (await say(text)).text
    assert len(await say.facts()) == 3


@pytest.mark.parametrize("text", ["remember", "Remember.", "remember:", "/remember"])
async def test_remember_alone_says_how_it_is_used(say: Chat, text: str) -> None:
    """And nothing is noted."""
    assert "as in `@Parley remember: standup is at 9:15`" in (await say(text)).text
    assert await say.facts() == []


async def test_what_cannot_be_noted_is_refused_with_what_to_do(say: Chat) -> None:
    """Too long, or too much."""
    said = await say(f"remember: {'x' * 501}")
    assert "That's 501 characters, and I can keep 500" in said.text
    assert said.private
    for number in range(MAX_FACTS):
        await say(f"remember: {number}")
    assert "`@Parley forget 3` removes one" in (await say("remember: more")).text
    assert "`@Parley forget 3` removes one" in (await say("that is wrong: nothing of the kind")).text


async def test_words_of_people_fill_none_of_our_placeholders(say: Chat) -> None:
    """They are said as they were told."""
    assert "“ask {contact} or {/help}”" in (await say("remember: ask {contact} or {/help}")).text
    for text in ("memory", "1 is wrong: {contact}", "forget 1?", "forget 1"):
        assert "{contact}" in (await say(text)).text


MISTYPED = {
    "remeber: standup is at 9:15 on every single day of the week": "remember: standup is at 9:15 on every single day",
    "Rember: tea": "remember: tea",
    "rememeber that we use Go": "remember that we use Go",
    "remembr": "remember",
    "/rememb tea": "remember",
}


@pytest.mark.parametrize(("text", "meant"), MISTYPED.items())
async def test_a_mistyped_remember_is_asked_about(say: Chat, text: str, meant: str) -> None:
    """And nothing is noted."""
    assert (await say(text)).text.startswith(f"Did you mean `@Parley {meant}")
    assert await say.facts() == []


@pytest.mark.parametrize(
    "text",
    [
        *("Remember when we met?", "remember the milk", "remember to call", "do you remember: it rained?"),
        *("members: Ann, Bob", "Remembered: nobody", "reminder: standup", "remembers that day", "That is wrong."),
        *("that's wrong, it was Monday", "3 is wrong because it is odd", "forget 3.5", "forget that 3 is odd"),
        *("remembering: a poem", "December: what happened?", "remembrance", "member", "reminders"),
    ],
)
def test_a_question_is_for_the_model(text: str) -> None:
    """Remember is a common word."""
    assert find(text) is None


async def talk(memory: Memory, key: ConversationKey) -> None:
    """Somebody is answered."""
    kept = await memory.load(key, Thread("17.1", 17.1) if key.parent else None)
    asked = Message(Role.USER, "hi", id=f"{key}/q", author=ANN, at=20.0)
    answer = Message(Role.ASSISTANT, "ho", id=f"{key}/a", at=20.0, reply_to=asked.id)
    await memory.append(Exchange(key, kept.epoch, asked.id, "", (asked, answer)))


async def test_forgetting_says_what_becomes_of_what_was_told(memory: Memory, client: redis.asyncio.Redis) -> None:
    """A channel's goes with it, also after it was confirmed; a thread leaves it. What others told is asked about."""

    async def say(text: str, key: ConversationKey = CHANNEL, author: Author = ANN) -> CommandReply:
        command = find(text)
        assert command
        return await command(Turn(f"t{text}", key, str(key), author, text, AT), memory, VENUE)

    await talk(memory, CHANNEL)
    await talk(memory, THREAD)
    await say("remember: one", author=BOB)
    await say("remember: two", THREAD)
    assert (await say("forget now", THREAD)).text == (
        "Done: I've forgotten this thread (2 messages). What I was told to remember for its channel stays: "
        "`@Parley memory` lists it."
    )
    assert (await say("forget", THREAD)).text.startswith("There's nothing to forget in this thread. What I was")
    asked = await say("forget")
    assert "2 messages and answers, from 2 people, and 2 things I was told to remember. Press" in asked.text
    assert "2 messages and answers, from 2 people, and 2 things I was" in (await say("forget?")).text
    confirmation = Confirmation(CHANNEL, "tforget", ANN.id, asked.confirm)
    queue = TurnQueue(client, memory)
    await queue.first(confirmation.name)
    assert await confirmation.give(ANN.id, queue, memory, VENUE, Policy()) == (
        True,
        "Done: I've forgotten this channel (2 messages and 2 things I was told to remember).",
    )
    assert await memory.facts.all(THREAD) == ()
    assert (await say("forget")).text == "There's nothing to forget in this channel."
    await say("remember: one")
    assert (await say("forget")).text == "Done: I've forgotten this channel (1 thing I was told to remember)."
