"""What a question knows of what was said around it: when a thread or a channel is read, and what is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis.asyncio

from core.assistant import hearing
from core.assistant.assistant import AnswerSettings, Assistant
from core.assistant.hearing import GAP_NOTE, ROOM_UNREAD_NOTE, UNREAD_NOTE
from core.delivery import Draft
from core.errors import PlatformError
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.memory.listening import HEARS_CHANNEL, Listening
from core.memory.overhearing import ROOM_MESSAGES, ROOM_SECONDS
from core.model_types import Delta, Done, GenerationRequest, ModelLimits
from core.models.models import single_model
from core.policy import Venue
from core.prompts import open_template
from core.types import Author, ConversationKey, Hear, Message, Role, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = replace(CHANNEL, thread="5.0")
ADA, BOB = Author("U1", "Ada"), Author("U2", "Bob")
SHARED = Venue(shared=True)
LATER = 100_000.0
"""When people speak in channels here: what is older than two hours is then later than the beginning of time."""


@dataclass
class Model:
    """A model that keeps its prompts."""

    prompts: list[str] = field(default_factory=list)

    async def stream(self, request: GenerationRequest) -> Any:
        """Answers in a word."""
        self.prompts.append(request.prompt.text())
        yield Delta("Fine.")
        yield Done()

    async def limits(self) -> ModelLimits | None:
        """Room for everything."""
        return ModelLimits(40_000, 60_000)

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass
class Platform:
    """What people said on a platform, and what was read of it."""

    thread: list[Message] = field(default_factory=list)
    room: list[Message] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    broken: bool = False

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """What was said after a message."""
        self.reads.append(after)
        if self.broken:
            raise PlatformError("no", code="broken")
        since = next((one.at for one in self.thread if one.id == after), float(after[1:] or 0))
        return [one for one in self.thread if one.at > since and one.id != turn.id]

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """The newest."""
        self.reads.append("room")
        if self.broken:
            raise PlatformError("no", code="broken")
        return [one for one in self.room if one.at < turn.at][-ROOM_MESSAGES:]


class Office:
    """Parley, with a real memory, and a platform and a model that we look into."""

    def __init__(self, client: redis.asyncio.Redis, hear: Hear = "thread") -> None:
        self.client = client
        self.memory = Memory(client, retention=3600)
        self.platform, self.model = Platform(), Model()
        self.assistant = self.hearing(hear)
        self.listening = Listening(client, "slack", hear)

    def hearing(self, hear: Hear) -> Assistant:
        """An assistant of that mode."""
        model = single_model(self.model, open_template("falcon"))
        answer_settings = AnswerSettings("", 0.7, 100, ModelLimits(40_000, 60_000))
        return Assistant(self.memory, model, answer_settings, hear=hear)

    async def ask(
        self,
        number: float,
        key: ConversationKey = THREAD,
        *,
        heard: bool = True,
        store: bool = True,
        venue: Venue = SHARED,
        earlier: Sequence[float] = (),
    ) -> str:
        """Somebody asks, perhaps several questions at once. Returns the prompt."""
        place, root = {HEARS_CHANNEL: "1"} if heard else {}, "r5" if key.parent else ""
        *before, turn = [
            Turn(f"q{at:g}", key, str(key), ADA, f"question {at:g}?", float(at), root, 5.0, place)
            for at in (*earlier, number)
        ]
        read_thread, read_room = self.platform.read_thread, self.platform.read_room
        async with self.assistant.writing(
            turn, Draft(), earlier=before, read_thread=read_thread, read_room=read_room, venue=venue
        ) as writing:
            pass
        answer = await self.assistant.ended(writing, ())
        assert answer.exchange
        if store:
            assert await self.memory.append(answer.exchange)
        return self.model.prompts[-1]

    async def say(self, number: float, key: ConversationKey = THREAD, *, event: bool = True) -> Message:
        """Somebody says something to others; perhaps an event brings it."""
        said = Message(Role.USER, f"talk {number:g}.", f"m{number:g}", BOB, float(number), overheard=True)
        (self.platform.thread if key.thread else self.platform.room).append(said)
        if event:
            await self.memory.overhear(key, said)
        return said


@pytest.fixture
def office(client: redis.asyncio.Redis) -> Office:
    """One that hears threads."""
    return Office(client)


def order(prompt: str, *words: str) -> bool:
    """Whether a prompt holds these, each once, in this order."""
    places = [prompt.find(word) for word in words]
    return -1 not in places and places == sorted(places) and all(prompt.count(word) == 1 for word in words)


async def test_between_two_questions_nothing_is_read_that_events_brought(office: Office) -> None:
    """A thread that people began is read when Parley is asked into it; from then on no call is made."""
    await office.listening.keep()
    await office.say(6, event=False)
    assert order(await office.ask(7), "talk 6.", "question 7?")
    await office.say(8)
    await office.say(9)
    prompt = await office.ask(10)
    assert order(prompt, "talk 6.", "question 7?", "talk 8.", "talk 9.", "question 10?")
    assert office.platform.reads == [""]


@pytest.mark.parametrize("how", ["a gap", "nobody listens", "no plain messages"])
async def test_where_something_may_be_missing_the_thread_is_read(office: Office, how: str) -> None:
    """Once a question, with the talk that is remembered; what is known already is not told twice."""
    await office.listening.keep()
    await office.ask(7)
    await office.say(8)
    await office.say(9, event=False)
    if how == "a gap":
        await office.listening.restart()
    elif how == "nobody listens":
        await office.client.delete("{parley}:listening:slack")
    prompt = await office.ask(10, heard=how != "no plain messages")
    assert order(prompt, "question 7?", "talk 8.", "talk 9.", "question 10?")
    assert office.platform.reads == ["", ""]
    again = await office.ask(11, heard=how != "no plain messages")
    assert order(again, "question 7?", "talk 8.", "talk 9.", "question 10?", "question 11?")
    assert office.platform.reads == [""] * (2 if how == "a gap" else 3)


@pytest.mark.parametrize("when", ["before the last question", "since"])
async def test_remembered_talk_that_was_changed_and_no_event_told_of_it_reads_as_it_stands_now(
    office: Office, when: str
) -> None:
    """An edit and deletions, of the first and of the last of it as well; they are remembered."""
    office.platform.thread.append(Message(Role.USER, "question 7?", "q7", ADA, 7.0))
    await office.ask(7)
    for number in (8.1, 8.3, 8.6, 9):
        await office.say(number)
    if when == "before the last question":
        assert order(
            await office.ask(10, heard=False), "talk 8.1.", "talk 8.3.", "talk 8.6.", "talk 9.", "question 10?"
        )
    thread = [one for one in office.platform.thread if one.id not in ("m8.1", "m9")]
    edit = {"text": "talk as it is now.", "edited": 9.5}
    office.platform.thread = [replace(one, **edit) if one.id == "m8.3" else one for one in thread]  # type: ignore[arg-type]
    for number in (11, 12):
        prompt = await office.ask(number, heard=False)
        assert order(prompt, "question 7?", "talk as it is now.", "talk 8.6.", "question 11?")
        assert not any(words in prompt for words in ("talk 8.1.", "talk 8.3.", "talk 9."))
    kept = [one.text for one in (await office.memory.load(THREAD)).messages if one.overheard]
    assert kept == ["talk as it is now.", "talk 8.6."]


async def test_what_was_not_read_is_not_taken_for_deleted(office: Office) -> None:
    """Of a long thread the platform gives the beginning and the newest; the talk that is looked at again is bounded."""
    office.platform.thread.append(Message(Role.USER, "question 7?", "q7", ADA, 7.0))
    await office.ask(7)
    for number in range(8, 108):
        await office.say(number)
    await office.ask(200, heard=False)
    await office.ask(201, heard=False)
    assert office.platform.reads == ["", "q7", "m76"]
    first, *_, last = [one.text for one in (await office.memory.load(THREAD)).messages if one.overheard]
    assert (first, last) == ("talk 8.", "talk 107.")
    whole = office.platform.thread
    office.platform.thread = [whole[0], *whole[-49:]]
    await office.ask(202, heard=False)
    assert len([one for one in (await office.memory.load(THREAD)).messages if one.overheard]) == 100


async def test_what_was_said_since_a_question_is_known_at_the_next(office: Office) -> None:
    """By events or read: the question is answered without it, and it stands after that exchange."""
    await office.listening.keep()
    await office.say(8, event=False)  # the question waits in the queue meanwhile
    assert "talk" not in await office.ask(7)
    await office.say(7.5)
    assert "talk" not in await office.ask(7, store=False)
    assert order(await office.ask(9), "question 7?", "talk 7.5.", "talk 8.", "question 9?")
    assert office.platform.reads == [""]


async def test_an_heir_sees_the_same(office: Office) -> None:
    """The worker that read the thread died before anything was stored."""
    await office.listening.keep()
    await office.say(6, event=False)
    first = await office.ask(7, store=False)
    await office.say(8)
    assert await office.ask(7) == first
    assert office.platform.reads == ["", ""]


async def test_in_a_thread_that_parley_opened_what_was_said_before_is_known(office: Office) -> None:
    """It hangs on a question in the channel; what it answered is not told again, in however many messages."""
    await office.listening.keep()
    office.assistant.hear = "thread"
    loaded = await office.memory.load(CHANNEL)
    asked = Message(Role.USER, "question 5?", "r5", ADA, 5.0)
    answer = Message(Role.ASSISTANT, "Five.", "a5", at=6.0, reply_to="r5")
    await office.memory.append(Exchange(CHANNEL, loaded.epoch, "r5", "", (asked, answer)))
    for name, at in (("a5", 5.5), ("a5b", 5.6)):
        office.platform.thread.append(Message(Role.ASSISTANT, "Five.", f"slack:T1:C1:{name}", at=at))
    await office.say(6, event=False)
    prompt = await office.ask(7)
    assert order(prompt, "question 5?", "Five.", "talk 6.", "question 7?")
    assert office.platform.reads == ["r5"]
    assert "asked into this thread" not in prompt


async def test_who_is_alone_with_parley_is_heard_anyway(office: Office) -> None:
    """In a direct message all that is said is a question: its threads are read when Parley comes, and never again."""
    await office.say(6, event=False)
    for number in (7, 8, 9):
        prompt = await office.ask(number, venue=Venue())
    assert order(prompt, "talk 6.", "question 7?", "question 8?", "question 9?")
    assert office.platform.reads == [""]


async def test_questions_that_are_answered_together_are_read_once(office: Office) -> None:
    """They stand in the thread as well."""
    office.platform.thread.append(Message(Role.USER, "question 6?", "q6", ADA, 6.0))
    await office.say(6.5, event=False)
    prompt = await office.ask(7, earlier=[6])
    assert order(prompt, "question 6?", "talk 6.5.", "question 7?")
    kept = (await office.memory.load(THREAD)).messages
    assert [message.id for message in kept] == ["q6", "m6.5", "q7", "q7/answer"]


async def test_a_reading_that_fails_is_said_once_and_made_up_for(office: Office) -> None:
    """The next question reads it."""
    await office.listening.keep()
    office.platform.broken = True
    await office.say(6, event=False)
    assert order(await office.ask(7), UNREAD_NOTE, "question 7?")
    assert order(await office.ask(8), UNREAD_NOTE, "question 7?", "question 8?")
    office.platform.broken = False
    assert order(await office.ask(9), "talk 6.", "1 message before this line was written", "question 9?")
    await office.listening.restart()
    office.platform.broken = True
    await office.say(9.5, event=False)
    assert order(await office.ask(10), "question 9?", GAP_NOTE, "question 10?")
    office.platform.broken = False
    prompt = await office.ask(11)
    assert order(prompt, "question 9?", "talk 9.5.", GAP_NOTE, "question 10?", "question 11?")
    assert office.platform.reads == [""] * 5
    assert "talk 9.5." in await office.ask(12)
    assert len(office.platform.reads) == 5


async def test_a_platform_that_hangs_delays_a_question_for_a_while(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is answered with the note."""
    monkeypatch.setattr(hearing, "READ_TIMEOUT_SECONDS", 0.01)

    async def hang(turn: Turn, after: str = "") -> Sequence[Message]:
        del turn, after
        await asyncio.get_running_loop().create_future()
        return ()

    monkeypatch.setattr(office.platform, "read_thread", hang)
    assert UNREAD_NOTE in await office.ask(7)


