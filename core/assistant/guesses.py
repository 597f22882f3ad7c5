"""Which command a message was probably meant to be: ``setings``, ``/hlep``, ``settings temperatur 0.2``. Pure.

A wrong guess keeps a question from the model, so a guess is made only for short messages, near a command in the way
that fingers slip, and never for words that mean something else. After a slash or an exclamation mark a rougher
likeness is enough.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from core.memory import CHOICE_HELP, setting_name, split_setting
from core.typos import distance, slips

COMMANDS = ("help", "memory", "remember", "forget", "settings", "stop", "mute", "unmute")
MOST_WORDS = 6
"""Words of a message that can be a mistyped command."""
MOST_SLIPS_AFTER_MARK = 2
"""Slips between a word after a slash or an exclamation mark and the command that it was meant to be."""
_OTHER_WORDS = """
hallo hello helo hel hell held helm help helps helped helpt hemp heap heel hep herp hulp hilf hjelp
shop shops step stopp stops stopt stoop stomp stoppt stow strop slop sop sto stok stor stoß stap stip
forge forged forger forges forgot forgets memo memoir memor memoria memories mémoire memorie
sitting sittings seating seatings settling settlings string strings stings sellings sayings
member members remembers remembered remembering remembrance reminder reminders
unmuted unmutes mut muta mutant mutate muted mutes muti mutt muté meute mate mete mite mote moute mule muse myte
mac mad man map mar mark mars mas mat may mode modal modem moral personal person persons systems
"""
NOT_TYPOS = frozenset(_OTHER_WORDS.split())
"""Words of several languages that look like a mistyped command, or setting, and are none."""
_OBJECTS = frozenset(("all", "everything", "this", "us", "me", "conversation", "history", "chat", "messages"))
"""What follows ``forget`` where somebody wants it done; a model would only claim to have forgotten."""
_FILLERS = frozenset(("please", "now", "the", "our", "my"))
_OTHER_BOTS_COMMANDS = {
    "clear": "forget",
    "reset": "forget",
    "new": "forget",
    "start": "help",
    "commands": "help",
    "config": "settings",
    "options": "settings",
}
"""What other bots call a command."""
_SWAPPED = {"reset settings": "settings reset", "show memory": "memory", "now forget": "forget now"}
_TELLING = re.compile(r"(\w{5,12})(\s*:|\s+that\s)\s*(\S.*)", re.DOTALL)
_MARKS = "/!\uff0f\uff01"
_EDGES = "`*_.,:;!?…\"'“”„«»‽¿¡"
_UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"
_LONGEST_WORD = 40


@dataclass(frozen=True, slots=True)
class Line:
    """A message, as far as it can be a command: ``mark`` is the slash or exclamation mark before it.

    ``asks`` says that it ends with a question mark. ``words`` are in lower case and without punctuation, ``count`` is
    how many there were with it (up to one more than ``MOST_WORDS``), and ``rest`` is what follows the first word, as it
    was typed.
    """

    mark: str
    asks: bool
    words: tuple[str, ...]
    count: int
    rest: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Take a message apart."""
        line = text.strip().strip(_UNSEEN).strip()
        if line.startswith("`"):  # copied from the help, as code
            line = line.strip("`").strip()
        marked = line[:1] in _MARKS and line[1:2].isalpha()
        mark = unicodedata.normalize("NFKC", line[:1]) if marked else ""
        line = line.lstrip(_MARKS)
        pieces = line.split(maxsplit=MOST_WORDS)
        rest = line.split(maxsplit=1)[1:]
        words = tuple(filter(None, map(_word, pieces)))
        asks = line.rstrip(_EDGES.replace("?", "")).endswith("?")
        return cls(mark, asks, words, len(pieces), rest[0] if rest else "")


def guess(line: Line) -> str:
    """The command that a line was probably meant to be, as it is written; "" for none."""
    words = line.words
    if not words or line.count > MOST_WORDS or words == ("stop",):
        return ""
    if line.mark and (meant := _guess_marked(line)):
        return meant
    return _guess_word(words[0]) if len(words) == 1 else _guess_phrase(line)


def guess_telling(text: str) -> str:
    """``remeber: standup is at 9:15``, of any length, with its word written right; "" for anything else."""
    found = _TELLING.match(text.strip())
    if not found or _nearest(found[1].casefold(), ("remember",)) != "remember" or found[1].casefold() == "remember":
        return ""
    return f"remember{found[2].strip() if ':' in found[2] else ' that'} {inline(found[3])}"


