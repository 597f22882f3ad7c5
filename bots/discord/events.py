"""Reads Discord's messages: whether they are questions to Parley, and what they say.

A turn's identity is its place and the message's id, which never changes; so a message that comes twice (over two
connections, or in a search for missed ones) is the same turn. In a channel, the reply refers to the question; a thread
is a conversation of its own that branched off its channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import discord

from bots.discord.access import Asker
from bots.discord.buttons import DMS, identity
from bots.discord.payloads import payload_of
from bots.discord.quotes import Json, Reader, id_in, ids_in, names_in, record_in, records_in, text_in, with_unreadable
from bots.discord.text import cut, without_mention
from core.assistant import commands
from core.memory import FOLLOWED, HEARS_CHANNEL, OPENED_THREAD
from core.prompts import shorten
from core.quotes import Quote, QuoteKind
from core.types import Author, ConversationKey, Message, Role, Turn

MESSAGE_TYPES = {discord.MessageType.default, discord.MessageType.reply}
"""Types of messages that people write; the others are joins, pins, boosts and the like."""
LATE_TYPES = {discord.MessageType.chat_input_command, discord.MessageType.context_menu_command}
"""Types of messages that an app may post empty, and write later."""
HEARD_TYPES = MESSAGE_TYPES | LATE_TYPES | {discord.MessageType.poll_result}
"""Types of messages that say something to the people in a channel: those of apps, too."""
MESSAGE_TOKENS = 500
"""The most tokens of one message that is overheard."""
MAX_REPLY_UNITS = 200
"""UTF-16 units told of a message that somebody replies to in talk that is overheard: it often stands there as well."""
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


def addressed(message: discord.Message, bot: discord.ClientUser) -> bool:
    """Whether a message is addressed to Parley: a direct message, a mention, or in a channel a reply to it.

    In threads, ``core.memory.Following`` decides about the others.
    """
    if message.guild is None or bot in message.mentions:
        return True
    if any(role.tags and role.tags.bot_id == bot.id for role in message.role_mentions):
        return True
    if isinstance(message.channel, discord.Thread) or mentions_others(message, bot):
        return False
    replied = message.reference.resolved if message.reference else None
    says = message.content or message.message_snapshots  # nothing, without the Message Content intent
    return bool(says) and isinstance(replied, discord.Message) and replied.author.id == bot.id


def mentions_others(message: discord.Message, bot: discord.ClientUser) -> bool:
    """Whether a message mentions other people than Parley, a role or everybody, or replies to what others said."""
    roles = [role for role in message.role_mentions if not (role.tags and role.tags.bot_id == bot.id)]
    if roles or message.mention_everyone or any(user.id != bot.id for user in message.mentions):
        return True
    replied = message.reference.resolved if message.reference else None
    ours = isinstance(replied, discord.Message) and replied.author.id in (bot.id, message.author.id)
    return message.type is discord.MessageType.reply and not ours


def _may_follow(message: discord.Message) -> bool:
    """Whether a message can be for Parley although it isn't addressed to it: a person's, in a thread."""
    return isinstance(message.channel, discord.Thread) and not (message.author.bot or message.webhook_id)


def wording(message: discord.Message, bot: discord.ClientUser) -> tuple[str, tuple[Quote, ...]]:
    """What a message says to Parley: its text as people read it, and what comes with it.

    "@Parley" alone, in reply to somebody, asks what that message asks.
    """
    payload = payload_of(message)
    reader = reader_of([payload], bot, message.guild)
    ours = [bot.id, *(role.id for role in message.role_mentions if role.tags and role.tags.bot_id == bot.id)]
    for number in ours:
        payload["content"] = without_mention(payload["content"], str(number))
    text, quotes = reader.text(payload), reader.quotes(payload)
    if addressed(message, bot) and (replied := record_in(payload, "referenced_message")) and not reader.whole(replied):
        # As Discord shows it to us without the Message Content intent.
        quotes = with_unreadable(quotes, "the message that this one replies to")
    if not text and len(quotes) == 1 and quotes[0].kind is QuoteKind.REPLY and not commands.find(quotes[0].text):
        return quotes[0].text, ()
    return text, quotes if addressed(message, bot) else tuple(map(_in_short, quotes))


def tells_quotes(message: discord.Message) -> bool:
    """Whether a message tells what it replies to: an edit need not, and what was deleted since is no longer told."""
    return message.reference is None or isinstance(message.reference.resolved, discord.Message)


def read_overheard(message: discord.Message, bot: discord.ClientUser) -> tuple[ConversationKey, Message] | None:
    """Read a message that is not said to Parley: its conversation, and what is said; None if that is nothing."""
    if message.author.id == bot.id or message.guild is None or message.type not in HEARD_TYPES:
        return None
    payload, where = payload_of(message), Place.of(message.guild.id, message.channel)
    said = overheard(payload, reader_of([payload], bot, message.guild), where)
    return (where.key, said) if said else None


def overheard(payload: Json, reader: Reader, where: Place) -> Message | None:
    """What a message says to the people in a place, or to Parley; None if that is nothing, or cannot be read."""
    author, number = record_in(payload, "author"), id_in(payload, "id")
    to_us = any(id_in(user, "id") == reader.bot for user in records_in(payload, "mentions"))
    if to_us:
        payload = {**payload, "content": without_mention(text_in(payload, "content"), reader.bot)}
    text, quotes = reader.text(payload), reader.quotes(payload)
    if not number or not id_in(author, "id") or not (text or any(one.kind is not QuoteKind.REPLY for one in quotes)):
        return None
    name = reader.name(payload)
    return Message(
        Role.USER if name else Role.ASSISTANT,
        shorten(text, MESSAGE_TOKENS),
        id=identity(where.guild, where.id, number),
        author=Author(id_in(author, "id"), name, app=reader.is_app(payload)) if name else None,
        at=snowflake_seconds(number),
        edited=_edited(payload),
        quotes=tuple(map(_in_short, quotes)),
        overheard=bool(name) and not to_us,
    )


def _edited(payload: Json) -> float:
    """When a message was edited last; 0 if it was not, or where that is not told."""
    try:
        at = discord.utils.parse_time(text_in(payload, "edited_timestamp") or None)
        return at.timestamp() if at else 0.0
    except (ValueError, OverflowError):
        return 0.0


def is_talk(payload: Json) -> bool:
    """Whether a message says something to the people in a channel, rather than that somebody joined or the like."""
    kind = payload.get("type")
    return isinstance(kind, int) and kind in {heard.value for heard in HEARD_TYPES}


def reader_of(
    messages: Sequence[Json],
    bot: discord.ClientUser,
    guild: discord.Guild | None,
    names: Mapping[str, str] | None = None,
) -> Reader:
    """A reader of messages that knows whom and what they mention.

    Args:
        messages: Discord's JSON.
        bot: Parley.
        guild: Where they stand; its roles and channels are known while the gateway is open.
        names: Further names, by id.
    """
    known: dict[str, str] = {}
    for one in messages:
        known |= names_in(one)
    known |= {str(bot.id): bot.display_name, **(names or {})}
    if guild:
        for number in map(int, ids_in(messages)):
            if found := guild.get_role(number) or guild.get_channel_or_thread(number):
                known[str(number)] = found.name
    return Reader(str(bot.id), known, str(guild.id) if guild else "")


def snowflake_seconds(number: str) -> float:
    """When something was made, from its id, by Discord's clock."""
    return ((int(number) >> 22) + 1_420_070_400_000) / 1000


