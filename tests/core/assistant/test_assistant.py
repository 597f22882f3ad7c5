"""One answer, from what is remembered to what is remembered; a real Redis, the real TGI client, the double of TGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import redis.asyncio

from core.assistant.assistant import AnswerSettings, Assistant, Stop
from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.model_types import ModelLimits
from core.models.backends.tgi import TgiBackend
from core.models.generation import Deadlines
from core.models.models import single_model
from core.policy import Venue
from core.prompts import open_template
from core.types import Author, ConversationKey, Ending, Message, Outcome, Role, Turn
from tests.core.delivery.platform import Platform, pace
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "5.0")
ANSWER_SETTINGS = AnswerSettings("Be kind.", 0.7, 100, ModelLimits(1000, 1200), Deadlines(5, 5, 20))


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server."""
    async with TgiDouble() as double:
        yield double


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """An empty memory."""
    return Memory(client, retention=3600)


@pytest.fixture
def assistant(memory: Memory, tgi: TgiDouble) -> Assistant:
    """One that answers by that server."""
    return Assistant(memory, single_model(TgiBackend(tgi.url), open_template("falcon")), ANSWER_SETTINGS)


def ask(text: str, number: int = 1, key: ConversationKey = CHANNEL, root: str = "") -> Turn:
    """A turn of Ada's."""
    return Turn(f"t{number}", key, str(key), Author("U1", "Ada"), text, float(number), root=root, root_at=0.5)


async def test_question_and_answer_are_remembered_as_a_pair(
    assistant: Assistant, memory: Memory, tgi: TgiDouble
) -> None:
    """And the next prompt holds them."""
    tgi.answer = " A branch."
    platform = Platform()
    answer = await assistant.answer(ask("What is a fork?"), platform, pace())
    assert (answer.text, answer.outcome.ending) == ("A branch.", Ending.COMPLETE)
    question, said = (await memory.load(CHANNEL)).messages
    assert (question.text, question.author, said.text) == ("What is a fork?", Author("U1", "Ada"), "A branch.")
    assert (said.reply_to, said.id) == ("t1", answer.refs[0].id)
    await assistant.answer(ask("And a spoon?", 2), Platform(), pace())
    assert "What is a fork?\nAssistant: A branch.\nUser: Ada: And a spoon?\nAssistant:" in tgi.requests[-1].inputs


async def test_the_parameters_reach_the_server(assistant: Assistant, tgi: TgiDouble) -> None:
    """Temperature, length, and the template's stops."""
    await assistant.answer(ask("hi"), Platform(), pace())
    sent = tgi.requests[-1].parameters
    assert (sent["temperature"], sent["max_new_tokens"]) == (0.7, 100)
    assert sent["stop"][:2] == ["\nUser:", "<|endoftext|>"]


async def test_a_stopped_answer_keeps_its_text_and_frees_the_server(
    assistant: Assistant, memory: Memory, tgi: TgiDouble
) -> None:
    """It is remembered as far as it got, with a flag."""
    tgi.answer, tgi.rate = "word " * 500, 100
    stop: Stop = asyncio.get_running_loop().create_future()
    platform = Platform()
    answering = asyncio.create_task(assistant.answer(ask("go"), platform, pace(), stop=stop))
    await wait_until(lambda: platform.shown)
    stop.set_result(Outcome(Ending.STOPPED, "Stopped."))
    answer = await answering
    assert answer.outcome.ending is Ending.STOPPED
    assert platform.shown == [answer.text]
    await wait_until(lambda: tgi.requests[-1].closed_early)
    said = (await memory.load(CHANNEL)).messages[-1]
    assert (said.ending, said.text) == (Ending.STOPPED, answer.text)


async def test_an_answer_that_reaches_its_length_says_so(assistant: Assistant, tgi: TgiDouble) -> None:
    """And how to go on."""
    tgi.answer = "word " * 500
    platform = Platform()
    answer = await assistant.answer(ask("go"), platform, pace())
    assert answer.outcome.ending is Ending.LENGTH
    assert platform.outcome
    assert "continue" in platform.outcome.note