def _word(piece: str) -> str:
    """A word without punctuation around it, and without characters that nobody sees."""
    if len(piece) > _LONGEST_WORD:
        return piece
    plain = unicodedata.normalize("NFKC", piece).casefold()
    return plain.translate(dict.fromkeys(map(ord, _UNSEEN))).strip(_EDGES)


def _guess_marked(line: Line) -> str:
    first = line.words[0]
    if name := setting_name(first):
        return f"settings {name} {inline(line.rest)}".rstrip()
    if len(line.words) > 2 or not first.isalpha():
        return ""
    if first in _OTHER_BOTS_COMMANDS:
        return _OTHER_BOTS_COMMANDS[first]
    begun = [word for word in COMMANDS if word.startswith(first) and word != first]
    if begun and len(first) >= 3:
        return begun[0]
    near = [(distance(first, word), word) for word in COMMANDS if abs(len(first) - len(word)) <= MOST_SLIPS_AFTER_MARK]
    return min(((far, word) for far, word in near if 0 < far <= MOST_SLIPS_AFTER_MARK), default=(0, ""))[1]


def _guess_word(word: str) -> str:
    """The command that a mistyped word was meant to be; "" for one that is a command, or may be a word of its own."""
    return "" if word in COMMANDS or not word.isalpha() else _nearest(word, COMMANDS)


def _nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` that a mistyped word is nearest to, "" if none is near.

    Both begin with the same letter, or with the same two letters swapped: nearly all slips come later.
    """
    if not 3 <= len(word) <= _LONGEST_WORD or word in NOT_TYPOS:
        return ""
    alike = [meant for meant in known if word[0] == meant[0] or word[:2] == meant[1::-1]]
    near = [(distance(word, meant), meant) for meant in alike]
    return min(((far, meant) for far, meant in near if far <= slips(meant)), default=(0, ""))[1]


def _guess_phrase(line: Line) -> str:
    words = line.words
    typed, second = words[:2]
    first = _guess_word(typed) or typed
    match first:
        case _ if swapped := _SWAPPED.get(" ".join(words)):
            return swapped
        case "settings":
            return _guess_setting(line)
        case "forget":
            return _guess_forget(set(words[1:]))
        case "memory" if first != typed and words[1:] == ("show",):
            return "memory"
        case "help" if first != typed and len(words) == 2 and second in COMMANDS:
            return "help"
        case _:
            return ""


def _guess_forget(rest: set[str]) -> str:
    if rest <= {"now", "nwo", "noww", "nw"}:
        return "forget now"
    numbers = sorted(word.lstrip("#") for word in rest - {"and", "&"})
    if numbers and all(number.isascii() and number.isdecimal() for number in numbers):  # one at a time
        return f"forget {min(numbers, key=int)}"
    return "forget" if rest & _OBJECTS and rest <= _OBJECTS | _FILLERS else ""


def _guess_setting(line: Line) -> str:
    """``settings temperature 0.2``, where one of its words was mistyped."""
    first, second, *values = line.words
    if first != "setting" and not values and distance(second, "reset") <= 1:
        return "settings reset"
    if second == "reset" and len(values) == 1 and setting_name(values[0]):
        return f"settings {setting_name(values[0])} reset"
    typed, value = split_setting(line.rest)
    if second == "top" and values[:1] == ["p"]:
        typed, value = "topp", split_setting(value)[1]
    name = setting_name(typed) or _guess_name(typed.casefold())
    if first == "settings" and second == setting_name(second):
        return ""  # it was not mistyped: it is a sentence about a setting
    return f"settings {name} {inline(value)}".rstrip() if name and _may_set(first, name, value) else ""


def _may_set(first: str, name: str, value: str) -> bool:
    """Whether a text can be meant as a value, and is not the end of a sentence."""
    words = value.split()
    number = name in ("temperature", "top_p", "max") and any(letter.isdigit() for letter in value)
    if first == "setting":  # a word of its own
        return number and len(words) == 1
    if len(words) > 1 and value.endswith("?"):
        return False
    return name == "system" or len(words) <= (3 if number else 1)


def _guess_name(typed: str) -> str:
    """The setting that a mistyped or shortened word names."""
    begun = [name for name in CHOICE_HELP if name.startswith(typed)]
    return begun[0] if begun and len(typed) >= 4 and typed not in NOT_TYPOS else _nearest(typed, CHOICE_HELP)


def inline(value: str) -> str:
    """What somebody typed, as it can stand in code in a line."""
    return " ".join(value.replace("`", "").split()).rstrip("?!")[:80]