def read_question(
    message: discord.Message, bot: discord.ClientUser, *, auto_thread: bool, heard: bool = False
) -> Turn | None:
    """Read the turn in a message; None if it isn't a question to Parley.

    ``heard`` says that what people say to each other reaches us. Then a person's message in a thread that isn't
    addressed to Parley is read, too: whether it is a question, ``core.memory.Following`` decides.
    """
    if message.author.id == bot.id or message.type not in MESSAGE_TYPES:
        return None
    followed = not addressed(message, bot)
    if followed and not (heard and _may_follow(message)):
        return None
    where = Place.of(message.guild.id if message.guild else None, message.channel)
    text, quotes = wording(message, bot)
    files = ", ".join(file.filename for file in message.attachments)
    place = {
        "channel": where.id,
        "bot": "1",
        "files": files,
        HEARS_CHANNEL: "1" if heard else "",
        **post_of(message.channel),
    }
    if where.guild:
        place["reply_to"] = str(message.id)
    if followed:
        place[FOLLOWED] = "1"
    if auto_thread and isinstance(message.channel, discord.TextChannel):
        place[OPENED_THREAD] = str(message.id)
        place["open_thread"] = cut(" ".join(text.split()) or "A question", MAX_THREAD_NAME_UNITS)
        del place["reply_to"]
    at = message.created_at.timestamp()
    return make_turn(where, str(message.id), message.author, text, at=at, place=place, quotes=quotes)


def post_of(channel: Any) -> dict[str, str]:
    """For a turn's place: the title of a forum's post, if it is asked in one."""
    post = isinstance(channel, discord.Thread) and isinstance(channel.parent, discord.ForumChannel)
    return {"post": channel.name[:100]} if post else {}


def make_turn(
    where: Place,
    message: str,
    author: Any,
    text: str,
    *,
    at: float,
    place: Mapping[str, str],
    quotes: tuple[Quote, ...] = (),
) -> Turn:
    """Make a turn of a message or command."""
    user, thread = str(author.id), where.thread if where.key.parent else ""
    return Turn(
        id=identity(where.guild, where.id, message),
        key=where.key,
        lane=where.lane(user),
        author=Author(user, author.display_name, app=author.bot),
        text=text,
        at=at,
        root=identity(where.guild, where.channel, thread) if thread else "",
        root_at=discord.utils.snowflake_time(int(thread)).timestamp() if thread else 0.0,
        place={name: value for name, value in place.items() if value},
        quotes=quotes,
    )


def changed_keys(guild: int | None, channel: Any, channel_id: int, message: int) -> tuple[str, list[ConversationKey]]:
    """The turn that a message may be, and the conversations that may hold it: its place, and the thread under it."""
    where = Place.of(guild, channel or discord.Object(channel_id))
    name = identity(where.guild, where.id, message)
    thread = [] if where.thread else [Place(where.guild, where.channel, str(message)).key]
    return name, [where.key, *thread]


def _in_short(quote: Quote) -> Quote:
    return replace(quote, text=cut(quote.text, MAX_REPLY_UNITS)) if quote.kind is QuoteKind.REPLY else quote
