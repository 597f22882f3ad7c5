"""Turns discord.py's messages back into Discord's JSON, which ``bots.discord.quotes`` reads.

discord.py keeps no copy of what Discord sent. Its objects are not used for reading, because a worker, which has the
REST API's JSON and no gateway, could not make them: they want the server and the channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import discord

Json = dict[str, Any]


def payload_of(message: discord.Message) -> Json:
    """A message as Discord sent it, as far as its reader looks at it."""
    reference = message.reference
    resolved = reference.resolved if reference else None
    payload = {
        "id": str(message.id),
        "type": message.type.value,
        "author": _user(message.author),
        "mentions": [_user(user) for user in message.mentions],
        "activity": message.activity or None,
        "application": {"name": message.application.name} if message.application else None,
        "call": {"ended": message.call.is_ended()} if message.call else None,
        "poll": _poll(message.poll) if message.poll else None,
        "message_snapshots": [{"message": _content(one)} for one in message.message_snapshots],
        **_content(message),
    }
    if message.webhook_id:
        payload["webhook_id"] = str(message.webhook_id)
    if reference:
        payload["message_reference"] = {
            "type": reference.type.value,
            "message_id": str(reference.message_id or ""),
            "channel_id": str(reference.channel_id),
            "guild_id": str(reference.guild_id or ""),
        }
    if isinstance(resolved, discord.Message):
        payload["referenced_message"] = payload_of(resolved)
    return payload


def _content(message: discord.Message | discord.MessageSnapshot) -> Json:
    """What a message and a forwarded one have in common."""
    components = getattr(message, "components", ())  # not set where Discord sent none
    files = [{"filename": file.filename, "description": file.description} for file in message.attachments]
    files += [{"filename": name} for name in _files_in(components) if name not in {file["filename"] for file in files}]
    return {
        "content": message.content,
        "flags": message.flags.value,
        "embeds": _each(message.embeds),
        "components": _each(components),
        "sticker_items": [{"name": sticker.name} for sticker in message.stickers],
        "attachments": files,
    }


def _files_in(components: Iterable[Any]) -> Iterator[str]:
    """The names of files among components, which discord.py leaves out of what it turns back."""
    for one in components:
        if isinstance(one, discord.FileComponent) and one.name:
            yield one.name
        yield from _files_in(getattr(one, "children", ()))


def _each(made: Iterable[Any]) -> list[Any]:
    return [one.to_dict() for one in made]


def _user(user: Any) -> Json:
    """A person or an app, by the name that people see."""
    return {"id": str(user.id), "username": user.name, "global_name": user.display_name, "bot": user.bot}


def _poll(poll: discord.Poll) -> Json:
    return {
        "question": {"text": poll.question},
        "answers": [{"answer_id": one.id, "poll_media": {"text": one.text}} for one in poll.answers],
        "results": {
            "is_finalized": poll.is_finalised(),
            "answer_counts": [{"id": one.id, "count": one.vote_count} for one in poll.answers],
        },
    }
