"""The actions of the Chat tab: submit, stop, retry, forget, and keeping each window up to date."""

from __future__ import annotations

import asyncio
import html
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import structlog

from bots.web.board import Entry
from bots.web.live import LiveBoards
from bots.web.markup import escape
from bots.web.people import PRIVATE, People, Visitor, channel_name, contact_in, person_name, venue_of, visitor_id
from bots.web.settings import WebSettings
from bots.web.text import chat_messages, progress
from core.assistant import forget_now, in_words, is_forget, is_stop
from core.errors import ParleyError, StorageError
from core.memory import Memory
from core.metrics import tag
from core.policy import Action, Venue
from core.turns import STOPPED, WITHDRAWN, TurnQueue, in_time
from core.types import MessageRef, Role, Turn

log = structlog.get_logger()

MAX_MESSAGE_CHARACTERS = 1_100_000
"""Characters of one message. The model's window is far smaller; the middle of a longer message is left out."""
MIN_REFRESH_SECONDS = 0.08
"""Seconds between two updates of a chat window, at least."""
BROWSER_CHECK_SECONDS = 10.0
"""Seconds between two checks whether a browser is still there."""
NO_COOKIE = "Allow cookies for this page and reload it: without them I can't tell you from other people."
NOTHING_TO_STOP = "I'm not writing an answer here right now."
NOTHING_TO_FORGET = "There's nothing to forget here."
NOTHING_TO_RETRY = "There's no question to ask again here."


