"""What people are called in a prompt, where no two are called the same.

Namesakes, and people without a name on their platform, get a name from their id.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import sha256

from core.prompts.guard import GUARD_MARK, name
from core.types import Author


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
        self._found: dict[Author, str] = {}

    def name(self, author: Author) -> str:
        """The name of a person in the prompt; "" for the only person, if they have none."""
        if author not in self._found:
            self._found[author] = self._find(author)
        return self._found[author]

    def _find(self, author: Author) -> str:
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
