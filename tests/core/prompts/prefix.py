"""A long talk with overheard messages, and how much of each of its prompts a server's prefix cache has read already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile

from core.prompts import TokenBudget, estimate_tokens, fit, message_tokens, open_template
from core.types import Author, Conversation, ConversationKey, Fact, Message, Role

PEOPLE = tuple(Author(f"U{number}", name) for number, name in enumerate(("Ada", "Bob", "Carla", "Dan")))
BEGIN = 1.8e9
FACTS = tuple(Fact(n, f"The {n}th rule is to be kind to people.", PEOPLE[n % 4], BEGIN + n) for n in range(1, 6))
BUDGET = TokenBudget(8_000, 500)


def said(name: str, text: str, at: float, author: Author | None = None, *, overheard: bool = False) -> Message:
    """A message as it is remembered; an answer without an author."""
    role = Role.USER if author else Role.ASSISTANT
    message = Message(role, text, id=name, author=author, at=at, overheard=overheard)
    return replace(message, tokens=message_tokens(message))


def prompts(family: str, *, turns: int = 100, overheard: int = 2, room: int = 0) -> Iterator[tuple[str, int, bool]]:
    """Each turn's prompt, how much of it belongs to the next one too, and whether the window was cut for it.

    Args:
        family: the template.
        turns: how many questions.
        overheard: messages in the thread, not to Parley, before each question.
        room: messages of the channel before each question, all of them new.
    """
    talk = Conversation(ConversationKey("slack", "T1", "C1", "1"), facts=FACTS, summary="- Ada leads.\n- Bob pays.")
    for turn in range(turns):
        at = BEGIN + 600 * turn
        heard = [
            said(f"o{turn}.{n}", f"I think that number {turn} should be moved to the {n}th of May. " * 2, at + n, who)
            for n, who in zip(range(overheard), PEOPLE[1:] * overheard, strict=False)
        ]
        heard = [replace(message, overheard=True, tokens=0) for message in heard]
        lately = tuple(
            said(f"r{turn}.{n}", f"Lunch number {turn * room + n}?", at + n, PEOPLE[n % 4], overheard=True)
            for n in range(room)
        )
        talk = replace(talk, messages=(*talk.messages, *heard), room=lately)
        question = said(f"q{turn}", f"So when is number {turn}, and who comes to it?", at + 60, PEOPLE[turn % 4])
        fitted = fit(talk, question, "You are a helpful assistant.", BUDGET)
        prompt = open_template(family).render(fitted.window)
        text = "\n\n".join(words for _, words in prompt.chat()) if prompt.chat else prompt.text()
        stays = talk.messages[-1] if room and talk.messages else question
        yield text, text.rindex(stays.text.strip()) + len(stays.text.strip()), fitted.cut != talk.cut
        answer = said(f"a{turn}", f"Number {turn} is on the first of May, and all come. " * 4, at + 61)
        talk = replace(talk, messages=(*talk.messages, fitted.window.messages[-1], answer), cut=fitted.cut)


def cached(family: str, **talk: int) -> float:
    """The share of all prompts' characters that stood at the beginning of the prompt before."""
    read = whole = 0
    before = ""
    for text, _, _ in prompts(family, **talk):
        read += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, text, strict=False)))
        whole += len(text)
        before = text
    return read / whole


def mean_tokens(family: str, **talk: int) -> float:
    """The mean of the prompts' tokens, as we count them."""
    counted = [estimate_tokens(text) for text, _, _ in prompts(family, **talk)]
    return sum(counted) / len(counted)
