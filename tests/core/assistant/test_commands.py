"""What is a command, what was meant to be one, and what is a question; and what commands say where they are given."""

from __future__ import annotations

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from core.assistant import commands
from core.assistant.command import CommandReply
from core.assistant.commands import Confirmation, find, is_forget, is_settings, is_stop
from core.assistant.guesses import COMMANDS, MOST_WORDS
from core.errors import ModelUnauthorized, ModelUnavailable, ParleyError, PromptTooLong, StorageError
from core.memory.choices import Choices
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.policy import OPERATOR, Policy, Venue
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, ConversationSettings, Message, Role, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "1700.1")
CHANNEL_VENUE = Venue("@Parley ", shared=True, buttons=True, contact="@ops")
ALONE = Venue(contact="@ops")


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """An empty memory."""
    return Memory(client, retention=3600, choices=Choices("Be kind.", models=("large", "small")))


def turn(text: str, user: str = "U1", key: ConversationKey = CHANNEL) -> Turn:
    """Something that a person says."""
    return Turn(f"t-{text}", key, str(key), Author(user, user), text, 1.0)


async def say(
    memory: Memory,
    text: str,
    *,
    user: str = "U1",
    venue: Venue = CHANNEL_VENUE,
    policy: Policy | None = None,
    key: ConversationKey = CHANNEL,
) -> CommandReply:
    """What Parley says to a command."""
    command = find(text)
    assert command, text
    return await command(turn(text, user, key), memory, venue, policy or Policy())


async def talk(memory: Memory, *users: str, key: ConversationKey = CHANNEL) -> None:
    """Somebody asks something and is answered, one after the other."""
    kept = await memory.load(key, Thread("root", 0.5) if key.thread else None)
    for number, user in enumerate(users):
        asked = Message(Role.USER, "hello", id=f"{key}{user}{number}", author=Author(user, user), at=2.0)
        said = Message(Role.ASSISTANT, "hi", id=f"{key}{user}{number}/a", at=2.0, reply_to=asked.id)
        await memory.append(Exchange(key, kept.epoch, asked.id, "", (asked, said)))


# What is a command.


@pytest.mark.parametrize(
    "text",
    [
        *(
            "help",
            "Help.",
            "HELP!!!",
            "/help",
            "!help",
            "help?",
            "",
            "  ",
            "?",
            "help settings",
            "\uff0fhelp",
            "`help`",
        ),
        *("memory", "memory show", "Memory?", "\u200bmemory\u200b", "\uff4dem\uff4fry"),
        *("forget", "Forget.", "/forget", "`forget`", "**forget**", "forget now", "Forget now!", "forget\u00a0now"),
        *("settings", "/settings", "settings?", "settings reset", "settings show", "settings temperature"),
        *(
            "settings temperature 0.2",
            "settings temperature=0.2",
            "settings temperature: 0,2",
            "Settings TEMPERATURE 0.2.",
        ),
        *("settings\ttemperature\n0.2", "  settings   temperature   0.2  ", "`settings temperature 0.2`"),
        *("settings max_new_tokens 50", "settings top-p 0.9", "settings model small", "settings persona reset"),
        *("settings system You are terse and answer in at most five words.", "settings system\nBe kind."),
        *("settings temperature warm", "settings temperature to 0.2", "settings max tokens 500"),
    ],
)
def test_what_is_a_command(text: str) -> None:
    """Alone in its message, in any case, with or without a slash, as copied from the help or typed on a phone."""
    command = find(text)
    assert command
    assert "suggest" not in repr(command.obey)


MISTYPED = {
    "settings": (
        "setings",
        "Settigns",
        "settngs",
        "settingss",
        "setting",
        "/setings",
        "!settnigs",
        "/config",
        "sttings?",
    ),
    "help": ("hlep", "hepl", "hlp", "helpp", "halp", "/hlep", "!hepl", "/halp", "/commands", "Hlep!", "hlep settings"),
    "forget": ("forgt", "froget", "foget", "/forgt", "!froget", "/clear", "/reset", "forget everything", "froget all"),
    "forget now": ("forgt now", "forget nwo", "now forget"),
    "memory": ("memroy", "mmory", "emmory", "/mem", "memroy show", "show memory"),
    "stop": ("stpo", "sotp", "/stpo", "!stopp"),
    "settings reset": ("settings rest", "setings reset", "reset settings", "settings reset?", "settnigs rset"),
    "settings temperature": ("settings temperatur", "setings temperature", "/temperature", "settings temp"),
    "settings temperature 0.2": (
        *("settings temperatur 0.2", "setings temperature 0.2", "settings temprature 0.2", "settings temp 0.2"),
        *("/settings temperatur 0.2", "settings temperatur=0.2", "/temperature 0.2", "setting temperature 0.2"),
        *("settings temperature 0.2?", "SETTINGS TEMPERATUR 0.2!", "`settings temperatur 0.2`"),
    ),
    "settings top_p 0.9": ("settings top p 0.9", "settings top_o 0.9"),
    "settings max 500": ("settings maxx 500", "/max 500", "setings max 500"),
    "settings model small": ("settings modle small", "setings model small", "/model small"),
    "settings temperature reset": ("settings reset temperature", "settings temperatur reset"),
    "settings system Be terse.": ("settings sytem Be terse.", "setings system Be terse."),
}


