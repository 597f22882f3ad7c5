"""The terminal: what a line means, and what goes to stdout."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio import Redis

from bots.assembly import Core, answer_settings
from bots.terminal.chat import COMMANDS, LIMITS, Chat, visible
from bots.terminal.plain import PlainEditor, answer_lines, lines
from core.assistant.assistant import Assistant
from core.errors import ModelUnavailable, StorageError, StreamBroken
from core.memory.conversations import Memory
from core.models.backends.backend import Backend
from core.models.backends.demo import DemoBackend
from core.models.models import single_model
from core.prompts import open_template
from core.settings import load_settings
from core.types import ConversationKey, Ending, Outcome, Role, Turn
from tests.bots.saying import MARKED, Says, shown_by
from tests.examples import examples
from tests.waiting import wait_until


@pytest.fixture
def chat_with(client: Redis, tmp_path: Path) -> Callable[..., Chat]:
    """Chats over a real Redis, with any backend."""

    def build(backend: Backend | None = None, **values: str) -> Chat:
        config = load_settings(data_dir=tmp_path, **values)
        memory = Memory(client, retention=3600)
        backend = backend or DemoBackend(rate=0)
        models = single_model(backend, open_template("falcon"))
        assistant = Assistant(memory, models, answer_settings(config))
        return Chat(Core(config, client, memory, models, assistant), "ada")

    return build


async def of(*said: str) -> AsyncGenerator[str, None]:
    """Lines, as from a pipe."""
    for line in said:
        yield line


# What a line means.


@pytest.mark.parametrize("line", ["hello", "help", "forget", "/etc/hosts is what?", " /forget", "1/2", "x /quit"])
async def test_only_slash_words_are_commands(chat_with: Callable[..., Chat], line: str) -> None:
    """What chat platforms take for a command is a message here, unless it begins with a slash."""
    heard = await chat_with().handle_line(line)
    assert isinstance(heard, Turn)
    assert heard.text == line


async def test_each_question_is_a_turn_of_its_own(chat_with: Callable[..., Chat]) -> None:
    """The same words twice are two turns, by the same nameless author in the same conversation."""
    chat = chat_with()
    one, two = await chat.handle_line("hello"), await chat.handle_line("hello")
    assert isinstance(one, Turn)
    assert isinstance(two, Turn)
    assert one.id != two.id
    assert one.key == ConversationKey("terminal", platform.node(), "ada")
    assert (one.author.id, one.author.name) == ("ada", "")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("/hlep", "Did you mean `/help`?"),
        ("/Forgt", "Did you mean `/forget`?"),
        ("/temprature 0.2", "Did you mean `/temperature`?"),
        ("/xyz", "`/help` lists the commands."),
    ],
)
async def test_a_mistyped_command_is_answered_with_the_one_that_was_probably_meant(
    chat_with: Callable[..., Chat], typed: str, hint: str
) -> None:
    """It does not reach the model, and it is said how it would."""
    word = typed.split(maxsplit=1)[0].lower()
    assert await chat_with().handle_line(typed) == (
        f"No command `{word}`. {hint} To send this as a message, put a space before the slash."
    )
    if typed == "/hlep":
        assert "Did you mean `/settings temperature 0.2`?" in str(
            await chat_with().handle_line("/settings temperatur 0.2")
        )


async def test_a_command_with_words_after_it_does_nothing(chat_with: Callable[..., Chat]) -> None:
    """`/forget what I said about tea` is no reason to forget everything."""
    chat = chat_with()
    await answer_lines(chat, of("My name is Ada."), lambda text: None)
    assert "takes nothing after it" in str(await chat.handle_line("/forget what I said about tea"))
    assert "1 message and 1 answer" in str(await chat.handle_line("/memory"))


async def test_something_to_remember_is_told_listed_corrected_and_removed(chat_with: Callable[..., Chat]) -> None:
    """As on every platform, with a slash; without one, it is a message."""
    chat = chat_with()
    for number, line in enumerate(
        ("/remember tea at four", "/remember: tea at four", "/remember that tea is at four"), 1
    ):
        assert f"Noted for this conversation as {number}: “tea" in str(await chat.handle_line(line))
    assert str(await chat.handle_line("/forget 2")) == "Removed 2: “tea at four”."
    assert "“tea at five” replaces" in str(await chat.handle_line("/1 is wrong: tea at five"))
    assert "“tea is at six” replaces “tea is at four”" in str(await chat.handle_line("/that is wrong: tea is at six"))
    listed = str(await chat.handle_line("/memory"))
    assert "(`/forget 3` removes one, and `/3 is wrong: …` corrects one)" in listed
    assert re.search(
        r"- \*\*1\*\*: tea at five \(corrected, \d+ \w+ \d{4}\)\n- \*\*3\*\*: tea is at six \(corrected, ", listed
    )
    assert "as in `/remember: standup is at 9:15`" in str(await chat.handle_line("/remember"))
    for line in ("remember: tea", "forget 1", "that is wrong: tea"):
        assert isinstance(await chat.handle_line(line), Turn)


async def test_help_names_every_command(chat_with: Callable[..., Chat]) -> None:
    """/help is complete."""
    said = str(await chat_with().handle_line("/HELP"))
    assert all(f"`/{word}`" in said for word in COMMANDS)


async def test_quit_is_none(chat_with: Callable[..., Chat]) -> None:
    """/quit leaves."""
    assert await chat_with().handle_line("/quit") is None


async def test_forget_says_how_much_and_forgets_the_question_too(chat_with: Callable[..., Chat]) -> None:
    """After /forget there is nothing left to try again."""
    chat = chat_with()
    await answer_lines(chat, of("one", "two"), lambda text: None)
    assert "4 messages" in str(await chat.handle_line("/forget"))
    assert "nothing" in str(await chat.handle_line("/memory"))
    assert await chat.handle_line("/retry") == "There is no question to ask again."


async def test_commands_are_named_with_their_slash(chat_with: Callable[..., Chat]) -> None:
    """What the core says of `forget` is what has to be typed here."""
    chat = chat_with()
    await answer_lines(chat, of("one"), lambda text: None)
    assert "`/forget`" in str(await chat.handle_line("/memory"))


async def test_retry_asks_the_last_question_again_and_replaces_its_answer(chat_with: Callable[..., Chat]) -> None:
    """The same turn, once more: the memory holds one question and one answer."""
    chat = chat_with()
    await answer_lines(chat, of("one", "/retry", "/retry"), lambda text: None)
    assert "1 message and 1 answer" in str(await chat.handle_line("/memory"))
    again = await chat.handle_line("/retry")
    assert isinstance(again, Turn)
    assert (again.text, again.attempt) == ("one", 3)


async def test_retry_works_after_a_new_start(chat_with: Callable[..., Chat]) -> None:
    """A new process asks again what was asked last in the one before."""
    await answer_lines(chat_with(), of("one", "two"), lambda text: None)
    chat = chat_with()
    again = await chat.handle_line("/retry")
    assert isinstance(again, Turn)
    assert again.text == "two"
    await answer_lines(chat, of("/retry"), lambda text: None)
    assert "2 messages and 2 answers" in str(await chat.handle_line("/memory"))


async def test_system_replaces_the_system_prompt_until_it_is_reset(chat_with: Callable[..., Chat]) -> None:
    """/system shows it, /system <text> replaces it, /system reset brings back the setting's."""
    backend = Says("yes")
    chat = chat_with(backend)
    usual = await chat.handle_line("/system")
    assert "You are Parley" in str(usual)
    await chat.handle_line("/system You are a pirate.\nSay arr.")
    await answer_lines(chat, of("hello"), lambda text: None)
    assert "System: You are a pirate.\nSay arr." in backend.asked[0].prompt.text()
    assert await chat.handle_line("/system") == "You are a pirate.\nSay arr."
    await chat.handle_line("/system reset")
    assert await chat.handle_line("/system") == usual


