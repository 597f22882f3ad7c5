"""Reads what comes with a message of Discord beside its text: forwards, embeds, components, polls, files, replies.

Everything here reads Discord's own JSON, of which nothing is trusted: neither types, nor sizes, nor nesting. Workers
have that JSON from the REST API; what discord.py made of an event is turned back into it by ``bots.discord.payloads``,
so that a message reads the same whichever way it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bots.discord.text import cut, readable
from core.quotes import Quote, QuoteKind

Json = Mapping[str, Any]

MAX_QUOTES = 10
MAX_QUOTE_UNITS = 2000
"""UTF-16 units of one quote."""
MAX_PREVIEW_UNITS = 300
"""UTF-16 units told of the page behind a link that the author wrote."""
MAX_FIELD_CHARACTERS = 6000
"""Characters that are looked at of one field: an embed has no more in all (docs.discord.com, resources/message)."""
MAX_NESTING = 3
"""Messages within messages: a reply to a forward of a reply."""
MAX_FORWARDS = 3
"""Messages forwarded at once; Discord forwards one (docs.discord.com, resources/message)."""
MAX_COMPONENTS, MAX_COMPONENT_DEPTH = 60, 5
MAX_LIST = 25
"""Entries of any list that are looked at."""
REPLY_REFERENCE, FORWARD_REFERENCE = 0, 1
VOICE_MESSAGE = 1 << 13
LINK_BUTTON = 5
_ID = re.compile(r"<(?:#|@&)(\d{15,20})>")
_NUMBER = re.compile("[0-9]{1,20}")
_LINE_ENDS = re.compile(r"\s*\n\s*")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads messages for one bot.

    Attributes:
        bot: The bot's id.
        names: Names of people, roles and channels by id. Those that a message brings itself are for all others.
        guild: Where the messages stand; "" for direct messages.
    """

    bot: str
    names: Mapping[str, str]
    guild: str = ""

    def text(self, message: Json) -> str:
        """A message's own text, as people read it."""
        return readable(text_in(message, "content"), {**names_in(message), **self.names})

    def quotes(self, message: Json) -> tuple[Quote, ...]:
        """What comes with a message beside its text."""
        forwards = self._forwards(message)
        found = [*self._reply(message), *forwards, *self._cards(message)]
        files = unreadable(message)
        if not forwards and record_in(message, "message_reference").get("type") == FORWARD_REFERENCE:
            files.append("a forwarded message")
        return with_unreadable(found[:MAX_QUOTES], ", ".join(files))

    def whole(self, message: Json, depth: int = 0) -> str:
        """All of a message in words, to be quoted: its text, and what comes with it."""
        forwards = self._forwards(message, depth + 1) if depth < MAX_NESTING else []
        parts = [self.text(message), *(quote.text for quote in (*forwards, *self._cards(message)))]
        parts += [f"({what})" for what in unreadable(message)]
        return cut("\n".join(filter(None, parts)), MAX_QUOTE_UNITS)

    def name(self, message: Json) -> str:
        """The display name of a message's author; "" for the bot's own."""
        author = record_in(message, "author")
        number = id_in(author, "id")
        return "" if number == self.bot else self.names.get(number) or name_of(author, record_in(message, "member"))

    @staticmethod
    def is_app(message: Json) -> bool:
        """Whether an app wrote a message, or a webhook."""
        return record_in(message, "author").get("bot") is True or bool(id_in(message, "webhook_id"))

    # Inside.

    def _reply(self, message: Json) -> list[Quote]:
        replied = record_in(message, "referenced_message")
        if not replied or record_in(message, "message_reference").get("type", REPLY_REFERENCE) != REPLY_REFERENCE:
            return []
        text = self.whole(replied)
        return [Quote(QuoteKind.REPLY, text, self.name(replied))] if text else []

    def _forwards(self, message: Json, depth: int = 0) -> list[Quote]:
        origin = self._origin(record_in(message, "message_reference"))
        snapshots = records_in(message, "message_snapshots")[:MAX_FORWARDS]
        texts = (self.whole(record_in(one, "message"), depth) for one in snapshots)
        return [Quote(QuoteKind.FORWARD, text, origin=origin) for text in texts if text]

    def _origin(self, reference: Json) -> str:
        """Where a forwarded message was written, if people here can know that."""
        channel, guild = id_in(reference, "channel_id"), id_in(reference, "guild_id")
        if guild and guild != self.guild:
            return "another server" if self.guild else "a server"
        return f"#{self.names[channel]}" if channel in self.names else ""

    def _cards(self, message: Json) -> list[Quote]:
        content = text_in(message, "content")
        names = {**names_in(message), **self.names}
        texts = [embed_text(embed, content) for embed in records_in(message, "embeds")]
        texts.append("\n".join(component_lines(records_in(message, "components"))))
        texts.append(poll_text(record_in(message, "poll")))
        stickers = [text_in(one, "name") for one in records_in(message, "sticker_items")]
        texts += [f"sticker: {name}" for name in stickers if name]
        return [Quote(QuoteKind.CARD, cut(readable(text, names), MAX_QUOTE_UNITS)) for text in texts if text.strip()]