@pytest.mark.parametrize("key", [CHANNEL, THREAD], ids=["the channel", "the thread"])
async def test_what_was_forgotten_is_not_read_again(office: Office, key: ConversationKey) -> None:
    """It is still there on the platform."""
    await office.say(6, event=False)
    await office.ask(7)
    await office.memory.forget(key)
    for one in (key, THREAD):  # by the clock of this platform
        await office.client.hset(f"{{parley}}:conv:{one}:state", "forgotten", "8.0")
    await office.say(9, event=False)
    prompt = await office.ask(10)
    assert order(prompt, "talk 9.", "question 10?")
    assert "talk 6." not in prompt


@pytest.mark.parametrize("key", [CHANNEL, THREAD], ids=["in a channel", "in a thread"])
async def test_who_hears_mentions_alone_reads_nothing(client: redis.asyncio.Redis, key: ConversationKey) -> None:
    """Nor is a channel's talk told, if there is some from before."""
    office = Office(client, "mention")
    await office.say(6, key)
    assert "talk" not in await office.ask(7, key)
    assert office.platform.reads == []


@pytest.fixture
def roomy(client: redis.asyncio.Redis) -> Office:
    """One that hears channels."""
    return Office(client, "room")


async def since(office: Office, seconds: float) -> None:
    """Everything has been heard since then."""
    await office.client.set("{parley}:listening:slack", f"{seconds:.3f}:room:abc", ex=30)