@pytest.mark.parametrize(("meant", "text"), [(meant, text) for meant, texts in MISTYPED.items() for text in texts])
async def test_a_mistyped_command_is_answered_with_what_was_meant(memory: Memory, meant: str, text: str) -> None:
    """And changes nothing: it is neither obeyed nor sent to a model."""
    said = await say(memory, text)
    assert said.text.startswith(f"Did you mean `@Parley {meant}`?")
    assert (await memory.settings(CHANNEL))[0] == ConversationSettings()


@pytest.mark.parametrize(
    "text",
    [
        *("settings are lost, why?", "help me write a letter", "forget about it, what is 2+2?", "stop words in NLP?"),
        *("memory leaks in Python", "What is a setting?", "settings page broken", "settings menu", "app settings"),
        *("help me", "help me please", "forget it", "forget me not", "memory leak", "stop it", "my settings"),
        *("settings model is slow, why?", "settings temperature is too high, what now?", "settings mode dark"),
        *("settings modal broken", "settings mac 5", "setting temperature high", "setting the table", "settings ui"),
        *("hello", "helo", "hallo", "hi", "hey", "Hej", "hola", "olá", "salut", "ciao", "merci", "Danke", "ok", "yes"),
        *("stopp", "Stopp!", "step", "shop", "stops", "hell", "held", "hulp", "hjälp", "hjelp", "hilfe", "Hilfe!"),
        *("forge", "forgot", "forgets", "forgive", "memo", "memoria", "mémoire", "memories", "strings", "sittings"),
        *(
            "Einstellungen",
            "vergiss das",
            "oublie",
            "ayuda",
            "помощь",
            "стоп",
            "забудь",
            "مساعدة",
            "帮助",
            "忘れて",
            "도움",
        ),
        *("/etc/hosts", "/etc/hosts is what?", "/dev/null", "1/2", "!important", "!= or <>?", "-help", "--help me out"),
        *("/forget what I said about tea", "forget: the novel", "help, my build fails", "help desk number?"),
        *("🙂", "👍", "42", "x", "https://example.org/help", "help@example.org", "help.txt", "settings.py", "stop.sh"),
        *("The word forget", "translate: help", "“forget” in French?", "memory of elephants", "settings in vim?"),
        *("temperature 0.2", "max 500", "model small", "setings are lost, why?", "hlep me write this"),
    ],
)
def test_a_question_is_not_caught(text: str) -> None:
    """However much it looks like a command, in whatever language."""
    assert find(text) is None
    assert not is_stop(text)


LIKELY = [*COMMANDS, "setings", "hlep", "now", "reset", "temperature", "0.2", "!", "?"]
LONG = st.lists(
    st.one_of(st.sampled_from(LIKELY), st.text()),
    min_size=MOST_WORDS + 1,
).filter(lambda words: len(" ".join(words).split()) > MOST_WORDS)


@given(LONG)
def test_more_than_a_few_words_are_never_a_mistyped_command(words: list[str]) -> None:
    """Only a system prompt, and another setting's value without white space, may follow ``settings``."""
    command = find(" ".join(words))
    assert command is None or "_change" in repr(command.obey)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    """It is a command or it is none, and the same one each time."""
    assert repr(find(text)) == repr(find(text))
    assert not (is_stop(text) and find(text))
    assert not (is_forget(text) and is_settings(text))


def test_a_very_long_message_is_looked_at_quickly() -> None:
    """One of a million characters is read once, with or without white space."""
    for text in ("help" * 250_000, "a b " * 250_000, "/" * 1_000_000, "settings " + "x" * 1_000_000, "`" * 1_000_000):
        find(text)


