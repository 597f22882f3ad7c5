"""Which word somebody meant who mistyped one."""

from __future__ import annotations

from collections.abc import Iterable


def distance(typed: str, meant: str) -> int:
    """Slips of the finger from one word to another: a letter missing, too much, wrong, or two of them swapped.

    This is the optimal string alignment distance; upper and lower case count as different.
    """
    before: list[int] = []
    last = list(range(len(meant) + 1))
    for row, letter in enumerate(typed, 1):
        now = [row]
        for column, other in enumerate(meant, 1):
            cost = min(last[column] + 1, now[column - 1] + 1, last[column - 1] + (letter != other))
            swapped = row > 1 and column > 1 and (letter, typed[row - 2]) == (meant[column - 2], other)
            now.append(min(cost, before[column - 2] + 1) if swapped else cost)
        before, last = last, now
    return last[-1]


def slips(word: str) -> int:
    """How many slips a word of that length can have and still be told from others: 1 in ``help``, 2 in ``settings``."""
    return 1 if len(word) < 7 else 2


def nearest(typed: str, known: Iterable[str]) -> str:
    """The one of ``known`` that was meant, in any case; "" if none is near enough."""
    word = typed.casefold()
    near = [(distance(word, name.casefold()), name) for name in known if abs(len(word) - len(name)) <= slips(name)]
    return min(((far, name) for far, name in near if far <= slips(name)), default=(0, ""))[1]