async def test_a_question_in_a_channel_knows_what_was_said_there(roomy: Office) -> None:
    """The last twenty of two hours, and no call where all of that was heard. It is not remembered."""
    await since(roomy, 1.0)
    await roomy.say(LATER - ROOM_SECONDS - 1, CHANNEL)
    for number in range(ROOM_MESSAGES - 2):
        await roomy.say(LATER + number, CHANNEL)
    prompt = await roomy.ask(LATER + 50, CHANNEL)
    assert prompt.count("talk ") == ROOM_MESSAGES - 2
    assert order(prompt, f"talk {LATER:g}.", f"question {LATER + 50:g}?")
    await roomy.say(LATER + 51, CHANNEL)
    await roomy.say(LATER + 52, CHANNEL)
    await roomy.say(LATER + 53, CHANNEL)
    prompt = await roomy.ask(LATER + 60, CHANNEL)
    assert prompt.count("talk ") == ROOM_MESSAGES
    assert f"talk {LATER:g}." not in prompt
    assert roomy.platform.reads == []
    assert not any("talk" in message.text for message in (await roomy.memory.load(CHANNEL)).messages)


@pytest.mark.parametrize("how", ["nobody listened", "not for long", "no plain messages"])
async def test_a_channel_is_read_where_something_may_be_missing(roomy: Office, how: str) -> None:
    """And told once, in order, without Parley's own answers and what is remembered anyway."""
    if how != "nobody listened":
        await since(roomy, LATER - 100 if how == "not for long" else 1.0)
    await roomy.say(LATER, CHANNEL, event=False)
    await roomy.say(LATER + 1, CHANNEL)
    roomy.platform.room.append(Message(Role.ASSISTANT, "talk of mine", "own", at=LATER + 1.5))
    prompt = await roomy.ask(LATER + 2, CHANNEL, heard=how != "no plain messages")
    assert order(prompt, f"talk {LATER:g}.", f"talk {LATER + 1:g}.", f"question {LATER + 2:g}?")
    assert "talk of mine" not in prompt
    roomy.platform.room.append(Message(Role.USER, f"question {LATER + 2:g}?", f"q{LATER + 2:g}", ADA, LATER + 2))
    assert (await roomy.ask(LATER + 3, CHANNEL)).count(f"question {LATER + 2:g}?") == 1


async def test_a_channel_that_cannot_be_read_is_said(roomy: Office) -> None:
    """The question is answered all the same, with what was heard."""
    roomy.platform.broken = True
    await roomy.say(LATER, CHANNEL)
    prompt = await roomy.ask(LATER + 1, CHANNEL)
    assert order(prompt, f"talk {LATER:g}.", ROOM_UNREAD_NOTE, f"question {LATER + 1:g}?")
    assert "could not be read" not in (await roomy.memory.load(CHANNEL)).messages[0].text


async def test_a_channels_talk_stays_there(roomy: Office) -> None:
    """It is in no thread, in no other channel, and in no private conversation."""
    await since(roomy, 1.0)
    await roomy.say(LATER, CHANNEL)
    for key in (replace(CHANNEL, channel="C2"), CHANNEL.apart("U1"), THREAD):
        assert "talk" not in await roomy.ask(LATER + 1, key)
    await roomy.memory.load(THREAD, Thread("r5", LATER + 2))
    assert "talk" not in await roomy.ask(LATER + 3, THREAD)
