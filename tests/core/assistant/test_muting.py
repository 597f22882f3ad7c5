"""``mute``, ``unmute`` and ``settings follow``: what they say, and what help says about mentions in threads."""

from __future__ import annotations

from typing import get_args

import pytest
import redis.asyncio

from core.assistant.command import CommandReply
from core.assistant.commands import FOLLOWS, NO_THREADS, find
from core.memory.choices import Choices
from core.memory.conversations import Memory
from core.memory.following import OPENED_THREAD, Remark
from core.policy import Policy, Venue
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, ConversationSettings, Follow, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "1700.1")
ANN = Author("U1", "Ann")
IN_CHANNEL = Venue("@Parley ", shared=True, buttons=True, threads=True, contact="@ops", asking="Mention me.")
ALONE = Venue(contact="@ops")


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """An empty memory."""
    return Memory(client, retention=3600, choices=Choices("Be kind.", models=("large",)))


def turn(text: str, key: ConversationKey, **place: str) -> Turn:
    """Something that Ann says."""
    return Turn(f"t-{key}-{text}", key, str(key), ANN, text, 1.0, place=place)


async def say(
    memory: Memory, text: str, key: ConversationKey = THREAD, venue: Venue = IN_CHANNEL, policy: Policy | None = None
) -> CommandReply:
    """What Parley says to a command."""
    command = find(text)
    assert command, text
    return await command(turn(text, key), memory, venue, policy or Policy())


async def followed(memory: Memory) -> bool:
    """Whether Ann needs no mention in the thread."""
    return await memory.following.is_for_parley(Remark(THREAD, "t", ANN, "and now?"), own="Parley")


@pytest.fixture
async def thread(client: redis.asyncio.Redis, memory: Memory) -> Memory:
    """Ann was answered in a thread."""
    await TurnQueue(client, memory).submit(turn("hello", CHANNEL, **{OPENED_THREAD: THREAD.thread}))
    assert await followed(memory)
    return memory


MUTES = ["mute", "Mute.", "/mute", "be quiet here", "Be quiet here!", "Parley, be quiet here", "Please be quiet here."]
UNMUTES = ["unmute", "/unmute", "you can talk again", "Parley, you can talk again.", "You can talk again here"]


@pytest.mark.parametrize("text", MUTES)
async def test_a_muted_thread_needs_a_mention(thread: Memory, text: str) -> None:
    """The reply says so, and how to take it back."""
    assert (await say(thread, text)).text == (
        "I'll be quiet in this thread, and answer only when mentioned. `@Parley unmute` takes that back."
    )
    assert not await followed(thread)


@pytest.mark.parametrize("text", UNMUTES)
async def test_unmute_takes_that_back(thread: Memory, text: str) -> None:
    """The reply says when a mention is needed now."""
    await say(thread, "mute")
    assert (await say(thread, text)).text == f"I'm no longer muted in this thread. {FOLLOWS['auto']}"
    assert await followed(thread)


@pytest.mark.parametrize("text", ["mute?", "Unmute?", "be quiet here?", "you can talk again?"])
async def test_a_question_about_it_changes_nothing(thread: Memory, text: str) -> None:
    """It is told what the command does."""
    assert "only when mentioned" in (await say(thread, text)).text
    assert await followed(thread)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("mtue", "mute"), ("/muet", "mute"), ("unmut", "unmute"), ("unmtue", "unmute"), ("!mut", "mute")],
)
async def test_a_mistyped_one_is_answered_with_what_was_meant(thread: Memory, text: str, meant: str) -> None:
    """And mutes nothing."""
    assert (await say(thread, text)).text.startswith(f"Did you mean `@Parley {meant}`?")
    assert await followed(thread)


@pytest.mark.parametrize(
    "text",
    [
        *("muted", "Mut", "mutt", "mate", "mule", "muse", "minute", "Meute", "müde", "muta", "mutable", "commute"),
        *("mute the radio", "how do I mute a thread?", "be quiet", "be quiet, please", "quiet here", "unmuted"),
        *("you can talk", "can you talk again?", "you can talk again tomorrow at nine", "Parley"),
    ],
)
def test_other_words_are_questions(text: str) -> None:
    """However near they are."""
    assert find(text) is None


@pytest.mark.parametrize("text", ["mute", "unmute", "be quiet here"])
async def test_outside_threads_they_say_where_they_belong(memory: Memory, text: str) -> None:
    """In a channel, for its threads; where there are no threads, that there are none."""
    said = await say(memory, text, CHANNEL)
    assert said.text == "That's for threads: write `@Parley mute` or `@Parley unmute` in the thread that you mean."
    assert said.private
    assert (await say(memory, text, CHANNEL, ALONE)).text == NO_THREADS


async def test_help_says_when_a_mention_is_needed_in_threads(memory: Memory) -> None:
    """As it is chosen for the channel; nothing where there are no threads."""
    for mode in get_args(Follow):
        await memory.choose(CHANNEL, "follow", mode)
        said = (await say(memory, "help", CHANNEL)).text
        assert said.startswith(f"Mention me. {IN_CHANNEL.tell(FOLLOWS[mode])}\n")
        assert "- `@Parley mute`: in a thread: answer there only when mentioned; `@Parley unmute` takes" in said
    alone = (await say(memory, "help", CHANNEL, ALONE)).text
    assert "thread" not in alone.replace("forget this conversation and its threads", "")
    assert "mute" not in alone


async def test_people_choose_how_a_channel_is_followed(memory: Memory) -> None:
    """Where there are threads; with the operator's policy, as for other settings."""
    said = (await say(memory, "settings follow always", CHANNEL)).text
    assert "- `follow`: always. Choose: `mention`, `auto`, `always`" in said
    assert (await memory.settings(THREAD))[0] == ConversationSettings(follow="always")
    assert "`follow`: always" in (await say(memory, "settings follow", CHANNEL)).text
    wrong = (await say(memory, "settings follow alway", CHANNEL)).text
    assert wrong.startswith("No way to follow threads “alway”. Choose: `mention`, `auto`, `always`. Did you mean")
    admins = Policy(frozenset({"U9"}), "anyone", "admins")
    assert "Only admins" in (await say(memory, "settings follow mention", CHANNEL, policy=admins)).text


async def test_where_there_are_no_threads_it_is_neither_offered_nor_taken(memory: Memory) -> None:
    """On the page and in the terminal, and alone with Parley."""
    assert "follow" not in (await say(memory, "settings", CHANNEL, ALONE)).text
    for text in ("settings follow always", "settings follow reset"):
        assert (await say(memory, text, CHANNEL, ALONE)).text == NO_THREADS
    assert "no follow to choose" in (await say(memory, "settings follow", CHANNEL, ALONE)).text
    assert (await memory.settings(CHANNEL))[0] == ConversationSettings()
