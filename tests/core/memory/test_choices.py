"""What people may choose for a conversation, and how they are told what is wrong."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from core.assistant import commands
from core.assistant.assistant import AnswerSettings, Assistant
from core.memory.choices import CHOICE_HELP, Choices, WrongChoice, find_setting
from core.memory.conversations import Memory
from core.memory.exchange import Thread
from core.model_types import ModelLimits
from core.models.generation import Deadlines
from core.models.models import Model, Models, fixed_template
from core.prompts import open_template
from core.types import Author, ConversationKey, ConversationSettings, Message, Role, Turn
from tests.core.delivery.platform import Platform, pace
from tests.core.models.asking import Says

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "5.0")
CHOICES = Choices("Be kind.", 0.7, None, 1024, ("large", "small"), {"pirate": "Say arr."})


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """An empty memory with something to choose from."""
    return Memory(client, retention=3600, choices=CHOICES)


def turn(text: str, key: ConversationKey = CHANNEL) -> Turn:
    """A turn of Ada's."""
    return Turn("t1", key, str(key), Author("U1", "Ada"), text, 1.0, root="5.0" if key.thread else "", root_at=5.0)


async def test_changes_at_the_same_time_are_all_kept(memory: Memory) -> None:
    """From a form, or from two browsers."""
    changes = {"temperature": "0.2", "top_p": "0.5", "max": "33", "model": "small"}
    await asyncio.gather(*(memory.choose(CHANNEL, name, value) for name, value in changes.items()))
    chosen, _ = await memory.settings(CHANNEL)
    assert chosen == ConversationSettings(temperature=0.2, top_p=0.5, max_new_tokens=33, model="small")


async def say(memory: Memory, text: str, key: ConversationKey = CHANNEL) -> str:
    """What Parley says to a command."""
    command = commands.find(text)
    assert command, text
    return (await command(turn(text, key), memory)).text


@pytest.mark.parametrize(
    ("name", "value", "chosen"),
    [
        ("temperature", "0", ConversationSettings(temperature=0)),
        ("temperature", "0,3", ConversationSettings(temperature=0.3)),
        ("top_p", "0.9", ConversationSettings(top_p=0.9)),
        ("max", "4,096", ConversationSettings(max_new_tokens=4096)),
        ("model", "Small", ConversationSettings(model="small")),
        ("persona", "pirate", ConversationSettings(persona="pirate")),
        ("system", " You are terse. ", ConversationSettings(system="You are terse.")),
    ],
)
def test_a_choice_is_taken_as_people_write_it(name: str, value: str, chosen: ConversationSettings) -> None:
    """And survives being stored."""
    assert CHOICES.change(ConversationSettings(), name, value) == chosen
    assert ConversationSettings.from_json(chosen.to_json()) == chosen
    assert CHOICES.change(chosen, name, "reset") == ConversationSettings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("temperature", "hot", "`temperature` is a number from 0 to 2, not “hot”."),
        ("temperature", "3", "`temperature` is a number from 0 to 2, not 3."),
        ("temperature", "nan", "from 0 to 2"),
        ("top_p", "0", "`top_p` is a number from 0.01 to 1, not 0."),
        ("max", "2.5", "`max` is a whole number of tokens, from 1 to 100,000, not 2.5."),
        ("max", "inf", "from 1 to 100,000"),
        ("model", "huge", "No model “huge”. Choose: `large`, `small`."),
        ("persona", "../x", "No persona “../x”. Choose: `pirate`."),
        ("system", "x" * 8001, "8,001 characters. It can have 8,000"),
        ("colour", "red", "No setting `colour`. Choose: "),
    ],
)
def test_what_cannot_be_chosen_is_said_in_plain_words(name: str, value: str, said: str) -> None:
    """With what can."""
    with pytest.raises(WrongChoice) as raised:
        CHOICES.change(ConversationSettings(), name, value)
    assert said in str(raised.value)


@given(st.sampled_from([*CHOICE_HELP, "colour"]), st.text(max_size=40))
def test_no_text_breaks_it(name: str, value: str) -> None:
    """It is a choice, or it is refused."""
    try:
        chosen = CHOICES.change(ConversationSettings(), name, value)
    except WrongChoice:
        return
    assert ConversationSettings.from_json(chosen.to_json()) == chosen