async def test_an_empty_answer_says_so_and_is_not_remembered(
    assistant: Assistant, memory: Memory, tgi: TgiDouble
) -> None:
    """Nothing was said."""
    tgi.answer = "\n"
    platform = Platform()
    await assistant.answer(ask("go"), platform, pace())
    assert platform.outcome
    assert (platform.outcome.ending, platform.outcome.retry) == (Ending.FAILED, True)
    assert (await memory.load(CHANNEL)).messages == ()


async def test_what_is_shown_ends_where_the_model_would_speak_for_a_person(
    assistant: Assistant, tgi: TgiDouble
) -> None:
    """Even where the server misses the stop."""
    tgi.answer = [" Yes", ".\n", "User", ": and what", " else?"]
    platform = Platform()
    await assistant.answer(ask("go"), platform, pace())
    assert platform.shown == ["Yes."]


async def test_a_prompt_that_is_refused_as_too_long_is_cut_once_more(
    assistant: Assistant, memory: Memory, tgi: TgiDouble
) -> None:
    """The person sees nothing of it."""
    for number in range(10, 40):
        said = Message(Role.USER, f"message {number}", id=f"m{number}", tokens=20)
        await memory.append(Exchange(CHANNEL, 0, said.id, "", (said,)))
    tgi.info = 404  # so that our own estimate counts
    tgi.count, tgi.max_input_tokens = lambda text: 40 * len(text.split("\n")), 1000
    platform = Platform()
    answer = await assistant.answer(ask("go"), platform, pace())
    assert answer.outcome.ending is Ending.COMPLETE
    sizes = [len(seen.inputs) for seen in tgi.requests if seen.inputs]
    assert len(sizes) == 2
    assert sizes[1] < sizes[0]


async def test_the_servers_own_limits_are_kept(assistant: Assistant, tgi: TgiDouble) -> None:
    """A long conversation is cut to what the server reads."""
    tgi.info = {"max_input_tokens": 300, "max_total_tokens": 400}
    tgi.answer = "word " * 30
    for number in range(12):
        answer = await assistant.answer(ask("question " * 20, number), Platform(), pace())
        assert answer.outcome.ending is Ending.COMPLETE
    assert max(len(seen.inputs.split()) for seen in tgi.requests) < 300


async def test_memory_away_is_said_in_plain_words(
    assistant: Assistant, client: redis.asyncio.Redis, tgi: TgiDouble
) -> None:
    """Nothing is generated that could not be remembered."""
    await client.config_set("maxmemory", 1)
    try:
        platform = Platform()
        await assistant.answer(ask("go", key=THREAD, root="x"), platform, pace())
    finally:
        await client.config_set("maxmemory", 0)
    assert platform.outcome
    assert "can't reach my memory" in platform.outcome.note
    assert not [seen for seen in tgi.requests if seen.inputs]


async def test_a_thread_that_began_without_us_is_read(assistant: Assistant, memory: Memory, tgi: TgiDouble) -> None:
    """It is remembered with the first answer there, and the model is told; then it is read from that question on."""
    reads: list[tuple[str, str]] = []

    async def read_thread(turn: Turn, after: str = "") -> Sequence[Message]:
        reads.append((turn.id, after))
        return [Message(Role.USER, "shall we meet?", id="r1", author=Author("U2", "Bob"), at=0.5)]

    for number in (1, 2):
        turn = ask("when?", number, key=THREAD, root="r1")
        await assistant.answer(turn, Platform(), pace(), read_thread=read_thread, venue=Venue(shared=True))
    assert reads == [("t1", ""), ("t2", "t1")]
    assert "Bob: shall we meet?\nSystem: [system note: You were asked into this thread" in tgi.requests[-1].inputs
    assert [message.id for message in (await memory.load(THREAD)).messages][:2] == ["r1", "t1/joined"]


async def test_an_answer_that_is_withdrawn_is_not_remembered(
    assistant: Assistant, memory: Memory, tgi: TgiDouble
) -> None:
    """The message that asked for it was deleted."""
    tgi.answer, tgi.rate = "word " * 500, 100
    stop: Stop = asyncio.get_running_loop().create_future()
    platform = Platform()
    answering = asyncio.create_task(assistant.answer(ask("go"), platform, pace(), stop=stop))
    await wait_until(lambda: platform.shown)
    stop.set_result(replace(Outcome(Ending.STOPPED), remember=False))
    await answering
    assert (await memory.load(CHANNEL)).messages == ()