def test_stop_is_obeyed_by_adapters_and_is_no_command_in_the_queue() -> None:
    """In the queue it would wait for the end of the answer that it is to stop."""
    for text in ("stop", "Stop.", "/stop", "!stop", "STOP!", "`stop`"):
        assert is_stop(text)
        assert find(text) is None


async def test_an_unknown_slash_command_is_said_to_be_one(memory: Memory) -> None:
    """With where to find the others."""
    assert (await say(memory, "/shrug")).text == "There's no command `/shrug`. `@Parley help` lists what there is."
    assert (await say(memory, "/settings colour red")).text.startswith("No setting `colour`. Choose: `system`")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("settings temperature warm", "settings temperature 0.7"),
        ("settings temperature to 0.2", "settings temperature 0.2"),
        ("settings temperature 7", "settings temperature 0.7"),
        ("settings max tokens 500", "settings max 500"),
        ("settings max 2.5", "settings max 2"),
        ("settings model smal", "settings model small"),
    ],
)
async def test_a_value_that_cannot_be_is_answered_with_one_that_can(memory: Memory, text: str, meant: str) -> None:
    """As it has to be typed there."""
    said = (await say(memory, text)).text
    assert said.endswith(f"Did you mean `@Parley {meant}`?")
    assert (await memory.settings(CHANNEL))[0] == ConversationSettings()


# Help.


async def test_help_fits_where_it_is_read(memory: Memory) -> None:
    """With a mention where one is needed, without where none is; and it says model, retention, files and contact."""
    policy = Policy(retention=30 * 86_400)
    channel = (await say(memory, "help", policy=policy)).text
    for line in ("- `@Parley forget`:", "`@Parley settings temperature 0.2`", "- `@Parley stop`:"):
        assert line in channel
    for fact in ("I answer with `large`", "this channel for 30 days", "can't read files yet", "Ask @ops."):
        assert fact in channel
    alone = (await say(memory, "help", venue=Venue(), policy=policy)).text
    assert "- `forget`:" in alone
    assert "@" not in alone
    assert f"Ask {OPERATOR}." in alone
    assert max(len(channel.splitlines()), len(alone.splitlines())) <= 10


async def test_help_names_the_model_that_was_chosen(memory: Memory) -> None:
    """Where there are several."""
    await memory.choose(CHANNEL, "model", "small")
    assert "I answer with `small`" in (await say(memory, "help")).text


# Forget.


async def test_what_others_said_is_forgotten_only_when_that_is_confirmed(memory: Memory) -> None:
    """The question says how much it is, and how to go ahead."""
    await talk(memory, "U1", "U2")
    said = await say(memory, "forget")
    assert said.confirm == "0"
    assert "4 messages and answers, from 2 people" in said.text
    assert "Press **Forget** or write `@Parley forget now`" in said.text
    assert len((await memory.load(CHANNEL)).messages) == 4
    assert "I've forgotten this channel (4 messages)" in (await say(memory, "forget now")).text
    assert not (await memory.load(CHANNEL)).messages


async def test_what_one_said_alone_is_forgotten_at_once(memory: Memory) -> None:
    """In a channel as well; what only others said is not one's own."""
    await talk(memory, "U1", "U1")
    assert "forgotten" in (await say(memory, "forget")).text
    assert "nothing to forget" in (await say(memory, "forget")).text
    await talk(memory, "U2")
    assert (await say(memory, "forget")).confirm


async def test_in_a_conversation_of_ones_own_nothing_is_asked(memory: Memory) -> None:
    """Whoever is named in what was said there."""
    await talk(memory, "U1", "U2")
    assert "I've forgotten this conversation" in (await say(memory, "forget", venue=ALONE)).text


async def test_what_others_said_in_threads_counts_too(memory: Memory) -> None:
    """They are forgotten with their channel."""
    await talk(memory, "U1")
    await talk(memory, "U2", key=THREAD)
    assert (await say(memory, "forget")).confirm
    assert (await say(memory, "forget", key=THREAD)).confirm


async def test_what_only_a_summary_tells_counts_as_others(memory: Memory) -> None:
    """Nobody knows any more who said it."""
    await talk(memory, "U1")
    await memory.fold(await memory.load(CHANNEL), "Bob likes tea.", "x")
    assert (await say(memory, "forget")).confirm


