"""What no longer fits is kept as notes: written after the answer, visible to people, and never against "forget"."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
import redis.asyncio

from core.assistant import commands
from core.assistant.assistant import AnswerSettings, Assistant
from core.assistant.summary import INSTRUCTION, LONGEST_SUMMARY, Summarizer, pending
from core.errors import StreamBroken
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Streamed
from core.models.generation import Deadlines
from core.models.models import single_model
from core.prompts import open_template
from core.prompts.guard import GUARD_MARK
from core.prompts.quoting import SUMMARY_HEADING
from core.prompts.window import fit, split_context
from core.quotes import Quote, QuoteKind
from core.types import Author, Conversation, ConversationKey, Message, Role, Turn
from tests.core.delivery.platform import Platform, pace
from tests.waiting import wait_until

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "t3")
ANSWER_SETTINGS = AnswerSettings("Be kind.", 0.0, 50, ModelLimits(1000, 1100), Deadlines(5, 5, 20))
FACT = re.compile(r"the (\w+) code is (\w+)")


class Reader:
    """A model that knows nothing but its prompt: it takes facts into its notes, and answers from what it reads."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.notes: list[str] = []
        self.held: asyncio.Event | None = None
        self.left = 0
        """Notes that were ended while they waited."""
        self.broken = False

    @property
    def writing(self) -> int:
        """How many notes wait to be released."""
        return len(self.notes) - self.left

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        text = request.prompt.text()
        if INSTRUCTION[:40] in text:
            self.notes.append(text)
            if self.held:
                try:
                    await self.held.wait()
                except asyncio.CancelledError:
                    self.left += 1
                    raise
            if self.broken:
                raise StreamBroken("gone")
            yield Delta("\n".join(f"- the {name} code is {code}" for name, code in dict(FACT.findall(text)).items()))
        else:
            self.prompts.append(text)
            question = text.rpartition("User:")[2]
            asked = re.search(r"what is the (\w+) code", question)
            known = dict(FACT.findall(text))
            yield Delta(f"It is {known.get(asked[1], 'unknown to me')}." if asked else "Noted.")
        yield Done()

    async def limits(self) -> ModelLimits | None:
        return None

    async def healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


class Talk:
    """A conversation with that model, with or without notes."""

    def __init__(self, client: redis.asyncio.Redis, *, notes: bool = True) -> None:
        self.reader = Reader()
        self.memory = Memory(client, retention=3600)
        models = single_model(self.reader, open_template("falcon"))
        self.summarizer = Summarizer(self.memory, models, ANSWER_SETTINGS, idle=0)
        self.assistant = Assistant(self.memory, models, ANSWER_SETTINGS, summarizer=self.summarizer if notes else None)
        self.said = 0
        self.platform = Platform()

    async def say(self, text: str, key: ConversationKey = CHANNEL) -> str:
        """One turn; what is answered."""
        self.said += 1
        author, at = Author("U1", "Ada"), float(self.said)
        turn = Turn(f"t{self.said}", key, str(key), author, text, at, root=key.thread, root_at=at - 1)
        return (await self.assistant.answer(turn, self.platform, pace())).text

    async def chatter(self, turns: int) -> None:
        """Talk about nothing for a while."""
        for number in range(turns):
            await self.say(f"The weather is fine, for the {number}th time. " + "Blue sky and a little wind. " * 4)

    async def skim(self, turns: int) -> None:
        """The same at once: what an answer does to the memory and its window, without anybody who writes it."""
        budget = split_context(ANSWER_SETTINGS.limits, ANSWER_SETTINGS.max_new_tokens)
        for _ in range(turns):
            self.said += 1
            asked = Message(
                Role.USER, "Blue sky and a little wind. " * 5, id=f"t{self.said}", author=Author("U1", "Ada")
            )
            said = Message(Role.ASSISTANT, "Noted.", id=f"a{self.said}", reply_to=asked.id)
            conversation = await self.memory.load(CHANNEL)
            cut = fit(conversation, asked, ANSWER_SETTINGS.system, budget).cut
            await self.memory.append(Exchange(CHANNEL, conversation.epoch, asked.id, cut, (asked, said)))
            self.summarizer.after(conversation, cut)

    async def kept(self, key: ConversationKey = CHANNEL) -> Conversation:
        """What is remembered once all notes are written."""
        await self.summarizer.settled()
        return await self.memory.load(key, Thread(key.thread, 0.0) if key.thread else None)