async def test_settings_are_changed_by_their_own_words(chat_with: Callable[..., Chat]) -> None:
    """What the core says of `settings` is what has to be typed here; what is wrong is said."""
    chat = chat_with()
    assert "- `temperature`: 0.1\n" in str(await chat.handle_line("/temperature 0.1"))
    said = str(await chat.handle_line("/settings"))
    assert "`/settings temperature 0.2` changes one, `/settings temperature reset` takes that back" in said
    assert "`max` is a whole number" in str(await chat.handle_line("/max lots"))
    assert "No model “big”" in str(await chat.handle_line("/model big"))
    assert "No such setting" in str(await chat.handle_line("/settings colour red"))
    assert "default settings again" in str(await chat.handle_line("/settings reset"))
    assert "`temperature`: 0.7 (default)" in str(await chat.handle_line("/settings"))


async def test_the_greeting_says_who_answers_and_no_secret(chat_with: Callable[..., Chat]) -> None:
    """The demo gives its hint; a model's address is shown without the credentials in it."""
    assert "MODEL_URL" in chat_with(model_api="demo").greeting
    greeting = chat_with(model_url="http://me:secret@gpu.example:8080/v1").greeting
    assert "gpu.example:8080" in greeting
    assert "secret" not in greeting


# Plain text.


