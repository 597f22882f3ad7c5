"""What a browser asks for through the page's own JavaScript."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
import redis.asyncio

from bots.web.board import Boards, Entry, Stage
from bots.web.chat import ChatActions
from bots.web.live import LiveBoards
from bots.web.orders import Orders
from bots.web.people import People
from bots.web.settings import WebSettings
from core.memory import Feedback
from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.settings import load_settings
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role

KEY = ConversationKey("web", "page", "general")


class Desk:
    """A page behind a proxy that names people, whose questions nobody answers."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        settings = load_settings(WebSettings, _env_file=None, web_auth_header="X-User")
        self.memory = Memory(client, retention=3600)
        self.boards, self.feedback = Boards(client, retention=3600), Feedback(client)
        queue, people = TurnQueue(client, self.memory), People(client, retention=3600)
        actions = ChatActions(queue, self.memory, people, LiveBoards(self.boards), settings)
        self.orders = Orders(actions, self.boards, self.feedback)

    async def obey(self, name: str, **order: Any) -> dict[str, Any]:
        """What somebody's browser is told."""
        request = cast("gr.Request", SimpleNamespace(headers={"X-User": name}, cookies={}, session_hash=name))
        told, *_ = await self.orders.obey(json.dumps(order), "general", request)
        return dict(json.loads(told))

    async def questions(self) -> list[str]:
        """What is asked in the channel."""
        return [entry.question for entry in await self.boards.entries(KEY)]

    async def answered(self, turn: str, author: str, at: float) -> None:
        """A question with its answer, on the board and in the memory."""
        person = Author(f"p-{author}", author)
        await self.boards.show(KEY, Entry(turn, person, f"{turn}?", at, stage=Stage.DONE, answer="Yes."))
        asked = Message(Role.USER, f"{turn}?", id=turn, author=person, at=at)
        said = Message(Role.ASSISTANT, "Yes.", id=f"{turn}/a", at=at, reply_to=turn)
        await self.memory.append(Exchange(KEY, 0, turn, "", (asked, said)))


@pytest.fixture
def desk(client: redis.asyncio.Redis) -> Desk:
    """A page."""
    return Desk(client)


async def test_a_question_that_is_sent_twice_is_asked_once(desk: Desk) -> None:
    """A browser sends it again if it did not hear that it was taken; somebody else's of the same id is another one."""
    for _ in range(2):
        assert await desk.obey("ada", do="send", id="1", text="apples") == {"id": "1", "back": ""}
    await desk.obey("bob", do="send", id="1", text="pears")
    assert sorted(await desk.questions()) == ["apples", "pears"]


async def test_an_edit_asks_again_from_there(desk: Desk) -> None:
    """What came after it is forgotten; not where others have asked since, nor where the question is somebody else's."""
    for number, turn in enumerate(("web:1", "web:2", "web:3")):
        await desk.answered(turn, "ada", 1.0 + number)
    assert await desk.obey("ada", do="edit", id="1") == {"id": "1", "edit": "web:3", "text": "web:3?"}
    await desk.obey("bob", do="send", id="2", text="mine", turn="web:2")
    assert await desk.questions() == ["web:1?", "web:2?", "web:3?", "mine"]
    await desk.boards.remove(KEY, (await desk.boards.entries(KEY))[-1].turn)
    await desk.obey("ada", do="send", id="3", text="better", turn="web:2")
    assert await desk.questions() == ["web:1?", "better"]
    assert [message.id for message in (await desk.memory.load(KEY)).messages] == ["web:1", "web:1/a"]
    await desk.answered("web:4", "bob", 2e9)
    await desk.obey("ada", do="send", id="4", text="best", turn="web:1")
    assert "web:1?" in await desk.questions()


async def test_only_a_waiting_question_of_ones_own_is_taken_back(desk: Desk) -> None:
    """Its text comes back."""
    await desk.obey("ada", do="send", id="1", text="apples")
    await desk.answered("web:1", "ada", 1.0)
    [done, waiting] = await desk.boards.entries(KEY)
    assert (await desk.obey("bob", do="take_back", id="2", turn=waiting.turn))["back"] == ""
    assert (await desk.obey("ada", do="take_back", id="3", turn=done.turn))["back"] == ""
    assert (await desk.obey("ada", do="take_back", id="4", turn=waiting.turn))["back"] == "apples"
    assert await desk.questions() == ["web:1?"]


async def test_what_is_shown_can_be_rated(desk: Desk) -> None:
    """And nothing else."""
    await desk.answered("web:1", "ada", 1.0)
    await desk.obey("bob", do="rate", id="1", turn="web:1", number=1)
    await desk.obey("bob", do="rate", id="2", turn="web:9", number=1)
    assert [await desk.feedback.ratings(turn) for turn in ("web:1", "web:9")] == [
        {"up": 1, "down": 0},
        {"up": 0, "down": 0},
    ]


@pytest.mark.parametrize("order", ["", "[]", "{", '{"do": 3}', '{"do": "send", "number": -1}', '{"do": "else"}'])
async def test_what_no_page_asks_for_is_passed_over(desk: Desk, order: str) -> None:
    """Whatever a browser sends."""
    request = cast("gr.Request", SimpleNamespace(headers={"X-User": "ada"}, cookies={}, session_hash="1"))
    told, *_ = await desk.orders.obey(order, "general", request)
    assert set(json.loads(told)) <= {"id"}
    assert await desk.questions() == []
