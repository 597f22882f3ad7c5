"""People who ask, and wait until they were heard before they ask again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from itertools import count

from tests.chaos.fleet import Fleet
from tests.doubles.slack_records import Envelope, Json, Posted
from tests.waiting import wait_until

USERS = ("U0ADA", "U0BOB", "U0CLEO")


@dataclass(frozen=True, slots=True)
class Question:
    """Something that was asked: ``tag`` is in its text and in the answer; ``thread`` is "" outside of one."""

    tag: str
    channel: str
    ts: str
    user: str
    thread: str
    text: str
    at: float

    @property
    def turn(self) -> str:
        """What Parley calls it."""
        return f"slack:T0TEAM:{self.channel}:{self.ts}"

    @property
    def conversation(self) -> str:
        """Where it is remembered."""
        return f"slack:T0TEAM:{self.channel}" + (f":{self.thread}" if self.thread else "")

    @property
    def lane(self) -> str:
        """What it stands in line with."""
        return self.conversation if self.thread else f"{self.conversation}/{self.user}"


class People:
    """Everybody in the workspace of a fleet, and all that they asked, in order."""

    def __init__(self, fleet: Fleet) -> None:
        self.asked: list[Question] = []
        self._fleet = fleet
        self._numbers = count(1)
        self._replies: dict[str, list[Posted]] = defaultdict(list)
        self._heard: set[str] = set()
        self._unheard: list[Envelope] = []
        self._looked = 0
        fleet.slack.watchers.append(self._notice)

    def channels(self, number: int) -> list[str]:
        """So many channels to talk in."""
        return [self.channel(one) for one in range(number)]

    def channel(self, number: int) -> str:
        """The channel of that number."""
        name = f"C0CHAOS{number}"
        if name not in self._fleet.slack.channels:
            self._fleet.slack.add_channel(name, name.lower())
        return name

    async def ask(
        self, channel: str, *, user: str = "U0ADA", thread: str = "", words: int = 20, beside: str = ""
    ) -> Question:
        """Ask for so many words, and wait until that was accepted."""
        question = await self.call_out(channel, user=user, thread=thread, words=words, beside=beside)
        await wait_until(lambda: self.heard(question), timeout=120, description="an acknowledgement")
        return question

    async def call_out(
        self, channel: str, *, user: str = "U0ADA", thread: str = "", words: int = 20, beside: str = ""
    ) -> Question:
        """Ask, and do not wait."""
        tag = f"q{next(self._numbers)}"
        text = f"{beside} {tag}w{words}".strip()
        at = asyncio.get_running_loop().time()
        ts = await self._fleet.slack.mention(channel, text, user=user, thread=thread or None)
        question = Question(tag, channel, ts, user, thread, text, at)
        self.asked.append(question)
        return question

    def heard(self, question: Question) -> bool:
        """Whether every event about it was acknowledged, at some delivery."""
        envelopes = self._fleet.slack.envelopes
        unheard = [*self._unheard, *envelopes[self._looked :]]
        self._looked = len(envelopes)
        self._heard |= {envelope.payload.get("event_id", "") for envelope in unheard if envelope.acked_at}
        self._unheard = [envelope for envelope in unheard if not envelope.acked_at]
        return {payload["event_id"] for payload in self._fleet.slack.events[question.ts]} <= self._heard

    def refused(self, question: Question) -> bool:
        """Whether somebody was told there that they are not answered now."""
        told = (told for told in self._fleet.slack.ephemerals if told.text.startswith("I didn't take your message"))
        return any((one.channel, one.user) == (question.channel, question.user) for one in told)

    def reply(self, question: Question) -> list[Posted]:
        """What Parley posted for it and did not take away, in order of its parts."""
        posted = [posted for posted in self._replies[question.turn] if not posted.deleted]
        return sorted(posted, key=lambda one: (part_of(one), one.ts))

    def _notice(self, posted: Posted) -> None:
        known = self._replies[mark_of(posted).get("turn", "")]
        if posted not in known:
            known.append(posted)


def mark_of(posted: Posted) -> Json:
    """By which Parley finds a message again."""
    return dict(posted.versions[0].metadata.get("event_payload", {}))


def part_of(posted: Posted) -> int:
    """Which part of a reply a message is."""
    return int(mark_of(posted).get("part", 0))
