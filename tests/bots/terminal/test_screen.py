"""The screen of a terminal: what stands there while an answer grows and when it is done, and the line that is typed."""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from bots.terminal.chat import LIMITS, visible
from bots.terminal.screen import THEME, Region, ScreenEditor, last_block, newest, open_prompt, render
from core.types import Ending, Outcome
from tests.bots.saying import MARKED, Says, shown_by
from tests.examples import examples


class Terminal:
    """Enough of a terminal to see what a person sees: ``lines`` is all of it, scrollback first, without colours."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.lines = [""]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        for token in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\n|[^\x1b\n]+", text):
            if token == "\n":
                self._row, self._column = self._row + 1, 0
                if self._row == len(self.lines):
                    self.lines.append("")
            elif up := re.fullmatch(r"\x1b\[(\d+)A", token):
                self._row = max(self._row - int(up[1]), len(self.lines) - self.height, 0)
            elif token == "\x1b[J":
                self.lines[self._row :] = [self.lines[self._row][: self._column]]
            elif not token.startswith("\x1b"):
                assert len(self.lines[self._row]) == self._column, "written over"
                self.lines[self._row] += token
                self._column += len(token)


FRAMES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["", "a", "b"]), max_size=6), st.lists(st.sampled_from(["", "c", "d"]), max_size=5)
    ),
    max_size=12,
)


@given(FRAMES)
def test_a_screen_holds_what_is_done_and_the_newest_of_what_grows(frames: list[tuple[list[str], list[str]]]) -> None:
    """Whatever was drawn before, and however much has scrolled away."""
    terminal = Terminal(height=6)
    region = Region(terminal.write)
    done: list[str] = []
    for finished, growing in frames:
        region.draw(finished, growing)
        done += finished
        assert terminal.lines == [*done, *growing, ""]


ANSWER = """\
# A title

Some **bold** text with `code`,
a [link](http://example.org/a_b) and <http://example.org>.

- one
- two
  with more

  1. deep

```python
def f(x: int) -> str:
    return f"{x}"

# no title
```

| a | b |
|---|---|
| 1 | 漢字 |

> quoted

The <b>end</b>."""


def console(height: int = 12, width: int = 60) -> Console:
    """A console of that size whose output goes nowhere."""
    return Console(theme=THEME, file=io.StringIO(), force_terminal=True, width=width, height=height)


async def test_a_grown_answer_looks_like_one_that_was_printed_at_once() -> None:
    """Letter by letter on a screen that is smaller than the answer, in the end it stands there whole."""
    backend = Says(*ANSWER, "\n\n```\n", *(f"line {n}\n" for n in range(40)), "```\n\nAfter.")
    screen = console()
    terminal = Terminal(screen.height)
    screen.file = Writes(terminal.write)
    editor = ScreenEditor(screen)
    editor.limits = replace(LIMITS, interval=0)
    answer = await shown_by(editor, backend)
    assert terminal.lines == ["", *map(plain, render(screen, answer)), "", ""]


async def test_a_note_stands_under_the_text_and_says_what_can_be_done() -> None:
    """A failed answer names /retry; one that was stopped does not."""
    for outcome, note in (
        (Outcome(Ending.INTERRUPTED, "It broke off."), "It broke off."),
        (
            Outcome(Ending.FAILED, "Not now.", retry=True),
            "Not now. /retry asks again, parley doctor looks for the cause.",
        ),
    ):
        screen = console(width=100)
        terminal = Terminal(screen.height)
        screen.file = Writes(terminal.write)
        editor = ScreenEditor(screen)
        await editor.finish((), ["So far"], outcome)
        assert terminal.lines == ["So far", "", note, "", ""]


@examples(150)
@given(MARKED)
def test_any_answer_can_be_shown(text: str) -> None:
    """Every beginning of it has lines to show, none wider than the screen, and nothing that a terminal would obey."""
    shown = visible(text)
    assert 0 <= last_block(shown) <= len(shown)
    for line in render(console(width=20), shown):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", plain(line))


def test_what_was_written_is_what_is_shown() -> None:
    """Line breaks, tags and addresses stay; headings are not centred."""
    lines_ = [plain(line) for line in render(console(), ANSWER)]
    assert lines_[:4] == [
        "A title",
        "",
        "Some bold text with code,",
        "a link (http://example.org/a_b) and http://example.org.",
    ]
    assert lines_[-1] == "The <b>end</b>."
    assert [plain(line) for line in render(console(), "![a cat](http://x/cat.png)")] == ["a cat (http://x/cat.png)"]


def test_no_line_is_wider_than_a_hundred_columns() -> None:
    """However wide the terminal is."""
    assert max(len(plain(line)) for line in render(console(width=300), "word " * 200)) <= 100


def test_of_long_code_only_the_newest_lines_are_coloured_while_it_grows() -> None:
    """The first line stays, since it names the language; text is taken whole."""
    code = "```python\n" + "\n".join(f"x = {n}" for n in range(100))
    assert newest(code, 3) == "```python\nx = 97\nx = 98\nx = 99"
    assert newest("a\nb\nc", 1) == "a\nb\nc"
    assert newest("\n", 1) == "\n"


class Writes(io.StringIO):
    """A file that hands on what is written."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._to = write

    def write(self, text: str) -> int:
        self._to(text)
        return len(text)


def plain(line: str) -> str:
    """A line without its colours, as ``Terminal`` keeps it."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


# The prompt.


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("hello\r", "hello"),
        ("one\\\rtwo\r", "one\ntwo"),
        ("one\x1b\rtwo\r", "one\ntwo"),
        ("\x1b[200~one\r\ntwo\x1b[201~\r", "one\ntwo"),
        ("helo\x1b[Dl\r", "hello"),
        ("/fo\t\r", "/forget"),
        ("\x1b[A\r", "from before"),
    ],
)
async def test_a_line_can_be_edited_continued_pasted_and_recalled(tmp_path: Path, typed: str, line: str) -> None:
    """Enter sends; Alt-Enter, and Enter after a backslash, begin a new line; a paste keeps its lines."""
    history = tmp_path / "parley" / "history"
    history.parent.mkdir()
    history.write_text("\n# yesterday\n+from before\n")
    with create_pipe_input() as keys:
        keys.send_text(typed)
        assert await open_prompt(history, keys, DummyOutput()).prompt_async() == line


async def test_the_history_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Its file is 0600, also one that was not, and so is the folder's."""
    history = tmp_path / "parley" / "history"
    with create_pipe_input() as keys:
        keys.send_text("a secret\r")
        await open_prompt(history, keys, DummyOutput()).prompt_async()
    assert "+a secret\n" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700
    history.chmod(0o644)
    with create_pipe_input() as keys:
        open_prompt(history, keys, DummyOutput())
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


async def test_a_history_that_cannot_be_kept_is_done_without(tmp_path: Path) -> None:
    """A folder where the file should be, or a file that is gone, stops nobody."""
    for history in (tmp_path, tmp_path / "gone" / "history"):
        with create_pipe_input() as keys:
            prompt = open_prompt(history, keys, DummyOutput())
            if history != tmp_path:
                history.unlink()
                history.parent.rmdir()
            keys.send_text("hello\r")
            assert await prompt.prompt_async() == "hello"
