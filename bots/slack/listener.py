"""Takes Slack's events over Socket Mode, and acknowledges each once it is stored.

Bolt acknowledges an envelope when the listener returns (``process_before_response``), so a listener only decides and
stores the turn in the queue. If that fails or takes too long, it raises: nothing is acknowledged, and Slack delivers
the event again. Button presses are not delivered again, so the person is told. Calls to Slack run in the background.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog
from slack_bolt.app.async_app import AsyncApp

from bots.background import BackgroundTasks
from bots.listening import (
    NOT_FOR_PERSON,
    NOT_IN_CHANNEL,
    NOTHING_TO_STOP,
    QUESTION_GONE,
    UNREAD_FILES,
    follow_change,
    overhear,
    press,
    stop_answer,
    take_back,
)
from bots.slack.arrivals import Arrivals
from bots.slack.choices import SettingsForm, settings_button
from bots.slack.cleanup import Cleanup
from bots.slack.editor import FORGET, RETRY, STOP, own_message
from bots.slack.errors import slack_errors
from bots.slack.events import (
    MessageChange,
    Question,
    Talk,
    event_of,
    is_external,
    read_change,
    read_departure,
    read_press,
    read_question,
    read_talk,
    well_typed,
    workspace_of,
)
from bots.slack.settings import SlackSettings
from bots.slack.surface import SlackSurface
from bots.slack.text import escape, mentions, mentions_others, without_mention
from core import metrics
from core.assistant import NOT_ASKED, Confirmation, days, is_settings, is_stop
from core.memory import HEARS_CHANNEL, Listening, Memory, Remark
from core.metrics import turn_fields
from core.policy import HEARS
from core.turns import MIN_REFUSAL_SECONDS, STOPPED, TurnQueue, crash_point, in_time
from core.types import MessageRef, Turn

log = structlog.get_logger()


EXTERNAL, CHANNEL, PERSON = "in channels that are shared with another organisation", "in this channel", "you"
"""Reasons for not answering."""
REFUSED = {
    EXTERNAL: "I'm not enabled in channels that are shared with another organization. Ask {contact} to change that.",
    CHANNEL: NOT_IN_CHANNEL,
    PERSON: NOT_FOR_PERSON,
}
FORM_OFFERED = "Change settings"
ONLY_ASKER_CAN_STOP = "Only the person who asked can stop this answer."


class SlackListener(BackgroundTasks):
    """Turns Slack's events into turns in the queue, for people who are allowed to ask."""

    def __init__(
        self,
        settings: SlackSettings,
        surface: SlackSurface,
        queue: TurnQueue,
        memory: Memory,
        *,
        cleanup: Cleanup,
        listening: Listening,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._surface = surface
        self._queue = queue
        self._memory = memory
        self._cleanup = cleanup
        self._listening = listening
        self._arrivals = Arrivals()
        self._accepting: dict[str, asyncio.Lock] = {}
        self._form = SettingsForm(surface, memory, self._refuses_settings, self._whisper)

    def attach(self, app: AsyncApp) -> None:
        """Register all handlers with Bolt."""
        app.event("app_mention")(self.handle_message)
        app.event("message")(self.handle_message)
        app.event("member_joined_channel")(self.greet)
        app.event("channel_deleted")(self.handle_departure)
        app.event("channel_left")(self.handle_departure)
        app.event("group_deleted")(self.handle_departure)
        app.event("group_left")(self.handle_departure)
        app.event("app_uninstalled")(self.handle_departure)
        app.event("tokens_revoked")(self.handle_departure)
        app.action(RETRY)(self.retry)
        app.action(STOP)(self.stop)
        app.action(FORGET)(self.forget)
        self._form.attach(app)
        # Acknowledge all other events too, or Slack would deliver them again.
        app.event(re.compile(".*"))(_ignore)

    async def handle_message(self, body: dict[str, Any]) -> None:
        """Sort an event: it changes a message, asks a question, or is talk that is overheard."""
        self._arrivals.note(body)
        if change := read_change(body, self._surface.bot):
            async with in_time():
                left = await self._take_back(change)
                await self._follow(body, change)
            if left:
                said = well_typed(body["event"]["message"])
                await self._overhear(body, Talk(left.key, left.author.id, app=False, said=said))
        elif asked := read_question(body, self._surface.bot):
            # Slack sends two events for one mention: handle them one after the other.
            await self._arrivals.let_message_come_first(body, asked.turn)
            try:
                async with in_time(), self._accepting.setdefault(asked.turn.id, asyncio.Lock()):
                    await self._accept(body, asked)
                self._arrivals.handled(body, asked.turn)
            finally:
                self._accepting.pop(asked.turn.id, None)
        elif talk := read_talk(body, self._surface.bot):
            followed = read_question(body, self._surface.bot, followed=True) if talk.key.thread else None
            if not (followed and await self._answers(body, followed)):
                await self._overhear(body, talk)

    async def greet(self, body: dict[str, Any]) -> None:
        """Introduce Parley in a channel that it was invited to: what it does and remembers, and how it forgets."""
        event = event_of(body)
        if event is None:
            return
        if event.get("user") != self._surface.bot:
            return
        async with in_time():
            await self._cleanup.join(f"{workspace_of(body)}:{event['channel']}")
        if self._refusal(event["channel"], "", direct=False, external=is_external(body)) not in ("", PERSON):
            return
        if await self._queue.first(f"slack:{workspace_of(body)}:{event['channel']}:joined:{event.get('event_ts', '')}"):
            kept = days(self._settings.retention_seconds)
            text = (
                f"Hello! Mention me (<@{self._surface.bot}>) with a question, and I answer in a thread under it, with "
                f"the team's own model.\nI remember what you say to me in this channel for {kept} after the last "
                f"message, and use it nowhere else. {HEARS[self._settings.hear]}\nMention me with `forget` to delete "
                f"what I remember, or with `help` for more."
            )
            self.run_in_background(self._post(event["channel"], "", text))

    async def handle_departure(self, body: dict[str, Any]) -> None:
        """Forget a channel or workspace that was deleted; schedule that for one that the bot was removed from."""
        if departure := read_departure(body):
            async with in_time():
                await self._cleanup.part(departure)
            if departure.for_good:
                self.run_in_background(self._cleanup.erase(departure))

    async def retry(self, ack: Callable[[], Awaitable[None]], body: dict[str, Any], action: dict[str, Any]) -> None:
        """Handle the Retry button: answer the turn again, over the same messages, for anybody who is allowed to ask."""
        pressed = read_press(body, action, names=1)
        if pressed is None:
            return await ack()
        channel, user, (turn,) = pressed.channel, pressed.user, pressed.names
        refusal = self._refusal(channel, user, direct=channel.startswith("D"), external=False)

        async def again() -> str:
            if refusal:
                return REFUSED[refusal]
            # It may have been posted together with its button.
            receipt = await self._queue.retry(pressed.key, turn, MessageRef(channel, pressed.ts), user)
            if receipt.refused:
                return receipt.note if await self._queue.tells(receipt, user) else ""
            return QUESTION_GONE if receipt.status == "gone" else ""

        return await self._press(ack, again(), channel, user, pressed.thread)

    async def stop(self, ack: Callable[[], Awaitable[None]], body: dict[str, Any], action: dict[str, Any]) -> None:
        """Handle the Stop button, for the asker and admins; the text so far stays."""
        pressed = read_press(body, action, names=2)
        if pressed is None:
            return await ack()
        turn, asker = pressed.names

        async def end() -> str:
            if pressed.user not in {asker, *self._settings.admins}:
                return ONLY_ASKER_CAN_STOP
            await self._queue.stop(turn, STOPPED)  # if it is done, its last edit is about to show that
            return ""

        return await self._press(ack, end(), pressed.channel, pressed.user, pressed.thread)

    async def forget(self, ack: Callable[[], Awaitable[None]], body: dict[str, Any], action: dict[str, Any]) -> None:
        """Handle the Forget button, for the person whom Parley asked, and admins."""
        pressed = read_press(body, action, names=3)
        if pressed is None:
            return await ack()
        channel, user = pressed.channel, pressed.user
        asked = Confirmation(pressed.key, *pressed.names)

        async def confirm() -> str:
            if refusal := self._refusal(channel, user, direct=channel.startswith("D"), external=False):
                return REFUSED[refusal]
            if asked.key.channel != channel:
                return NOT_ASKED
            venue = await self._surface.venue_in(channel)
            done, say = await asked.give(user, self._queue, self._memory, venue, self._settings.policy)
            if done:
                self.run_in_background(self._replace(channel, pressed.ts, say))
            return "" if done else say

        return await self._press(ack, confirm(), channel, user, pressed.thread)

    async def _answers(self, body: dict[str, Any], asked: Question) -> bool:
        """Take a message in a thread, without a mention, as a question if it is for Parley. False if it isn't."""
        turn, channel, user = asked.turn, asked.turn.place["channel"], asked.turn.author.id
        refusal = self._refusal(channel, user, direct=False, external=is_external(body))
        if refusal not in ("", PERSON):
            return False
        others = mentions_others(turn.text, self._surface.bot)
        remark = Remark(turn.key, turn.id, turn.author, turn.text, others)
        async with in_time():
            # Somebody who may not ask is a person in the thread all the same.
            if not await self._memory.following.is_for_parley(remark, own=self._surface.bot_name) or refusal:
                return False
            await self._accept(body, asked)
        return True

    async def _accept(self, body: dict[str, Any], asked: Question) -> None:
        """Store a question in the queue, or tell its author why it isn't answered."""
        turn, channel, user = asked.turn, asked.turn.place["channel"], asked.turn.author.id
        if self._arrivals.heard(channel):
            turn = replace(turn, place={**turn.place, HEARS_CHANNEL: "1"})
        files = ", ".join(asked.files)
        direct = body["event"].get("channel_type") == "im"
        if refusal := self._refusal(channel, user, direct=direct, external=is_external(body)):
            if await self._queue.first(turn.id):
                log.info("access denied", **turn_fields(turn), why=refusal)
                metrics.EVENTS.add(platform="slack", type="question", outcome="denied")
                await self._refuse(turn, REFUSED[refusal], about="denied")
            return
        if is_stop(turn.text):
            if not await self._end(turn):
                await self._refuse(turn, NOTHING_TO_STOP, about="stop")
            return
        if not (turn.text.strip() or turn.quotes) and await self._is_file_alone(turn, files):
            if files:
                await self._refuse(turn, UNREAD_FILES.format(files=files), about="files")
            return
        await self._submit(turn, files)

    async def _submit(self, turn: Turn, files: str) -> None:
        """Put a message into the queue, and pass its notes on to the author."""
        channel, user, thread = turn.place["channel"], turn.author.id, turn.key.thread
        crash_point("submit")
        receipt = await self._queue.submit(replace(turn, place={**turn.place, "files": files}))
        crash_point("stored")
        if receipt.status == "duplicate" and (files or turn.quotes):
            # The other event of this message came first: app_mention, which doesn't name files.
            await self._queue.amend(turn.id, quotes=turn.quotes, files=files)
        if files and not receipt.refused and await self._queue.first(f"{turn.id}:files"):
            self.run_in_background(self._whisper(channel, user, thread, UNREAD_FILES.format(files=files)))
        # Both events of a mention are refused; its author is told once.
        if receipt.note and (receipt.accepted or await self._queue.tells(receipt, user)):
            self.run_in_background(self._whisper(channel, user, thread, receipt.note))
        if receipt.accepted and is_settings(turn.text) and not self._refuses_settings(channel, user):
            self.run_in_background(self._whisper(channel, user, thread, FORM_OFFERED, settings_button(turn.key)))

    async def _refuse(self, turn: Turn, text: str, *, about: str) -> None:
        """Tell an author why a message isn't answered, at most once in ``MIN_REFUSAL_SECONDS``."""
        channel, user = turn.place["channel"], turn.author.id
        if await self._queue.first(f"told:slack:{channel}:{about}:{user}", seconds=MIN_REFUSAL_SECONDS):
            self.run_in_background(self._whisper(channel, user, turn.key.thread, text))

    async def _end(self, asked: Turn) -> bool:
        """Obey a message that says "stop", once. False if there is nothing to stop, and the author should be told."""
        # The second event of a mention, or a redelivery, would stop the next answer.
        if await self._queue.happened(asked.id):
            return True
        stopped = await stop_answer(self._queue, asked)
        # Marked only now: if it fails, Slack delivers it again.
        return not await self._queue.first(asked.id) or stopped

    async def _is_file_alone(self, asked: Turn, files: str) -> bool:
        """Whether a message without text is only files, which only one of its two events names, in either order."""
        if files:
            await self._queue.first(asked.id)
            return True
        return await self._queue.happened(asked.id)

    async def _press(
        self, ack: Callable[[], Awaitable[None]], work: Awaitable[str], channel: str, user: str, thread: str
    ) -> None:
        """Run a button's ``work``, acknowledge the press, and show its result to the person, if it is a text."""
        say = await press(work)
        await ack()
        if say:
            self.run_in_background(self._whisper(channel, user, thread, say))

    def _refusal(self, channel: str, user: str, *, direct: bool, external: bool) -> str:
        """Why this person is not answered here; "" if they are."""
        settings = self._settings
        if external and not settings.slack_allow_external:
            return EXTERNAL
        if not direct and settings.slack_allow_channels and channel not in settings.slack_allow_channels:
            return CHANNEL
        if settings.slack_allow_users and user not in settings.slack_allow_users:
            return PERSON
        return ""

    def _refuses_settings(self, channel: str, user: str) -> str:
        """Why this person cannot change settings there, for ``Venue.tell``; "" if they can."""
        direct = channel.startswith("D")
        if refusal := self._refusal(channel, user, direct=direct, external=False):
            return REFUSED[refusal]
        return self._settings.policy.refusal("settings", user, shared=not direct)

    async def _take_back(self, change: MessageChange) -> Turn | None:
        """Take a question back that needed no mention, and is meant for somebody else as it was edited."""
        text, bot = change.text or "", self._surface.bot
        others = mentions_others(text, bot) and not mentions(text, bot)
        return await take_back(self._queue, change.message) if others and not change.direct else None

    async def _follow(self, body: dict[str, Any], change: MessageChange) -> None:
        """Have memory and queue follow an edited or deleted message; an app's edit only where apps are heard."""
        reads, quotes, early, bot = "", None, False, self._surface.bot
        if change.app and change.text is not None and not self._is_heard(body, change.keys[0].channel, "", app=True):
            return
        if change.text is not None:
            early = not change.app and (change.direct or mentions(change.text, bot))
            change = replace(change, text=without_mention(change.text, bot))
            reads, quotes = await self._surface.understand_correction(change)
        quotes = quotes if quotes or change.app else None
        queue = None if change.app else self._queue
        await follow_change(queue, self._memory, change, reads, typed=change.quotes, quotes=quotes, early=early)

    async def _overhear(self, body: dict[str, Any], talk: Talk) -> None:
        """Store what is said and not to Parley, as far as it is to be heard, of people who may ask here."""
        key, history = talk.key, self._surface.history
        wanted = key.thread or self._settings.hear == "room"
        if not wanted or not self._is_heard(body, key.channel, talk.author, app=talk.app):
            return
        if key.thread and not history.knows_names(talk.said):  # no call of Slack for a thread that isn't ours
            async with in_time():
                if not await self._memory.following.joined(key):
                    return
        message = await history.message(key.workspace, key.channel, talk.said)
        await overhear(self._memory, self._listening, key, message)

    def _is_heard(self, body: dict[str, Any], channel: str, author: str, *, app: bool) -> bool:
        """Whether talk of this person or app is heard in a channel: where, and of whom, the operator allows."""
        refusal = self._refusal(channel, author, direct=channel.startswith("D"), external=is_external(body))
        return self._settings.hear != "mention" and (not refusal or (app and refusal == PERSON))

    async def _whisper(
        self, channel: str, user: str, thread: str, text: str, blocks: list[dict[str, Any]] | None = None
    ) -> None:
        """Send text or blocks that only one person sees; placeholders are filled in for the channel."""
        text = escape((await self._surface.venue_in(channel)).tell(text))
        with slack_errors("chat.postEphemeral"):
            await self._surface.client.chat_postEphemeral(
                channel=channel, user=user, text=text, thread_ts=thread or None, blocks=blocks
            )

    async def _replace(self, channel: str, ts: str, text: str) -> None:
        """Replace one of our messages, and its buttons, by a text."""
        with slack_errors("chat.update"):
            await self._surface.client.chat_update(channel=channel, ts=ts, **own_message(text))

    async def _post(self, channel: str, thread: str, text: str) -> None:
        with slack_errors("chat.postMessage"):
            await self._surface.client.chat_postMessage(
                channel=channel, thread_ts=thread or None, text=text, unfurl_links=False, unfurl_media=False
            )


async def _ignore() -> None:
    """Acknowledge, and no more."""
