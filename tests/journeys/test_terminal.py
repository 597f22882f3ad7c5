"""`parley chat` as a process of its own: in a pipe, and at a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.doubles.tgi import TgiDouble
from tests.waiting import UNHURRIED, wait_until

PARLEY = str(Path(sys.executable).with_name("parley"))
# A controlling terminal is what turns Ctrl-C into a signal; Popen gives a new session none.
AT_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Nothing of ours, so that no token and no setting of the developer is in it."""
    return {"PATH": os.defpath, "HOME": str(tmp_path), "DATA_DIR": str(tmp_path / "data"), **more}


def piped(tmp_path: Path, said: str | bytes, *args: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """`printf said | parley chat`, to its end."""
    return subprocess.run(
        [PARLEY, *(args or ("chat",))],
        input=said.encode() if isinstance(said, str) else said,
        capture_output=True,
        cwd=tmp_path,
        env=environment(tmp_path, **more),
        timeout=UNHURRIED,
        check=False,
    )


class Window:
    """A terminal with a program in it: ``text`` is all that it wrote, without colours and movements."""

    def __init__(self, master: int, program: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.raw = b""
        self._master = master

    @property
    def text(self) -> str:
        """What was written so far."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.raw.decode("utf-8", "replace"))

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it did before the program came."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def read(self) -> None:
        """Take what is there."""
        try:
            self.raw += os.read(self._master, 65_536)
        except OSError:  # the program has gone
            asyncio.get_running_loop().remove_reader(self._master)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    async def shows(self, text: str, times: int = 1) -> None:
        """Wait for a text."""
        await wait_until(
            lambda: " ".join(self.text.split()).count(" ".join(text.split())) >= times,
            description=f"{text!r} in {self.text!r}",
        )

    async def prompts(self, times: int = 1) -> None:
        """Wait for a prompt: what a terminal sees of it is that pastes are to be marked."""
        await wait_until(lambda: self.raw.count(b"\x1b[?2004h") >= times, description=f"prompt in {self.text!r}")

    async def left(self) -> int:
        """Wait for the end; the exit code."""
        await wait_until(lambda: self.program.poll() is not None, description=self.text)
        return self.program.returncode


@asynccontextmanager
async def window(tmp_path: Path, *args: str, **more: str) -> AsyncIterator[Window]:
    """`parley chat`, or another command, at a terminal."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    program = subprocess.Popen(  # noqa: ASYNC220 - starting it does not block
        [sys.executable, "-c", AT_A_TERMINAL, PARLEY, *(args or ("chat",))],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env=environment(tmp_path, TERM="xterm-256color", PROMPT_TOOLKIT_NO_CPR="1", **more),
        start_new_session=True,
    )
    os.close(slave)
    opened = Window(master, program)
    loop = asyncio.get_running_loop()
    loop.add_reader(master, opened.read)
    try:
        yield opened
    finally:
        loop.remove_reader(master)
        program.terminate()
        program.wait()
        os.close(master)


# In a pipe.


def test_a_name_is_remembered_over_lines_and_processes_until_it_is_forgotten(tmp_path: Path) -> None:
    """The same memory for a second line, and for a second process; /forget empties it."""
    first = piped(tmp_path, "My name is Ada.\nWhat is my name?\n")
    assert (first.returncode, first.stderr) == (0, b"")
    assert '"My name is Ada."' in first.stdout.decode().partition('You wrote: "What is my name?"')[2]
    second = piped(tmp_path, "What is my name?\n/forget\n/memory")
    assert second.returncode == 0
    assert '"My name is Ada."' in second.stdout.decode()
    assert second.stderr.decode() == (
        "Done: I've forgotten this conversation (6 messages).\nI remember nothing of this conversation yet.\n"
    )


async def test_any_bytes_are_a_message(tmp_path: Path) -> None:
    """No UTF-8, control characters, CRLF, 100 kB and no line feed at the end, in whatever locale."""
    said = b"caf\xc3\xa9 \xff \x1b[31m\x00 \xe6\xbc\xa2\r\n\r\n" + b"x" * 100_000 + b" end"
    locale = {"LANG": "xx_XX.latin1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    async with TgiDouble() as tgi:
        tgi.enqueue("naïve \x1b[2J\x07漢", "2")
        answered = await asyncio.to_thread(piped, tmp_path, said, MODEL_URL=tgi.url, **locale)
        first, second = (seen.inputs for seen in tgi.requests)
    assert "café \ufffd [31m 漢\n" in first
    assert "xxx end\nAssistant:" in second
    assert answered.returncode == 0
    assert answered.stdout.decode() == "naïve [2J漢\n\n2\n"
    assert answered.stderr.decode() == ("Your message was too long for the model, so I left out its middle.\n")


def test_nothing_said_is_nothing_answered(tmp_path: Path) -> None:
    """An empty input is no failure, also for `parley run` without tokens; an unknown command is told so."""
    ended = piped(tmp_path, "\n/hlep\n", "run")
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert ended.stderr.startswith(b"No command `/hlep`. Did you mean `/help`?")


def test_a_model_that_is_away_is_a_note_and_exit_code_1(tmp_path: Path) -> None:
    """No traceback and no address, and nothing on stdout."""
    answered = piped(tmp_path, "hello\n", MODEL_URL="http://127.0.0.1:9")
    assert (answered.returncode, answered.stdout) == (1, b"")
    said = answered.stderr.decode()
    assert said.startswith("I can't reach the model right now.")
    assert said.endswith("`parley doctor` looks for the cause.\n")


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    """`parley chat | head -1`."""
    with subprocess.Popen(
        [PARLEY, "chat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(tmp_path),
    ) as chat:
        assert chat.stdin
        assert chat.stdout
        assert chat.stderr
        chat.stdin.write(b"hello\n")
        chat.stdin.flush()
        assert chat.stdout.read(5) == b"Hello"
        chat.stdout.close()
        assert chat.wait(timeout=UNHURRIED) == 0  # though its stdin is still open
        assert chat.stderr.read() == b""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_and_its_redis(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """At once, while it waits for input, without a traceback; no server is left behind."""
    with subprocess.Popen(
        [PARLEY, "chat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(tmp_path),
    ) as chat:
        assert chat.stdin
        assert chat.stdout
        assert chat.stderr
        chat.stdin.write(b"hello\n")
        chat.stdin.flush()
        chat.stdout.read(5)
        chat.send_signal(number)
        assert chat.wait(timeout=UNHURRIED) == code
        assert chat.stderr.read() == b""
    assert not (tmp_path / "data" / "redis" / "redis.sock").exists()


# At a terminal.


async def test_a_person_talks_stops_an_answer_and_leaves(tmp_path: Path) -> None:
    """A prompt, an answer that grows, Ctrl-C for the answer alone, words typed ahead, and /quit."""
    async with window(tmp_path) as chat:
        await chat.shows("MODEL_URL")
        await chat.prompts()
        chat.type("Write 400 words\r")
        await chat.shows("Night 1.")
        chat.type("\x03")
        await chat.shows("Stopped.")
        await chat.prompts(2)
        assert "Night 9" not in chat.text
        chat.type("\x03")
        await chat.shows("Ctrl-D or /quit to leave.")
        chat.type("/memory\r")
        await chat.shows("I remember 1 message and 1 answer")
        chat.type("What is my name?\r/quit\r")
        assert await chat.left() == 0
        assert "You have told me one thing here before." in chat.text
        assert chat.echoes
    assert "+Write 400 words\n" in (tmp_path / "data" / "history").read_text()


async def test_ctrl_c_stops_an_answer_that_has_not_begun(tmp_path: Path) -> None:
    """While the model is silent, and pressed once too often. Ctrl-D leaves."""
    async with TgiDouble() as tgi:
        tgi.first_after = 30
        async with window(tmp_path, MODEL_URL=tgi.url) as chat:
            await chat.shows(f"the model at 127.0.0.1:{tgi.url.rpartition(':')[2]}")
            chat.type("hello\r")
            await wait_until(lambda: tgi.requests)
            chat.type("\x03")
            chat.program.send_signal(signal.SIGINT)
            await chat.shows("Stopped.")
            chat.program.send_signal(signal.SIGINT)
            await wait_until(lambda: tgi.requests[0].closed_early)
            chat.type("\x04")
            assert await chat.left() == 0


async def test_an_error_is_said_under_the_answer(tmp_path: Path) -> None:
    """In plain words, and the chat goes on: /retry asks again."""
    async with TgiDouble() as tgi:
        tgi.fault("reset", after=2)
        async with window(tmp_path, MODEL_URL=tgi.url) as chat:
            chat.type("hello\r")
            await chat.shows("/retry asks again")
            chat.type("/retry\r")
            await chat.shows("You said: ")
            chat.type("/quit\r")
            assert await chat.left() == 0