def with_unreadable(quotes: Sequence[Quote], what: str) -> tuple[Quote, ...]:
    """Quotes with what else can't be read, in one line, the last."""
    others = [quote for quote in quotes if quote.kind is not QuoteKind.UNREADABLE]
    whole = ", ".join(filter(None, [*(q.text for q in quotes if q.kind is QuoteKind.UNREADABLE), what]))
    more = [Quote(QuoteKind.UNREADABLE, cut(whole, MAX_QUOTE_UNITS))] if whole else []
    return (*others[: MAX_QUOTES - len(more)], *more)


def embed_text(embed: Json, content: str) -> str:
    """An embed in words; in short, if it only shows what is behind a link in the ``content`` of its message."""
    if embed.get("type") == "poll_result":
        return _poll_result(embed)
    url, title, description = text_in(embed, "url"), text_in(embed, "title"), text_in(embed, "description")
    author, footer = text_in(record_in(embed, "author"), "name"), text_in(record_in(embed, "footer"), "text")
    if _is_linked(embed, content):
        site = text_in(record_in(embed, "provider"), "name")
        if not (title or description or author):
            return ""
        words = ": ".join(filter(None, [site, author, title]))
        return cut("\n".join(filter(None, [words, description])), MAX_PREVIEW_UNITS)
    heading = f"{title} ({url})" if title and url else title or url
    fields = [_field(field) for field in records_in(embed, "fields")]
    lines = [author, heading, description, *fields, footer]
    return "\n".join(filter(None, lines)) if any((author, title, description, *fields, footer)) else ""


def component_lines(components: Iterable[Json]) -> Iterator[str]:
    """The texts in the components of a message: text, descriptions of pictures, and where its buttons lead."""
    for one in _every_component(components):
        if text := text_in(one, "content") or text_in(one, "description"):
            yield text
        if one.get("style") == LINK_BUTTON and (url := text_in(one, "url")):
            yield f"{text_in(one, 'label') or 'link'} ({url})"


def poll_text(poll: Json) -> str:
    """A poll in words, with its votes once it is over."""
    question = text_in(record_in(poll, "question"), "text")
    if not question:
        return ""
    results = record_in(poll, "results")
    over = results.get("is_finalized") is True
    votes = {str(one.get("id")): one.get("count") for one in records_in(results, "answer_counts")}
    lines = [f"poll, {'ended' if over else 'still open'}: {question}"]
    for answer in records_in(poll, "answers"):
        said = text_in(record_in(answer, "poll_media"), "text")
        count = votes.get(str(answer.get("answer_id")), 0)
        counted = f" ({count} {'vote' if count == 1 else 'votes'})" if over and type(count) is int else ""
        lines += [f"- {said}{counted}"] if said else []
    return "\n".join(lines)


def unreadable(message: Json) -> list[str]:
    """What cannot be read of a message: files, voice messages, invitations and calls."""
    spoken = isinstance(flags := message.get("flags"), int) and flags & VOICE_MESSAGE
    found = ["a voice message" if spoken else _file(file) for file in records_in(message, "attachments")]
    parts = list(_every_component(records_in(message, "components")))
    found += [name for part in parts if record_in(part, "file") and (name := text_in(part, "name")) not in found]
    content, embeds = text_in(message, "content"), records_in(message, "embeds")
    if any(_is_picture(one, content) for one in embeds) or any(map(_is_undescribed, parts)):
        found.append("a picture")
    if record_in(message, "activity"):
        found.append(f"an invitation to {text_in(record_in(message, 'application'), 'name') or 'an activity'}")
    if record_in(message, "call"):
        found.append("a call")
    return [one for one in found if one]