@examples(150)
@given(
    text=MARKED,
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    stops=st.sampled_from([(), ("\nUser:", "ab")]),
)
@example(text="see [foo](http://x), **bold** and `code`", sizes=[1], stops=())
@example(text="```\ncode\n``` a\n```", sizes=[1, 3], stops=())
def test_what_is_printed_is_the_answer_to_the_letter(text: str, sizes: list[int], stops: tuple[str, ...]) -> None:
    """However the answer comes in and whatever its preview looks like, nothing printed has to be taken back."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    printed: list[str] = []
    editor = PlainEditor(printed.append)
    editor.limits = replace(LIMITS, interval=0)
    answer = asyncio.run(shown_by(editor, Says(*pieces), stops=stops))
    assert "".join(printed) == (visible(answer.rstrip()) + "\n" if answer.strip() else "")


async def test_an_answer_is_printed_while_it_grows(chat_with: Callable[..., Chat]) -> None:
    """Plain text streams."""
    printed: list[str] = []
    chat = chat_with(DemoBackend(rate=200))
    await answer_lines(chat, of("Write 60 words"), printed.append)
    assert len(printed) > 3
    assert printed[0].startswith("Hello!")


async def test_answers_are_separated_by_a_blank_line_and_nothing_else(
    chat_with: Callable[..., Chat], capfd: pytest.CaptureFixture[str]
) -> None:
    """Empty lines get no answer; what commands say goes to stderr."""
    printed: list[str] = []
    code = await answer_lines(
        chat_with(Says("yes ", "sir \n")), of("a", " ", "", "/memory", "b", "/quit", "c"), printed.append
    )
    assert code == 0
    assert "".join(printed) == "yes sir\n\nyes sir\n"
    assert capfd.readouterr().err.startswith("I remember 1 message")


@pytest.mark.parametrize(
    ("backend", "printed", "note"),
    [
        (Says(error=ModelUnavailable("no host gpu-7")), "", "runs Parley here. `parley doctor` looks for the cause.\n"),
        (Says("Well,", " so", error=StreamBroken("x")), "Well, so\n", "stopped in the middle"),
        (Says(), "", "answer was empty"),
    ],
)
async def test_an_answer_that_failed_is_a_note_on_stderr_and_exit_code_1(
    chat_with: Callable[..., Chat], capfd: pytest.CaptureFixture[str], backend: Says, printed: str, note: str
) -> None:
    """In plain words; the text so far stays, and the other lines are answered."""
    written: list[str] = []
    chat = chat_with(backend)
    assert await answer_lines(chat, of("hello", "/quit"), written.append) == 1
    assert "".join(written) == printed
    assert note in capfd.readouterr().err


async def test_a_memory_that_is_away_is_said_and_the_rest_goes_on(
    chat_with: Callable[..., Chat], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that cannot be done is a failure, not the end."""

    async def away(*_: object) -> None:
        raise StorageError("Redis could not say", remedy="Start it.")

    written: list[str] = []
    chat = chat_with(Says("yes"))
    monkeypatch.setattr(chat._memory, "describe", away)
    assert await answer_lines(chat, of("/memory", "hello"), written.append) == 1
    assert written == ["yes", "\n"]
    assert capfd.readouterr().err == "Redis could not say Start it.\n"


