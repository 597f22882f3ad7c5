"""What the page's own JavaScript asks for: send, edit, take back, ask again, rate. See ``page.js``.

An order is JSON from a browser. A question keeps its id until the browser hears that it was taken, so a browser that
lost its connection can send it again, and it is asked once.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, Self

import gradio as gr

from bots.web.board import Boards, Entry, Stage
from bots.web.chat import ChatActions, inform, too_long, warn
from bots.web.people import Visitor
from core.memory import Feedback
from core.stored import Unreadable, count_in, read_record, text_in
from core.turns import WITHDRAWN
from core.types import ConversationKey

QUESTION_GONE = "That question is gone. Press Enter to ask it as a new one."
NOTHING_TO_EDIT = "You've asked nothing here yet."
BEING_ANSWERED = "That question is being answered already. Stop ends the answer."
OTHERS_ASKED = "Others have asked here since, so I've asked it as a new question."
THANKS = "Thanks, noted."


@dataclass(frozen=True, slots=True)
class Order:
    """What a browser asks for; ``number`` is how long a text is that is too long, or 1 for thumbs up."""

    do: str
    id: str = ""
    turn: str = ""
    text: str = ""
    channel: str = ""
    number: int = 0

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what ``page.js`` wrote. Raises Unreadable."""
        record = read_record(text)
        texts = {name: text_in(record, name, "") for name in ("do", "id", "turn", "text", "channel")}
        return cls(**texts, number=count_in(record, "number", 0))

    def turn_id(self, visitor: Visitor) -> str:
        """The id of the turn that it becomes: the same each time that this person sends it, and nobody else's."""
        name = f"{visitor.id} {self.id or uuid.uuid4().hex}"
        return f"web:{uuid.uuid5(uuid.NAMESPACE_OID, name.encode('utf-8', 'replace').decode()).hex}"


class Orders:
    """Obeys orders. Each method returns what the browser is told, as ``page.js`` reads it."""

    def __init__(self, actions: ChatActions, boards: Boards, feedback: Feedback) -> None:
        self._actions = actions
        self._boards = boards
        self._feedback = feedback

    async def obey(self, text: str, channel: str, request: gr.Request) -> tuple[str, Any, Any]:
        """Obey an order. Returns what the browser is told, and the dialog that asks whether to forget a channel."""
        try:
            order = Order.read(text)
        except Unreadable:
            return "{}", gr.skip(), gr.skip()
        told: dict[str, Any] = {"id": order.id}
        dialog = [gr.skip(), gr.skip()]
        try:
            place = order.channel or channel or ""
            visitor = await self._actions.visitor(request)
            key = visitor.key(place)
            match order.do:
                case "send":
                    if order.turn and not await self._take_back_from(visitor, key, order.turn):
                        inform(OTHERS_ASKED)
                    told["back"], *dialog = await self._actions.send(order.text, place, request, order.turn_id(visitor))
                case "too_long":
                    warn(too_long(order.number), duration=30)  # a browser is slow with so long a text
                case "edit":
                    told |= await self._to_edit(visitor, key, order.turn)
                case "take_back":
                    told["back"] = await self._take_back(visitor, key, order.turn)
                case "again":
                    await self._actions.retry(place, request)
                case "rate":
                    await self._rate(visitor, key, order)
        except gr.Error as error:
            gr.Warning(error.message)  # it is HTML already
            told["back"] = order.text
        return json.dumps(told, ensure_ascii=False), dialog[0], dialog[1]

    async def _to_edit(self, visitor: Visitor, key: ConversationKey, turn: str) -> dict[str, str]:
        """The text of a person's question, of the last one without a ``turn``, to be edited in the box."""
        with self._actions.errors_shown():
            entries = [entry for entry in await self._boards.entries(key) if entry.author.id == visitor.id]
            entry = next((entry for entry in reversed(entries) if turn in ("", entry.turn)), None)
            if not entry:
                inform(QUESTION_GONE if turn else NOTHING_TO_EDIT)
                return {}
            return {"edit": entry.turn, "text": await self._actions.asked(key, entry)}

    async def _rate(self, visitor: Visitor, key: ConversationKey, order: Order) -> None:
        """Store what a person thinks of an answer that is shown in a channel."""
        with self._actions.errors_shown():
            if await self._boards.find(key, order.turn):
                await self._feedback.rate(order.turn, visitor.id, "up" if order.number else "down")
                inform(THANKS)

    async def _take_back(self, visitor: Visitor, key: ConversationKey, turn: str) -> str:
        """Take a waiting question back, and nothing else. Returns its text."""
        with self._actions.errors_shown():
            entry = await self._boards.find(key, turn)
            if not entry or entry.author.id != visitor.id:
                return ""
            if entry.stage is not Stage.WAITING:
                inform(BEING_ANSWERED)
                return ""
            text = await self._actions.asked(key, entry)
            await self._withdraw(key, entry)
            return text

    async def _take_back_from(self, visitor: Visitor, key: ConversationKey, turn: str) -> bool:
        """Take back a person's question and all that came after it; False, and nothing, if others have asked since."""
        with self._actions.errors_shown():
            entries = await self._boards.entries(key)
            edited = next((e for e in entries if e.turn == turn and e.author.id == visitor.id), None)
            since = [entry for entry in entries if edited and entry.at >= edited.at]
            if any(entry.author.id != visitor.id for entry in since):
                return False
            for entry in reversed(since):
                await self._withdraw(key, entry)
            return True

    async def _withdraw(self, key: ConversationKey, entry: Entry) -> None:
        actions = self._actions
        await actions.queue.stop(entry.turn, WITHDRAWN)
        await actions.queue.correct_kept(key, entry.turn, None)
        await actions.memory.withdraw(key, entry.turn, said=entry.at)
        await self._boards.remove(key, entry.turn)