def test_a_persona_and_a_system_prompt_take_each_others_place() -> None:
    """One conversation has one system prompt."""
    chosen = CHOICES.change(CHOICES.change(ConversationSettings(), "system", "x"), "persona", "pirate")
    assert chosen == ConversationSettings(persona="pirate")
    assert CHOICES.resolved(chosen).system == "Say arr."
    assert CHOICES.change(chosen, "system", "y") == ConversationSettings(system="y")
    assert CHOICES.resolved(ConversationSettings(persona="gone")).system is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("temperature 0.2", ("temperature", "0.2")),
        ("temperature = 0.2", ("temperature", "0.2")),
        ("max_new_tokens 50", ("max", "50")),
        ("system You are\nterse.", ("system", "You are\nterse.")),
        ("reset", ("", "")),
        ("are lost, why?", None),
        ("temperature", None),
    ],
)
def test_a_setting_is_told_from_a_question(text: str, found: tuple[str, str] | None) -> None:
    """“settings are lost, why?” is for the model."""
    assert find_setting(text) == found
    assert bool(commands.find(f"settings {text}")) == (found is not None or text == "temperature")  # shows it


async def test_settings_are_shown_changed_and_taken_back(memory: Memory) -> None:
    """By words, on every platform."""
    assert "- `temperature`: 0.7 (default)" in await say(memory, "settings")
    said = await say(memory, "Settings temperature 0.2")
    assert "- `temperature`: 0.2\n" in said
    assert "Choose: `large`, `small`" in said
    assert "from 0 to 2" in await say(memory, "settings temperature 7")
    assert "`temperature`: 0.2" in await say(memory, "settings")
    assert "default settings again" in await say(memory, "settings reset")
    assert (await memory.settings(CHANNEL))[0] == ConversationSettings()


async def test_they_end_with_the_conversation(memory: Memory, client: redis.asyncio.Redis) -> None:
    """Nothing lives for ever; use keeps them."""
    await memory.choose(CHANNEL, "temperature", "0")
    key = "{parley}:conv:slack:T1:C1:settings"
    assert 0 < await client.ttl(key) <= 3600
    await client.expire(key, 10)
    await memory.load(CHANNEL)
    assert await client.ttl(key) > 3000


async def test_a_thread_has_its_channels_settings_until_it_gets_its_own(memory: Memory) -> None:
    """And back at the defaults it stays there."""
    await memory.choose(CHANNEL, "temperature", "0.1")
    assert (await memory.load(THREAD, Thread("5.0", 5.0))).settings.temperature == 0.1
    await memory.choose(THREAD, "temperature", "1.5")
    assert (await memory.load(THREAD, Thread("5.0", 5.0))).settings.temperature == 1.5
    assert (await memory.load(CHANNEL)).settings.temperature == 0.1
    await memory.choose(THREAD, "", "")
    assert (await memory.load(THREAD, Thread("5.0", 5.0))).settings == ConversationSettings()


async def test_an_answer_follows_them(memory: Memory) -> None:
    """System prompt, temperature, length, and which model is asked first."""
    large, small = Says("large"), Says("small")
    both = Models([Model(one, fixed_template(open_template("falcon")), name=one.text) for one in (large, small)])
    assistant = Assistant(
        memory, both, AnswerSettings("Be kind.", 0.7, 100, ModelLimits(1000, 1200), Deadlines(5, 5, 20))
    )
    for name, value in (
        ("persona", "pirate"),
        ("temperature", "0"),
        ("max", "7"),
        ("model", "small"),
        ("top_p", "0.5"),
    ):
        await memory.choose(CHANNEL, name, value)
    await assistant.answer(turn("hi"), Platform(), pace())
    (asked,) = small.asked
    assert not large.asked
    assert (asked.temperature, asked.max_new_tokens, asked.top_p) == (0, 7, 0.5)
    assert asked.prompt.text().startswith("System: Say arr.\n")
    assert (await memory.load(CHANNEL)).messages[0].role is Role.USER
    assert isinstance((await memory.load(CHANNEL)).messages[0], Message)
