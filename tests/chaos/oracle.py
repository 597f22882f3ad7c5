"""What must be true after everything that went wrong, read from what people saw and from what is kept in Redis."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from core.metrics.tags import tag
from core.types import Message, Role
from tests.chaos.fleet import Fleet, Taken, process_of
from tests.chaos.people import People, Question, mark_of, part_of
from tests.chaos.scribe import tag_of
from tests.doubles.slack_records import Posted
from tests.waiting import wait_until

NOTES = ("Stopped", "I crashed on this question", "The answer above is incomplete.", "I'm restarting")
"""What stands under an answer that is not whole."""
MOST_BYTES = 3_000
"""What is kept of a question that is done with takes less than that, beside the memory of what was said."""


@dataclass
class Verdict:
    """``faults`` says in words what is wrong; empty if nothing is."""

    messages: int = 0
    replies: int = 0
    whole: int = 0
    marked: int = 0
    refused: int = 0
    lost: int = 0
    duplicates: int = 0
    inversions: int = 0
    stale: int = 0
    faults: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail with everything that is wrong."""
        assert not self.faults, "\n".join(["", *self.faults[:40]])


async def settle(fleet: Fleet, people: People, *, timeout: float = 60, but: int = 0) -> None:
    """Wait until everything that was asked has its reply, and nothing waits any more but ``but`` things."""

    async def settled() -> bool:
        return all(map(done, people.asked)) and len(await fleet.waits()) <= but

    def done(question: Question) -> bool:
        return final(reply) if (reply := people.reply(question)) else people.refused(question)

    try:
        await wait_until(settled, timeout=timeout, description="all is answered", pause=0.02)
    except AssertionError as error:
        open_ = {q.turn: [posted.text[-60:] for posted in people.reply(q)] for q in people.asked if not done(q)}
        raise AssertionError(f"{error}\nwithout an end: {open_}\n{await fleet.waits()}") from None


def final(reply: list[Posted]) -> bool:
    """Whether a reply is there, and does not grow any more."""
    return bool(reply) and not any(button.action_id == "parley_stop" for posted in reply for button in posted.buttons)


async def judge(fleet: Fleet, people: People) -> Verdict:
    """Look at everything that was asked since the fleet set sail."""
    verdict = Verdict(messages=len(people.asked))
    written = ["".join(text.split()) for text in fleet.scribe.written]
    for question in people.asked:
        kept = await fleet.redis.exists(f"{{parley}}:turn:{question.turn}")
        refused = not kept and people.refused(question)
        _judge_reply(verdict, question, people.reply(question), written, refused=refused)
    _judge_strangers(verdict, fleet, people)
    _judge_order(verdict, people)
    _judge_edits(verdict, fleet)
    _judge_statuses(verdict, fleet)
    await _judge_memory(verdict, fleet, people)
    await _judge_redis(verdict, fleet, people)
    return verdict


def _judge_reply(
    verdict: Verdict, question: Question, reply: list[Posted], written: Sequence[str], *, refused: bool
) -> None:
    """One reply, once, final, and whole or plainly marked."""
    if not reply and refused:
        verdict.refused += 1
        return
    if not reply:
        verdict.lost += 1
        verdict.faults.append(f"lost: {question.turn}")
        return
    verdict.replies += 1
    parts = [part_of(posted) for posted in reply]
    if parts != list(range(len(reply))):
        verdict.duplicates += 1
        verdict.faults.append(f"posted twice: {question.turn} has parts {parts}")
        return
    if not final(reply):
        verdict.faults.append(f"still grows: {question.turn}")
    text = "".join("".join(posted.markdown for posted in reply).split())
    if text in written:
        verdict.whole += 1
        if tag_of(reply[0].markdown) != question.tag:
            verdict.faults.append(f"the answer to another question: {question.turn}")
    elif any(note in reply[-1].text for note in NOTES):
        verdict.marked += 1
        if text and not any(one.startswith(text) for one in written):
            verdict.faults.append(f"marked, and nothing that the model wrote: {question.turn}: {text[:80]}")
    else:
        verdict.faults.append(f"neither whole nor marked: {question.turn}: {reply[-1].text[-80:]!r}")


def _judge_strangers(verdict: Verdict, fleet: Fleet, people: People) -> None:
    """Nothing was posted that belongs to no question."""
    turns = {question.turn for question in people.asked}
    for channel in fleet.slack.channels.values():
        for posted in channel.messages.values():
            if posted.by_bot and not posted.deleted and mark_of(posted).get("turn") not in turns:
                verdict.faults.append(f"belongs to nothing: {posted.text[:80]!r}")