class ChatActions:
    """What people can do in the chat, for every browser of this process."""

    def __init__(
        self, queue: TurnQueue, memory: Memory, people: People, live_boards: LiveBoards, settings: WebSettings
    ) -> None:
        self.people = people
        self.memory = memory
        self.queue = queue
        self._live_boards = live_boards
        self._header = settings.web_auth_header
        self._policy = settings.policy
        self._contact = contact_in(settings)
        self._watches: dict[str, object] = {}

    async def visitor(self, request: gr.Request) -> Visitor:
        """The person who sent a request.

        Raises:
            gr.Error: the browser refuses cookies, or Redis is away.
        """
        who = visitor_id(request.headers, request.cookies, self._header)
        if not who:
            raise problem(NO_COOKIE)
        given = person_name(who.removeprefix("p-")) if self._header else ""
        with self.errors_shown():
            return await self.people.find(who, given=given)

    def tell(self, text: str) -> str:
        """Fill the contact into one of our sentences."""
        return Venue(contact=self._contact).tell(text)

    @contextmanager
    def errors_shown(self) -> Iterator[None]:
        """Show an error that is raised inside to the person, and log it."""
        try:
            yield
        except ParleyError as error:
            log.warning("page action failed", error=str(error), remedy=error.remedy)
            raise problem(self.tell(error.plain)) from None

    def refusal(self, action: Action, visitor: Visitor, channel: str) -> str:
        """Why a person is not allowed to do this in a channel; "" if they are."""
        shared = venue_of(visitor.key(channel), self._contact).shared
        return self.tell(self._policy.refusal(action, visitor.id, shared=shared))

    async def watch(self, channel: str, request: gr.Request) -> AsyncIterator[Any]:
        """Keep a chat window up to date, until its browser goes away or looks at another channel."""
        visitor = await self.visitor(request)
        watch, session = object(), request.session_hash or ""
        self._watches[session] = watch
        try:
            async with self._live_boards.watching(visitor.key(channel)) as board:
                version = 0
                while self._watches.get(session) is watch:
                    try:
                        async with asyncio.timeout(BROWSER_CHECK_SECONDS):
                            await board.changed(version)
                    except TimeoutError:
                        yield gr.skip(), gr.skip(), gr.skip()
                        continue
                    if self._watches.get(session) is not watch:
                        return
                    version, entries = board.version, board.entries
                    line = progress(entries) if self._live_boards.reachable else self.tell(StorageError.plain)
                    busy = any(entry.open for entry in entries)
                    # In a thread, since a long text takes its time.
                    messages = await asyncio.to_thread(chat_messages, entries)
                    yield messages, gr.Button("Stop", interactive=busy), status_line(line)
                    await asyncio.sleep(MIN_REFRESH_SECONDS)
        finally:
            if self._watches.get(session) is watch:
                del self._watches[session]

    def close(self) -> None:
        """End all calls of ``watch``."""
        self._watches.clear()
        self._live_boards.wake()

    async def submit(self, text: str, channel: str, request: gr.Request) -> str:
        """Put a message into the queue. Returns the text that stays in the box: "" unless it was refused."""
        visitor = await self.visitor(request)
        if not text.strip():
            return ""
        if is_stop(text):
            await self.stop(channel, request)
            return ""
        if len(text) > MAX_MESSAGE_CHARACTERS:
            warn(
                f"Your message has {len(text):,} characters, and I can take {MAX_MESSAGE_CHARACTERS:,}. "
                "It's still in the box: shorten it and send it again.",
                duration=30,  # a browser is slow with so long a text, and the time counts from when it shows this
            )
            return text
        key = visitor.key(channel)
        lane = visitor.lane(key, visitor.id)
        turn = Turn(f"web:{uuid.uuid4().hex}", key, lane, visitor.author, text, time.time())
        try:
            async with in_time():
                receipt = await self.queue.submit(turn)
        except StorageError as error:
            log.warning("message not queued", error=str(error), remedy=error.remedy)
            warn(self.tell(StorageError.plain))
            return text
        if receipt.note:
            inform(self.tell(receipt.note))
        if not receipt.accepted:
            return text
        try:
            await self._live_boards.boards.ask(key, Entry.of(turn))
        except StorageError as error:
            log.info("question not shown before its answer", turn=tag(turn.id), error=str(error))
        return ""

    async def stop(self, channel: str, request: gr.Request) -> None:
        """Stop the newest unfinished answer to this person in a channel or, if there is none, to anybody."""
        visitor = await self.visitor(request)
        with self.errors_shown():
            waiting = [entry for entry in await self._live_boards.boards.entries(visitor.key(channel)) if entry.open]
            own = [entry for entry in waiting if entry.author.id == visitor.id]
            for entry in reversed(own or waiting):
                if await self.queue.stop(entry.turn, STOPPED):
                    return
        inform(NOTHING_TO_STOP)

    async def retry(self, channel: str, request: gr.Request) -> None:
        """Ask the last question here again; the new answer takes the place of the old one."""
        visitor = await self.visitor(request)
        key = visitor.key(channel)
        with self.errors_shown():
            entries = [entry for entry in await self._live_boards.boards.entries(key) if not entry.open]
            if not entries:
                inform(NOTHING_TO_RETRY)
                return
            last = entries[-1]
            ref = MessageRef(key.channel, f"{last.turn}/answer")
            kept = await self.memory.load(key)
            asked = next((m.text for m in kept.messages if m.id == last.turn and m.role is Role.USER), last.question)
            lane = visitor.lane(key, last.author.id)
            turn = Turn(last.turn, key, lane, last.author, asked, last.at, attempt=last.attempt)
            receipt = await self.queue.retry(key, last.turn, ref, visitor.id, unkept=turn)
            if receipt.refused:
                gr.Info(self.tell(receipt.note))

    async def send(self, text: str, channel: str, request: gr.Request) -> tuple[Any, Any, Any]:
        """Submit a message; ``forget`` in a channel where others wrote opens the dialog of ``ask_first`` instead."""
        if not is_forget(text):
            return await self.submit(text, channel, request), gr.skip(), gr.skip()
        visitor = await self.visitor(request)
        key = visitor.key(channel)
        with self.errors_shown():
            extent = await self.memory.extent(key)
        alone = not venue_of(key, "").shared or extent.people <= {visitor.id}
        if alone or self.refusal("forget", visitor, channel):  # the command says so
            return await self.submit(text, channel, request), gr.skip(), gr.skip()
        return "", *await self.ask_first(channel, request)

    async def ask_first(self, channel: str, request: gr.Request) -> tuple[Any, str]:
        """Open the dialog that asks whether to forget a channel, for people who are allowed to."""
        visitor = await self.visitor(request)
        key = visitor.key(channel)
        if why := self.refusal("forget", visitor, channel):
            warn(why)
            return gr.Column(visible=False), ""
        with self.errors_shown():
            extent = await self.memory.extent(key)
            shown = await self._live_boards.boards.entries(key)
        if not (extent.messages or extent.facts or shown):
            inform(NOTHING_TO_FORGET)
            return gr.Column(visible=False), ""
        if not venue_of(key, "").shared:
            return gr.Column(visible=True), "Forget everything here? Only you can see this channel."
        much = f" That's {in_words(extent)}." if extent.messages or extent.facts else ""
        return gr.Column(visible=True), f"Forget this channel for everybody?{much} You can also type `forget now`."

    async def forget(self, channel: str, request: gr.Request) -> None:
        """Forget a channel, and withdraw its unfinished questions."""
        visitor = await self.visitor(request)
        key = visitor.key(channel)
        if why := self.refusal("forget", visitor, channel):
            warn(why)
            return
        with self.errors_shown():
            for entry in await self._live_boards.boards.entries(key):
                if entry.open:
                    await self.queue.stop(entry.turn, WITHDRAWN)
            said = await forget_now(key, self.memory, venue_of(key, self._contact), "")
        inform(said)

    async def name(self, name: str, request: gr.Request) -> Visitor:
        """Store the name that a person chose, unless the proxy named them. Returns the person."""
        visitor = await self.visitor(request)
        if (name := person_name(name)) and not visitor.given:
            with self.errors_shown():
                await self.people.set_name(visitor.id, name)
        return await self.visitor(request)

    async def move(self, channel: str, request: gr.Request) -> str:
        """Move a person to a channel, and create it if it is new. Returns its name."""
        visitor = await self.visitor(request)
        channel = PRIVATE if channel == PRIVATE else channel_name(channel)
        with self.errors_shown():
            await self.people.set_channel(visitor.id, channel)
        return channel


# Gradio shows these texts as HTML.
def problem(text: str) -> gr.Error:
    """An error that shows ``text``."""
    return gr.Error(escape(text), print_exception=False)


def warn(text: str, duration: float = 10) -> None:
    """Show a warning to the person whose request is being handled."""
    gr.Warning(escape(text), duration=duration)


def inform(text: str) -> None:
    """Show a note to the person whose request is being handled."""
    gr.Info(escape(text))


def status_line(text: str) -> str:
    """A line of HTML that a screen reader reads out when it changes."""
    return f'<div id="line" role="status" aria-live="polite">{html.escape(text)}</div>'
