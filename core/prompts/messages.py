"""The messages of a prompt, for any template: who speaks, on which day, and what.

A person's words begin with their name, so that the model can tell several people apart. Namesakes, and people without
a name on their platform, get a name from their id. The date comes with the first message of each day: it depends only
on that message and the one before it, so the beginning of a prompt stays the same from turn to turn.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256

from core.model_types import PromptWindow
from core.prompts.guard import GUARD_MARK, guard, name
from core.prompts.quoting import words as in_words
from core.types import Author, Role

TemplateMessage = tuple[Role, str]
"""A role and its words, as templates take them."""


def prompt_messages(window: PromptWindow, control_tokens: tuple[str, ...] = ()) -> Iterator[TemplateMessage]:
    """Yield role and words of each message, guarded against forged roles and the template's ``control_tokens``."""
    last, voices = "", SpeakerNames(message.author for message in window.messages if message.author)
    for message in window.messages:
        words = in_words(message, control_tokens)
        if message.role is Role.USER:
            if message.author and (voice := voices.name(message.author)):
                words = f"{guard(voice, control_tokens)}: {words}"
            today = day(message.at)
            if today and today != last:
                last, words = today, f"({today}) {words}"
        yield message.role, words


class SpeakerNames:
    """Names for the people of one conversation, no two the same.

    Args:
        authors: Everybody who speaks, in order. The first person with a name keeps it as it is, so that what a prompt
            begins with does not change when a namesake comes.
    """

    def __init__(self, authors: Iterable[Author]) -> None:
        authors = list(authors)
        self._names = {author.id: author.name for author in authors if author.id and author.name}
        self._several = len({author.id or author.name for author in authors}) > 1
        self._owners: dict[str, str] = {}

    def name(self, author: Author) -> str:
        """The name of a person in the prompt; "" for the only person, if they have none."""
        called = author.name or self._names.get(author.id, "")
        if not (called or (self._several and author.id)):
            return ""
        person, plain = author.id or called, name(called) if called else ""
        digest = sha256(person.encode("utf-8", "replace")).hexdigest()
        labels = [f"{name(called, 30) if called else 'Person'} {digest[:length]}" for length in (4, 8, len(digest))]
        return next((one for one in (plain, *map(name, labels)) if one and self._belongs(one, person)), digest)

    def _belongs(self, label: str, person: str) -> bool:
        """Whether nobody else has a name that looks like this one."""
        read = unicodedata.normalize("NFKC", label.replace(GUARD_MARK, "")).casefold()
        return self._owners.setdefault(read, person) == person


def alternate_roles(said: Iterable[TemplateMessage]) -> list[TemplateMessage]:
    """Merge messages so that roles alternate, user first, as many templates demand.

    Messages of one role in a row become one. A system message between others becomes part of the user message after it,
    or of the one before it at the end.
    """
    turns: list[TemplateMessage] = []
    for role, words in said:
        spoken_as = Role.USER if role is Role.SYSTEM else role
        if not turns and spoken_as is Role.ASSISTANT:
            turns.append((Role.USER, "…"))
        if turns and turns[-1][0] is spoken_as:
            turns[-1] = (spoken_as, f"{turns[-1][1]}\n\n{words}")
        else:
            turns.append((spoken_as, words))
    return turns


def fold_system(system: str, turns: Iterable[TemplateMessage]) -> list[TemplateMessage]:
    """Put the system prompt in front of the first user message, for models that have no such role."""
    turns = list(turns)
    if not system:
        return turns
    if turns and turns[0][0] is Role.USER:
        return [(Role.USER, f"{system}\n\n{turns[0][1]}"), *turns[1:]]
    return [(Role.USER, system), *turns]


def day(at: float) -> str:
    """``Monday, 23 November 2026`` where this process runs; empty for a message without a time."""
    return f"{datetime.fromtimestamp(at).astimezone():%A, %-d %B %Y}" if at else ""