async def test_a_reader_that_left_is_no_failure(chat_with: Callable[..., Chat]) -> None:
    """`| head -1` ends the chat quietly."""

    def write(text: str) -> None:
        raise BrokenPipeError

    assert await answer_lines(chat_with(), of("a", "b"), write) == 0


async def test_a_full_disk_is_said(chat_with: Callable[..., Chat], capfd: pytest.CaptureFixture[str]) -> None:
    """Answers that cannot be written are not asked for."""

    def write(text: str) -> None:
        raise OSError(28, "No space left on device")

    assert await answer_lines(chat_with(), of("a", "b"), write) == 1
    assert capfd.readouterr().err == "Can't write the answer: No space left on device.\n"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\n", ["a", "", "b", ""]),
        ("\ufeffé 漢字 👩‍👩‍👧\n".encode(), ["é 漢字 👩‍👩‍👧", ""]),
        (b"\xff\xc3(\n", ["\ufffd\ufffd(", ""]),
        (b"a\x00\x1b[31mb\x0b", ["a\x00\x1b[31mb\x0b"]),
        (b"x" * 200_000 + b"\ny", ["x" * 200_000, "y"]),
    ],
)
async def test_lines_are_utf_8_and_end_with_a_line_feed(sent: bytes, read: list[str]) -> None:
    """Whatever the locale; what is no UTF-8 is replaced, and nothing else ends a line."""
    source, sink = os.pipe()
    with open(source, encoding="latin-1") as stream:  # noqa: ASYNC230, PTH123 - a pipe of our own
        writing = asyncio.create_task(asyncio.to_thread(_write_all, sink, sent))
        assert [line async for line in lines(stream)] == read
        await writing


async def test_a_stdin_that_is_closed_has_no_lines() -> None:
    """`<&-` is an empty input."""
    assert [line async for line in lines(None)] == [""]


def _write_all(sink: int, data: bytes) -> None:
    with open(sink, "wb") as file:
        file.write(data)


def test_a_terminal_shows_control_characters_and_does_not_obey_them() -> None:
    """Only tabs and line feeds are left of them."""
    everything = "".join(map(chr, range(256)))
    assert visible(everything) == "\t\n" + "".join(map(chr, [*range(32, 127), *range(160, 256)]))


def test_a_plain_chat_loads_no_platform_and_no_screen() -> None:
    """`echo hello | parley chat` starts at once, because what it does not need is not imported."""
    heavy = ("slack_bolt", "discord", "text_generation", "aiohttp", "prompt_toolkit", "rich.markdown")
    loaded = "bots.cli, bots.terminal.chat, bots.terminal.plain"
    code = f"import sys, {loaded}; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


async def test_a_stopped_answer_is_remembered_as_far_as_it_got(chat_with: Callable[..., Chat]) -> None:
    """What a person saw is what the model will know of."""
    chat = chat_with(DemoBackend(rate=100))
    heard = await chat.handle_line("Write 500 words")
    assert isinstance(heard, Turn)
    printed: list[str] = []
    stop: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    answering = asyncio.create_task(chat.answer(heard, PlainEditor(printed.append), stop))
    await wait_until(lambda: printed)
    stop.set_result(Outcome(Ending.STOPPED))
    answer = await answering
    assert answer.outcome.ending is Ending.STOPPED
    kept = (await chat._memory.load(chat.key)).messages
    assert [(message.role, message.ending) for message in kept] == [
        (Role.USER, Ending.COMPLETE),
        (Role.ASSISTANT, Ending.STOPPED),
    ]
    assert kept[1].text == answer.text == "".join(printed).rstrip("\n")
