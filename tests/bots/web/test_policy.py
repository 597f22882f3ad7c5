"""Who can do what on the page, by the channel that they are in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
import redis.asyncio

from bots.web.board import Boards
from bots.web.chat import ChatActions
from bots.web.live import LiveBoards
from bots.web.people import PRIVATE, People, Visitor, venue_of
from bots.web.settings import WebSettings
from core.memory import Exchange, Memory
from core.settings import load_settings
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role


def desk(**settings: Any) -> ChatActions:
    """What people do on a page with these settings; nothing is asked of Redis here."""
    nothing = cast("Any", None)
    return ChatActions(nothing, nothing, nothing, nothing, load_settings(WebSettings, _env_file=None, **settings))


@pytest.mark.parametrize("action", ["forget", "settings"])
def test_only_admins_can_where_that_is_set(action: Any) -> None:
    """In channels; in the one that is theirs alone everybody can."""
    limited = desk(forget_by="admins", settings_by="admins", admins="p-ada", contact="#help-desk")
    ada, bob = Visitor("p-ada", "ada", given=True), Visitor("p-bob", "bob", given=True)
    assert limited.refusal(action, bob, "general").endswith("Ask #help-desk.")
    assert limited.refusal(action, bob, PRIVATE) == limited.refusal(action, ada, "general") == ""
    assert desk().refusal(action, bob, "general") == ""


def test_a_channel_is_shared_and_ones_own_is_not() -> None:
    """Whatever it is called."""
    ada = Visitor("p-ada", "ada")
    assert venue_of(ada.key("general"), "").shared
    assert venue_of(ada.key("@me too"), "").shared
    assert not venue_of(ada.key(PRIVATE), "").shared


GENERAL = ConversationKey("web", "page", "general")


def page(client: redis.asyncio.Redis, **settings: Any) -> ChatActions:
    """The desk of a page behind a proxy that names people."""
    memory = Memory(client, retention=3600)
    queue, people = TurnQueue(client, memory), People(client, retention=3600)
    known = load_settings(WebSettings, _env_file=None, web_auth_header="X-User", **settings)
    return ChatActions(queue, memory, people, LiveBoards(Boards(client, retention=3600)), known)


def by(name: str) -> gr.Request:
    """What the page gets when somebody does something."""
    return cast("gr.Request", SimpleNamespace(headers={"X-User": name}, cookies={}, session_hash=name))


async def talk(desk: ChatActions, *users: str) -> None:
    """Somebody asks something in the general channel and is answered, one after the other."""
    for user in users:
        asked = Message(Role.USER, "hello", id=f"web:{user}", author=Author(f"p-{user}", user), at=1.0)
        said = Message(Role.ASSISTANT, "hi", id=f"web:{user}/a", at=1.0, reply_to=asked.id)
        epoch = (await desk.memory.load(GENERAL)).epoch
        await desk.memory.append(Exchange(GENERAL, epoch, asked.id, "", (asked, said)))


async def test_the_word_forget_opens_the_dialog_where_others_spoke(client: redis.asyncio.Redis) -> None:
    """Where only the asker did, and in the channel of their own, it is a command as everywhere."""
    desk = page(client)
    await talk(desk, "ada")
    for place in ("general", PRIVATE):
        assert await desk.send("Forget!", place, by("ada")) == ("", gr.skip(), gr.skip())
    await talk(desk, "bob")
    box, dialog, question = await desk.send("Forget!", "general", by("ada"))
    assert (box, dialog.visible) == ("", True)
    assert "4 messages and answers, from 2 people" in question
    assert "`forget now`" in question
    assert await desk.send("forget now", "general", by("ada")) == ("", gr.skip(), gr.skip())


async def test_the_buttons_keep_to_the_policy_too(client: redis.asyncio.Redis) -> None:
    """A button that was there before it changed does nothing."""
    desk = page(client, forget_by="admins", admins="p-ada")
    await talk(desk, "ada", "bob")
    with pytest.warns(UserWarning, match="Only admins can make me forget a shared conversation. Ask ada."):
        dialog, question = await desk.ask_first("general", by("bob"))
    assert (dialog.visible, question) == (False, "")
    with pytest.warns(UserWarning, match="Only admins"):
        await desk.forget("general", by("bob"))
    assert len((await desk.memory.load(GENERAL)).messages) == 4
    assert (await desk.ask_first("general", by("ada")))[0].visible
    await desk.forget("general", by("ada"))
    assert not (await desk.memory.load(GENERAL)).messages