@pytest.mark.parametrize("text", ["forget?", "/forget?", "Forget ?", "forget now?", "forget??"])
async def test_whoever_asks_what_forget_does_is_told(memory: Memory, text: str) -> None:
    """And nothing is forgotten, wherever that is."""
    await talk(memory, "U1")
    said = await say(memory, text, venue=ALONE)
    assert "`forget` makes me forget this conversation: 2 messages and answers. Nothing is forgotten yet." in said.text
    assert len((await memory.load(CHANNEL)).messages) == 2


@pytest.fixture
def queue(client: redis.asyncio.Redis, memory: Memory) -> TurnQueue:
    """The queue, which knows what was asked."""
    return TurnQueue(client, memory)


async def test_only_the_asker_or_an_admin_confirms(memory: Memory, queue: TurnQueue) -> None:
    """Once, and what is said afterwards stays."""
    await talk(memory, "U1", "U2")
    asked = Confirmation.of(turn("forget"), (await say(memory, "forget")).confirm)
    await queue.first(asked.name)
    policy = Policy(frozenset({"U9"}))
    assert await asked.give("U2", queue, memory, CHANNEL_VENUE, policy) == (False, commands.NOT_YOURS)
    assert len((await memory.load(CHANNEL)).messages) == 4
    done, told = await asked.give("U9", queue, memory, CHANNEL_VENUE, policy)
    assert (done, told) == (True, "Done: I've forgotten this channel (4 messages).")
    await talk(memory, "U2")
    assert await asked.give("U1", queue, memory, CHANNEL_VENUE, policy) == (False, commands.FORGOTTEN_SINCE)
    assert len((await memory.load(CHANNEL)).messages) == 2


async def test_a_confirmation_that_was_tampered_with_is_refused(memory: Memory, queue: TurnQueue) -> None:
    """Whichever of its values was changed."""
    other = ConversationKey("slack", "T1", "C2")
    await talk(memory, "U1", "U2")
    await talk(memory, "U1", "U2", key=other)
    asked = Confirmation.of(turn("forget"), "0")
    await queue.first(asked.name)
    for forged in (
        Confirmation(other, asked.turn, "U1", "0"),
        Confirmation(CHANNEL, "another", "U1", "0"),
        Confirmation(CHANNEL, asked.turn, "U3", "0"),
        Confirmation(CHANNEL, asked.turn, "U1", "1"),
    ):
        done, told = await forged.give(forged.asker, queue, memory, CHANNEL_VENUE, Policy())
        assert not done
        assert "no longer works" in told
    assert len((await memory.load(CHANNEL)).messages) == len((await memory.load(other)).messages) == 4


# Who can do what.


async def test_only_admins_forget_and_set_where_the_operator_says_so(memory: Memory) -> None:
    """In shared conversations; whoever is refused reads whom to ask."""
    policy = Policy(frozenset({"U9"}), "admins", "admins")
    await talk(memory, "U1")
    for text in ("forget", "forget now", "settings temperature 0.2", "settings reset"):
        said = await say(memory, text, policy=policy)
        assert said.text.startswith("Only admins can")
        assert said.text.endswith("Ask @ops.")
        assert said.private
    assert len((await memory.load(CHANNEL)).messages) == 2
    assert "`temperature`: 0.7 (default)" in (await say(memory, "settings", policy=policy)).text
    assert "admins only" in (await say(memory, "help", policy=policy)).text
    assert "Done." in (await say(memory, "settings temperature 0.2", user="U9", policy=policy)).text
    assert "Done." in (await say(memory, "settings temperature 0.3", venue=ALONE, policy=policy)).text
    assert "Done:" in (await say(memory, "forget now", user="U9", policy=policy)).text


def test_errors_that_people_cannot_mend_name_whom_to_ask() -> None:
    """And commands in them are written as they are typed there."""
    for error in (ParleyError, StorageError, ModelUnavailable, ModelUnauthorized):
        assert "@ops" in error.tell(CHANNEL_VENUE)
        assert OPERATOR in error.tell(Venue())
    assert "`@Parley forget` starts a new one" in PromptTooLong.tell(CHANNEL_VENUE)
    assert ModelUnauthorized.tell(ALONE) == "The model server rejected my API key. Ask @ops to check it."


@given(st.text())
def test_a_contact_is_said_as_it_is(contact: str) -> None:
    """Whatever signs are in it."""
    assert Venue(contact=contact).tell("Ask {contact}.") == f"Ask {contact or OPERATOR}."