def names_in(message: Json) -> dict[str, str]:
    """The names of people whom a message mentions, by id."""
    people = records_in(message, "mentions")
    return {id_in(user, "id"): name_of(user, record_in(user, "member")) for user in people if id_in(user, "id")}


def name_of(user: Json, member: Json) -> str:
    """The name that people see of a person or app: the one on the server, else their own."""
    return text_in(member, "nick") or text_in(user, "global_name") or text_in(user, "username") or "somebody"


def ids_in(messages: Sequence[Json]) -> set[str]:
    """The ids of roles and channels that messages name anywhere, and of the channels they were forwarded from."""
    try:
        found = set(_ID.findall(json.dumps(messages, default=str)))
    except (RecursionError, ValueError):
        return set()
    forwards = [one for one in messages if one.get("message_snapshots")]
    return found | {id_in(record_in(one, "message_reference"), "channel_id") for one in forwards} - {""}


def record_in(record: Any, name: str) -> Json:
    """An object in an object; an empty one if there is none."""
    found = record.get(name) if isinstance(record, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def records_in(record: Json, name: str) -> Sequence[Json]:
    """The objects of a list in an object: the first of them."""
    found = record.get(name)
    return [one for one in found[:MAX_LIST] if isinstance(one, Mapping)] if isinstance(found, list | tuple) else ()


def text_in(record: Json, name: str) -> str:
    """A text in an object, as far as it is looked at; "" if there is none."""
    found = record.get(name)
    return found[:MAX_FIELD_CHARACTERS].strip() if isinstance(found, str) else ""


def id_in(record: Json, name: str) -> str:
    """An id in an object; "" if there is none."""
    found = record.get(name)
    number = str(found) if isinstance(found, str | int) else ""
    return number if _NUMBER.fullmatch(number) else ""


def _is_linked(embed: Json, content: str) -> bool:
    """Whether the content of a message links to what an embed shows."""
    return bool(url := text_in(embed, "url")) and url.rstrip("/") in content


def _is_picture(embed: Json, content: str) -> bool:
    """Whether an embed has nothing but a picture that the message does not link to."""
    shown = any(record_in(embed, name) for name in ("image", "thumbnail", "video"))
    return shown and not (embed_text(embed, content) or _is_linked(embed, content))


def _is_undescribed(component: Json) -> bool:
    """Whether a component is a picture of which nothing is said."""
    return bool(record_in(component, "media")) and not text_in(component, "description")


def _every_component(components: Iterable[Json]) -> Iterator[Json]:
    """Components, and those in them."""
    left: list[tuple[Json, int]] = [(one, 0) for one in components][::-1]
    for _ in range(MAX_COMPONENTS):
        if not left:
            return
        one, depth = left.pop()
        yield one
        if depth < MAX_COMPONENT_DEPTH:
            inner = [*records_in(one, "components"), *records_in(one, "items"), record_in(one, "accessory")]
            left += [(each, depth + 1) for each in reversed(inner) if each]


def _field(field: Json) -> str:
    name, value = text_in(field, "name").strip("\u200b"), text_in(field, "value").strip("\u200b")
    return f"{name}: {value}" if name and value else name or value


def _file(file: Json) -> str:
    name, about = text_in(file, "filename")[:200], _LINE_ENDS.sub(" ", text_in(file, "description"))[:300]
    return f"{name} (described as: {about})" if name and about else name


def _poll_result(embed: Json) -> str:
    """How a poll ended: Discord says that in an embed whose fields are meant for programs."""
    told = {text_in(field, "name"): text_in(field, "value") for field in records_in(embed, "fields")}
    question, winner = told.get("poll_question_text"), told.get("victor_answer_text")
    votes, total = told.get("victor_answer_votes"), told.get("total_votes")
    counted = f" ({votes} of {total} votes)" if votes and total else ""
    return f"The poll has ended: {question or 'a question'}\n" + (
        f"Winner: {winner}{counted}" if winner else "No winner"
    )
