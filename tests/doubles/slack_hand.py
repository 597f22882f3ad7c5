"""The double of Slack by hand: type as a person in a terminal, and watch the app answer there or in a browser."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import sys
import threading
import time

from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Posted

HELP = """\
text            mentions the app in #general, as Ada
@bob text       the same, as Bob (or @cleo)
dm text         writes to the app alone
thread text     answers in the newest thread, with a mention
press id        presses the button with that action_id under the app's newest message
delete          deletes the app's newest message
help            this"""

TAIL = 240
"""As many characters of a growing message are shown: its end is what is new."""


class Hand:
    """What the lines of a terminal do to the double."""

    def __init__(self, slack: SlackDouble) -> None:
        self.slack = slack
        self.channel, self.newest = "C0GENERAL", ""
        self.asked_at = time.monotonic()
        slack.watchers.append(self.show)

    def show(self, message: Posted) -> None:
        """Print a message of the app: when, after the person's, and how it ends."""
        after = time.monotonic() - self.asked_at
        what = "deleted" if message.deleted else "posted" if len(message.versions) == 1 else "edited"
        text = message.text if len(message.text) <= TAIL else f"…{message.text[-TAIL:]}"
        text = text.replace("\n", " ⏎ ")
        labels = "".join(f" [{button.label}: {button.action_id}]" for button in message.buttons)
        shown = "" if message.deleted else f" {text}{labels}"
        print(f"  {after:6.2f} s {message.channel} {what} ({len(message.text)}):{shown}", flush=True)

    async def do(self, line: str) -> None:
        """Do what one line says. Raises LookupError where there is nothing of the kind."""
        self.asked_at = time.monotonic()
        word, _, rest = line.partition(" ")
        if line == "help":
            print(HELP, flush=True)
        elif word == "dm":
            self.channel, self.newest = self.slack.dm_with("U0ADA").id, await self.slack.dm(rest)
        elif word == "thread":
            await self.slack.mention(self.channel, rest, thread=self.newest)
        elif word == "press":
            await self.slack.press(self.answer(), rest)
        elif line == "delete":
            await self.slack.delete(self.channel, self.answer().ts)
        elif line:
            user, text = (f"U0{word[1:].upper()}", rest) if word.startswith("@") else ("U0ADA", line)
            if user not in self.slack.users:
                raise LookupError(f"there is no {word}")
            self.channel, self.newest = "C0GENERAL", await self.slack.mention("C0GENERAL", text, user=user)

    def answer(self) -> Posted:
        """The app's newest message where a person wrote last."""
        replies = [reply for reply in self.slack.replies(self.channel) if not reply.deleted]
        if not replies:
            raise LookupError("the app said nothing there")
        return replies[-1]


async def serve(port: int, *, tiers: bool) -> None:
    """Serve until interrupted; the end of the input is not the end."""
    async with SlackDouble(port=port, tiers=tiers) as slack:
        hand = Hand(slack)
        print(f"SLACK_API_URL={slack.url}\nSLACK_BOT_TOKEN={slack.bot_token}\nSLACK_APP_TOKEN={slack.app_token}")
        print(f"Channels: {slack.base}\nType a message, or help.", flush=True)
        lines: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line.strip())

        # A daemon: nothing waits for a line that never comes.
        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                await hand.do(await lines.get())
            except LookupError as error:
                print(f"  {error}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.slack", description=__doc__)
    parser.add_argument("--port", type=int, default=8901)
    parser.add_argument("--no-tiers", action="store_true", help="no rate limits")
    chosen = parser.parse_args()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(chosen.port, tiers=not chosen.no_tiers))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        parser.exit(2, f"port {chosen.port} is taken; choose another with --port\n")