@pytest.fixture
async def talk(client: redis.asyncio.Redis) -> AsyncIterator[Talk]:
    """A conversation with notes."""
    talk = Talk(client)
    yield talk
    await talk.summarizer.aclose()


async def test_what_was_said_first_is_known_at_turn_500(client: redis.asyncio.Redis) -> None:
    """By a model that sees a thousand tokens, and although the memory itself is bounded; without notes it is not."""
    talk = Talk(client)
    await talk.say("Please note: the door code is A7X.")
    await talk.skim(498)
    await talk.summarizer.settled()
    assert await talk.say("Now, what is the door code?") == "It is A7X."
    prompt = talk.reader.prompts[-1]
    assert prompt.index("Be kind.") < prompt.index(SUMMARY_HEADING) < prompt.index("the door code is A7X")
    assert len((await talk.kept()).messages) <= 200
    await talk.summarizer.aclose()


async def test_without_notes_it_is_forgotten(client: redis.asyncio.Redis) -> None:
    """As the setting says."""
    talk = Talk(client, notes=False)
    await talk.say("Please note: the door code is A7X.")
    await talk.chatter(30)
    assert await talk.say("what is the door code?") == "It is unknown to me."
    assert not talk.reader.notes


async def test_what_fills_the_window_alone_leaves_notes_of_all_that_it_pushed_out(talk: Talk) -> None:
    """The window begins with the question then."""
    await talk.say("Remember: the door code is 4711. " + "Blue sky and a little wind. " * 90)
    await talk.say("The weather is fine. " + "Blue sky and a little wind. " * 90)
    await talk.summarizer.settled()
    assert "door code is 4711" in (await talk.memory.load(CHANNEL)).summary


async def test_notes_are_made_of_quotes_and_overheard_talk_too(talk: Talk) -> None:
    """And their writer is told which is which."""
    quote = Quote(QuoteKind.FORWARD, "the door code is A7X", "Carla")
    said = (
        Message(Role.USER, "the gate code is B2", id="o1", author=Author("U2", "Bob"), overheard=True),
        Message(Role.USER, "See this.", id="q1", author=Author("U1", "Ada"), quotes=(quote,)),
        Message(Role.ASSISTANT, "Noted.", id="a1", reply_to="q1"),
    )
    assert await talk.memory.append(Exchange(CHANNEL, 0, "q1", "", said))
    await talk.chatter(15)
    assert {"door code is A7X", "gate code is B2"} <= set(re.findall(r"\w+ code is \w+", (await talk.kept()).summary))
    assert (await talk.kept()).voices == {"U1", "U2"}
    transcript = talk.reader.notes[0].replace(GUARD_MARK, "")
    assert "[overheard, not said to you] Bob: the gate code is B2" in transcript
    assert 'Ada: [forwarded message, by "Carla"]\n> the door code is A7X\n[end of quote]\nSee this.' in transcript


async def test_nobody_waits_for_notes(talk: Talk) -> None:
    """Answers come while they are being written, and only one is written at a time."""
    talk.reader.held = asyncio.Event()
    await talk.say("the door code is A7X.")
    await talk.chatter(40)
    assert await talk.say("hello") == "Noted."
    await wait_until(lambda: talk.reader.writing == 1)
    begun = len(talk.reader.notes)
    other = Summarizer(talk.memory, talk.assistant.models, ANSWER_SETTINGS, idle=0)  # another process
    other.after(await talk.memory.load(CHANNEL), (await talk.memory.load(CHANNEL)).cut)
    await other.settled()
    assert len(talk.reader.notes) == begun
    talk.reader.held.set()
    assert (await talk.kept()).folded