def _judge_order(verdict: Verdict, people: People) -> None:
    """Within a lane a reply begins when the one before it has ended."""
    lanes: dict[str, list[Question]] = defaultdict(list)
    for question in people.asked:
        lanes[question.lane].append(question)
    for lane in lanes.values():
        for before, after in pairwise(question for question in lane if people.reply(question)):
            ended, began = max(p.now.at for p in people.reply(before)), people.reply(after)[0].at
            if began < ended:
                verdict.inversions += 1
                verdict.faults.append(f"out of order by {ended - began:.3f} s: {before.turn}, {after.turn}")


def _judge_edits(verdict: Verdict, fleet: Fleet) -> None:
    """Nobody calls about a reply after somebody with a newer lease did."""
    turns: dict[tuple[str, str], str] = {}
    for channel in fleet.slack.channels.values():
        for posted in channel.messages.values():
            if turn := mark_of(posted).get("turn"):
                turns[channel.id, posted.ts] = turn
    taken: dict[tuple[str, int], list[Taken]] = defaultdict(list)
    for one in fleet.taken():
        taken[one.turn, one.pid].append(one)
    newest: Counter[str] = Counter()
    for call in fleet.slack.calls:
        if call.method == "chat.postMessage":
            turn = (call.args.get("metadata") or {}).get("event_payload", {}).get("turn", "")
        elif call.method in ("chat.update", "chat.delete"):
            turn = turns.get((call.args["channel"], call.args["ts"]), "")
        else:
            continue
        at = call.at + fleet.wall
        if not turn:
            continue  # a welcome, or a message that was posted while this call was on its way
        epochs = [one.epoch for one in taken[tag(turn), process_of(call.agent)] if one.at <= at]
        if not epochs:
            verdict.faults.append(f"an edit of somebody who never had it: {call.method} of {turn}")
            continue
        if epochs[-1] < newest[turn]:
            verdict.stale += 1
            verdict.faults.append(f"an edit of an old owner: {call.method} of {turn}, {epochs[-1]} < {newest[turn]}")
        newest[turn] = max(newest[turn], epochs[-1])


def _judge_statuses(verdict: Verdict, fleet: Fleet) -> None:
    """No thread still says that somebody works there."""
    last = {(status.channel, status.thread_ts): status.status for status in fleet.slack.statuses}
    verdict.faults += [f"still says that it works: {place}" for place, status in last.items() if status != "active"]


async def _judge_memory(verdict: Verdict, fleet: Fleet, people: People) -> None:
    """What is remembered is what was asked and what people see, each once; but not what was put aside."""
    dead = {json.loads(letter)["job"]["turn"]["id"] for letter in await fleet.redis.lrange("{parley}:dead", 0, -1)}
    places: dict[str, list[Question]] = defaultdict(list)
    for question in people.asked:
        places[question.conversation].append(question)
    for place, questions in places.items():
        entries = await fleet.redis.lrange(f"{{parley}}:conv:{place}:messages", 0, -1)
        kept = [Message.from_json(entry) for entry in entries]
        asked = Counter(message.id for message in kept if message.role is Role.USER)
        said: dict[str, list[str]] = defaultdict(list)
        for message in kept:
            if message.role is Role.ASSISTANT:
                said[message.reply_to].append(message.text)
        for question in questions:
            shown = "".join("".join(posted.markdown for posted in people.reply(question)).split())
            answers = ["".join(text.split()) for text in said[question.turn]]
            if asked[question.turn] != len(answers) or answers != (
                [shown] if shown and question.turn not in dead else []
            ):
                verdict.faults.append(
                    f"remembered otherwise: {question.turn} asked {asked[question.turn]} times, "
                    f"{[text[:30] for text in answers]} for {shown[:30]!r}"
                )
        order = [message.id for message in kept if message.role is Role.USER]
        by_lane: dict[str, list[str]] = defaultdict(list)
        for question in questions:
            by_lane[question.lane].append(question.turn)
        for lane in by_lane.values():
            found = [turn for turn in order if turn in lane]
            if found != [turn for turn in lane if turn in found]:
                verdict.inversions += 1
                verdict.faults.append(f"remembered out of order: {found}")


async def _judge_redis(verdict: Verdict, fleet: Fleet, people: People) -> None:
    """Everything lives for a while only; nothing waits that nobody asked for."""
    names = [name async for name in fleet.redis.scan_iter(count=1000)]
    bytes_used = 0
    for name in names:
        if await fleet.redis.ttl(name) == -1:
            verdict.faults.append(f"lives for ever: {name}")
        if re.fullmatch(r"\{parley\}:turn:[^/]*", name) and await fleet.redis.hget(name, "status") != "done":
            verdict.faults.append(f"not done with: {name}")
        if not name.startswith("{parley}:conv:"):
            bytes_used += await fleet.redis.memory_usage(name, samples=0) or 0
    verdict.faults += [f"still waits: {place}" for place in await fleet.waits()]
    if people.asked and bytes_used / len(people.asked) > MOST_BYTES:
        verdict.faults.append(f"too much is kept: {bytes_used} bytes for {len(people.asked)} questions")
