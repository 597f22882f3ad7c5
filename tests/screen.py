"""A terminal's screen, drawn from the bytes that a program wrote there: as much of one as a picture of it needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby

_TOKEN = re.compile(
    r"\x1b\[(?P<sign>[?>=]?)(?P<numbers>[\d;]*)(?P<what>[A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|(?P<char>.)",
    re.DOTALL,
)
_COLOURS = ("#2a2a29", "#c4442f", "#3f7d3a", "#a06a00", "#2f62b3", "#8a3f8f", "#1d6f7a", "#6b6b66")


@dataclass(frozen=True)
class Style:
    """How a sign looks."""

    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    colour: int = -1

    def css(self) -> str:
        """The same for a browser."""
        parts = {
            "font-weight:bold": self.bold,
            "opacity:.6": self.dim,
            "font-style:italic": self.italic,
            "text-decoration:underline": self.underline,
            f"color:{_COLOURS[self.colour % 8]}": self.colour >= 0,
        }
        return ";".join(part for part, there in parts.items() if there)


ON: dict[int, dict[str, bool]] = {1: {"bold": True}, 2: {"dim": True}, 3: {"italic": True}, 4: {"underline": True}}
OFF = {22: {"bold": False, "dim": False}, 23: {"italic": False}, 24: {"underline": False}}


class Screen:
    """What is on it, and where the cursor stands."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._columns, self._rows = columns, rows
        self._lines = [self._blank() for _ in range(rows)]
        self._x = self._y = 0
        self._style = Style()
        self._wraps = True

    def _blank(self) -> list[tuple[str, Style]]:
        return [(" ", Style())] * self._columns

    def feed(self, text: str) -> None:
        """Write what the program wrote."""
        for token in _TOKEN.finditer(text):
            if token["char"]:
                self._write(token["char"])
            elif token["what"]:
                numbers = [int(number or 0) for number in token["numbers"].split(";")]
                self._obey(token["what"], token["sign"], numbers)

    def _write(self, char: str) -> None:
        if char == "\r":
            self._x = 0
        elif char == "\n":
            self._down()
        elif char == "\b":
            self._x = max(0, self._x - 1)
        elif char.isprintable():
            if self._x >= self._columns:
                if not self._wraps:
                    return
                self._x = 0
                self._down()
            self._lines[self._y][self._x] = (char, self._style)
            self._x += 1

    def _down(self) -> None:
        if self._y == self._rows - 1:
            self._lines = [*self._lines[1:], self._blank()]
        else:
            self._y += 1

    def _obey(self, what: str, sign: str, numbers: list[int]) -> None:
        count = max(1, numbers[0])
        if what == "m" and not sign:
            self._restyle(numbers)
        elif what in "ABCD":
            x, y = {"A": (0, -1), "B": (0, 1), "C": (1, 0), "D": (-1, 0)}[what]
            self._x = min(max(0, self._x + x * count), self._columns - 1)
            self._y = min(max(0, self._y + y * count), self._rows - 1)
        elif what == "G":
            self._x = count - 1
        elif what == "H":
            self._y, self._x = count - 1, max(1, *numbers[1:2], 1) - 1
        elif what in "JK":
            self._erase(numbers[0], below=what == "J")
        elif sign == "?" and 7 in numbers:
            self._wraps = what == "h"

    def _erase(self, kind: int, *, below: bool) -> None:
        first, last = {0: (self._x, self._columns), 1: (0, self._x + 1)}.get(kind, (0, self._columns))
        self._lines[self._y][first:last] = self._blank()[first:last]
        if below:
            for y in range(0 if kind == 2 else self._y + 1, self._rows):
                self._lines[y] = self._blank()

    def _restyle(self, numbers: list[int]) -> None:
        for number in numbers:
            if not number:
                self._style = Style()
            elif change := ON.get(number) or OFF.get(number):
                self._style = replace(self._style, **change)
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self._style = replace(self._style, colour=number % 10)
            elif number == 39:
                self._style = replace(self._style, colour=-1)

    def html(self) -> str:
        """Its lines for a browser, without those that are empty at the end."""
        lines = [
            "".join(
                f'<span style="{style.css()}">{escape("".join(char for char, _ in cells))}</span>'
                for style, cells in groupby(line, key=lambda cell: cell[1])
            )
            for line in self._lines
        ]
        while lines and not re.sub(r"<[^>]*>|\s", "", lines[-1]):
            lines.pop()
        return "\n".join(lines)