async def test_people_can_read_them(talk: Talk) -> None:
    """Under `memory`; and they are as long as they may be, at the most."""
    await talk.say("the door code is A7X. " + "the b code is " + "C" * 2 * LONGEST_SUMMARY)
    await talk.chatter(40)
    conversation = await talk.kept()
    assert 0 < len(conversation.summary) <= LONGEST_SUMMARY
    command = commands.find("memory show")
    assert command
    said = (await command(Turn("t", CHANNEL, "", Author("U1", "Ada"), "memory show", 1.0), talk.memory)).text
    assert "the door code is A7X" in said


async def test_forgetting_takes_the_notes_away(talk: Talk) -> None:
    """Also those that are being written."""
    await talk.say("the door code is A7X.")
    await talk.chatter(40)
    assert (await talk.kept()).summary
    talk.reader.held = asyncio.Event()
    await talk.chatter(40)
    await wait_until(lambda: len(talk.reader.notes) > 1)
    await talk.memory.forget(CHANNEL)
    talk.reader.held.set()
    assert (await talk.kept()).summary == ""


async def test_a_message_that_is_deleted_leaves_the_notes_too(talk: Talk) -> None:
    """They are written anew from what is stored."""
    await talk.say("the door code is A7X.")
    await talk.say("the gate code is B8Y.")
    await talk.chatter(40)
    assert "A7X" in (await talk.kept()).summary
    await talk.memory.withdraw(CHANNEL, "t1")
    assert (await talk.kept()).summary == ""
    await talk.chatter(20)
    kept = await talk.kept()
    assert "A7X" not in kept.summary
    assert "B8Y" in kept.summary


async def test_a_change_while_they_are_written_is_not_lost(talk: Talk) -> None:
    """Notes of what no longer stands there are not stored."""
    talk.reader.held = asyncio.Event()
    await talk.say("the door code is A7X.")
    await talk.chatter(30)
    await wait_until(lambda: talk.reader.notes)
    await talk.memory.withdraw(CHANNEL, "t1")
    talk.reader.held.set()
    assert "A7X" not in (await talk.kept()).summary


async def test_a_thread_starts_with_its_channels_notes(talk: Talk) -> None:
    """It knows what the channel knew."""
    await talk.say("the door code is A7X.")
    await talk.chatter(40)
    root = (await talk.kept()).messages[-2].id
    thread = ConversationKey("slack", "T1", "C1", root)
    assert await talk.say("what is the door code?", thread) == "It is A7X."


async def test_a_model_that_is_away_costs_only_the_notes(talk: Talk) -> None:
    """They are written later."""
    talk.reader.broken = True
    await talk.say("the door code is A7X.")
    await talk.chatter(25)
    assert (await talk.kept()).summary == ""
    talk.reader.broken = False
    await talk.chatter(25)
    assert "A7X" in (await talk.kept()).summary


def test_a_large_window_does_not_keep_the_memory_from_being_summed_up() -> None:
    """What the memory is about to drop is folded although the model still sees it."""
    messages = tuple(Message(Role.USER, "x", id=f"m{n}") for n in range(170))
    left = pending(Conversation(CHANNEL, messages))
    assert [left[0].id, left[-1].id] == ["m0", "m84"]
    assert not pending(Conversation(CHANNEL, messages, folded="m84"))
    assert not pending(Conversation(CHANNEL, messages[:100]))


async def test_a_question_ends_the_notes_that_are_being_written(talk: Talk) -> None:
    """Nobody waits behind them: the model is free at once, and the notes are begun again when nobody asks."""
    talk.reader.held = asyncio.Event()
    await talk.say("the blue code is 4711.")
    await talk.chatter(12)
    await wait_until(lambda: talk.reader.writing == 1, description="notes that are being written")
    begun = len(talk.reader.notes)
    await talk.say("Are you there?")
    talk.reader.held.set()
    kept = await talk.kept()
    assert talk.reader.left == begun
    assert len(talk.reader.notes) > begun
    assert "4711" in kept.summary


async def test_notes_begin_when_nobody_has_asked_for_a_while(client: redis.asyncio.Redis) -> None:
    """Not between two questions of a lively channel."""
    talk = Talk(client)
    talk.summarizer._idle = 60
    await talk.chatter(12)
    assert not talk.reader.notes
    talk.summarizer._idle = 0
    await talk.summarizer.aclose()
    await talk.say("One more.")
    assert (await talk.kept()).summary
    await talk.summarizer.aclose()
