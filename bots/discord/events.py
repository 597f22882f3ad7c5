"""Reads Discord's messages: whether they are questions to Parley, and what they say.

A turn's identity is its place and the message's id, which never changes; so a message that comes twice (over two
connections, or in a search for missed ones) is the same turn. In a channel, the reply refers to the question; a thread
is a conversation of its own that branched off its channel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import discord

from bots.discord.access import Asker
from bots.discord.buttons import DMS, identity
from bots.discord.text import cut, readable, without_mention
from core.types import Author, ConversationKey, Turn

MESSAGE_TYPES = {discord.MessageType.default, discord.MessageType.reply}
"""Types of messages that people write; the others are joins, pins, boosts and the like."""
MAX_QUOTE_UNITS = 1500
"""UTF-16 units quoted from a message that is replied to."""
QUOTE_START, QUOTE_END = "[In reply to what ", "]\n"
"""The words before and after a quote."""
MAX_THREAD_NAME_UNITS = 90


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message was written: a channel, and a thread in it; or ``@`` and a person's id, for private questions."""

    guild: str
    channel: str
    thread: str = ""

    @classmethod
    def of(cls, guild: int | None, channel: Any) -> Place:
        """The place of discord.py's channel or thread."""
        where = str(guild) if guild else ""
        if isinstance(channel, discord.Thread):
            return cls(where, str(channel.parent_id), str(channel.id))
        return cls(where, str(channel.id))

    @property
    def key(self) -> ConversationKey:
        """The conversation in this place."""
        return ConversationKey("discord", self.guild or DMS, self.channel, self.thread)

    @property
    def id(self) -> str:
        """The id of the channel or thread that messages are posted to."""
        return self.channel if self.key.owner else self.thread or self.channel

    def asker(self, user: Any) -> Asker:
        """The author of a question in this place."""
        roles = [str(role) for role in getattr(user, "_roles", ())] if self.guild else []
        return Asker(str(user.id), self.guild, [self.channel, *([self.thread] if self.thread else [])], roles)

    def lane(self, user: str) -> str:
        """The lane of a person's questions: all of a thread or a direct message; in a channel, one for each person."""
        return str(self.key) if self.thread or not self.guild else f"{self.key}/{user}"


def names_in(message: discord.Message) -> dict[str, str]:
    """The names of people, roles and channels that a message mentions, by id."""
    names = {str(user.id): user.display_name for user in message.mentions}
    names |= {str(role.id): role.name for role in message.role_mentions}
    for number in re.findall(r"<#(\d+)>", message.content):
        channel = message.guild.get_channel_or_thread(int(number)) if message.guild else None
        if channel:
            names[number] = channel.name
    return names


def addressed(message: discord.Message, bot: discord.ClientUser) -> bool:
    """Whether a message is meant for Parley: a direct message, a mention, a reply to it, or in a thread it opened."""
    if message.guild is None or bot in message.mentions:
        return True
    if any(role.tags and role.tags.bot_id == bot.id for role in message.role_mentions):
        return True
    if not message.content or message.mentions:
        return False  # unreadable without the Message Content intent; or somebody else is mentioned
    replied = message.reference.resolved if message.reference else None
    if isinstance(replied, discord.Message) and replied.author.id == bot.id:
        return True
    return isinstance(message.channel, discord.Thread) and message.channel.owner_id == bot.id


def text_of(message: discord.Message, bot: discord.ClientUser) -> str:
    """The text of a message as people read it, without the mention of Parley that only addresses it."""
    text = without_mention(message.content, str(bot.id))
    for role in message.role_mentions:
        if role.tags and role.tags.bot_id == bot.id:
            text = without_mention(text, str(role.id))
    return readable(text, {**names_in(message), str(bot.id): bot.display_name})


def context_of(message: discord.Message, bot: discord.ClientUser) -> dict[str, str]:
    """What comes with a message's text: the names of attachments, and the quote that it replies to."""
    return {"files": ", ".join(file.filename for file in message.attachments), **_quote(message, bot)}


def with_context(text: str, context: Mapping[str, str]) -> str:
    """Add what ``context_of`` found to a text, in words; ``keep_quote`` can find the quote again."""
    if quote := context.get("quote"):
        quoted = f"{QUOTE_START}{context.get('quote_by') or 'you'} wrote: {quote}".replace(QUOTE_END, "] \n")
        text = f"{quoted}{QUOTE_END}{text}"
    if files := context.get("files"):
        text = f"{text}\n[Attached, and not readable to you: {files}]"
    return text


def lacks_quote(message: discord.Message) -> bool:
    """Whether a message replies to one that Discord didn't send this time, although it may have before."""
    return message.reference is not None and not isinstance(message.reference.resolved, discord.Message)


def keep_quote(reads: str, before: str) -> str:
    """Add the quote in ``before``, an older reading of a message, to what it ``reads`` now."""
    quote, end, _ = before.partition(QUOTE_END) if before.startswith(QUOTE_START) else ("", "", "")
    return f"{quote}{end}{reads}" if end else reads


def read_question(message: discord.Message, bot: discord.ClientUser, *, auto_thread: bool) -> Turn | None:
    """Read the turn in a message; None if it isn't a question to Parley."""
    if message.author.id == bot.id or message.type not in MESSAGE_TYPES or not addressed(message, bot):
        return None
    where = Place.of(message.guild.id if message.guild else None, message.channel)
    text, context = text_of(message, bot), context_of(message, bot)
    place = {"channel": where.id, "bot": "1", **context}
    if where.guild:
        place["reply_to"] = str(message.id)
    if not text and not context["files"] and "quote" in place:
        text = place.pop("quote")  # "@Parley", in reply to somebody: that is the question
    if auto_thread and isinstance(message.channel, discord.TextChannel):
        place["open_thread"] = cut(" ".join(text.split()) or "A question", MAX_THREAD_NAME_UNITS)
        del place["reply_to"]
    return make_turn(where, str(message.id), message.author, text, at=message.created_at.timestamp(), place=place)


def make_turn(where: Place, message: str, author: Any, text: str, *, at: float, place: Mapping[str, str]) -> Turn:
    """Make a turn of a message or command."""
    user, thread = str(author.id), where.thread if where.key.parent else ""
    return Turn(
        id=identity(where.guild, where.id, message),
        key=where.key,
        lane=where.lane(user),
        author=Author(user, author.display_name),
        text=text,
        at=at,
        root=identity(where.guild, where.channel, thread) if thread else "",
        root_at=discord.utils.snowflake_time(int(thread)).timestamp() if thread else 0.0,
        place={name: value for name, value in place.items() if value},
    )


def changed_keys(guild: int | None, channel: Any, channel_id: int, message: int) -> tuple[str, list[ConversationKey]]:
    """The turn that a message may be, and the conversations that may hold it: its place, and the thread under it."""
    where = Place.of(guild, channel or discord.Object(channel_id))
    name = identity(where.guild, where.id, message)
    thread = [] if where.thread else [Place(where.guild, where.channel, str(message)).key]
    return name, [where.key, *thread]


def _quote(message: discord.Message, bot: discord.ClientUser) -> dict[str, str]:
    """The text and author of the message that is replied to, if we can read it."""
    replied = message.reference.resolved if message.reference else None
    if not isinstance(replied, discord.Message) or not replied.content:
        return {}
    by = "" if replied.author.id == bot.id else replied.author.display_name
    return {"quote": cut(readable(replied.content, names_in(replied)), MAX_QUOTE_UNITS), "quote_by": by}
