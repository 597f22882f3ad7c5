"""What people can tell Parley to do instead of asking it: help, memory, forget, settings, mute, stop.

A message is a command only if it is nothing else: ``forget``, ``Forget.``, ``/forget``. One that was probably meant as
a command, such as ``setings`` or ``settings temperatur 0.2``, is answered with "Did you mean …?" and is not sent to the
model (see ``core.assistant.guesses``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self

from core.assistant import remembering
from core.assistant.command import Command, CommandCall, CommandReply, place_of
from core.assistant.guesses import COMMANDS, MOST_WORDS, Line, guess, guess_telling, inline
from core.memory import CHOICE_HELP, Extent, Memory, WrongChoice, find_setting, setting_name
from core.policy import Policy, Venue
from core.types import ConversationKey, Follow, Turn

COMMAND_HELP: dict[str, str] = {
    "help": "this list",
    "memory": "what I remember of this conversation",
    "remember": "something for good, as in {/remember: standup is at 9:15}",
    "forget": "forget this conversation and its threads",
    "settings": "how I answer here; {/settings temperature 0.2} changes it",
    "stop": "stop the answer I'm writing for you",
    "mute": "in a thread: answer there only when mentioned; {/unmute} takes that back",
}
"""The commands and what they do, for ``Venue.tell``.

``stop`` ends the answer that is being written. Adapters obey it at once: in the queue it would wait for that answer.
"""
FORGET_ASKS = "This makes me forget {place} for everybody: {extent}. {how} to go ahead."
NO_THREADS = "That's only for threads in which I hear what isn't said to me."
MUTE_IN_THREAD = "That's for threads: write {/mute} or {/unmute} in the thread that you mean."
MUTED = "I'll be quiet in this thread, and answer only when mentioned. {/unmute} takes that back."
UNMUTED = "I'm no longer muted in this thread. {follows}"
FOLLOWS: dict[Follow, str] = {
    "mention": "In threads, too, mention me each time.",
    "auto": "In a thread in which I answer, nobody needs to mention me while only one person talks with me there.",
    "always": "In a thread in which I answer, nobody needs to mention me, unless {/mute} quiets me there.",
}
"""When a mention is needed in threads, by the choice ``follow``."""
FORGOTTEN_SINCE = "That's already done: this conversation was forgotten after you asked."
NOT_ASKED = "This button no longer works. Write {/forget} again."
NOT_YOURS = "Only the person who asked, or an admin, can confirm that."


class ConfirmationLog(Protocol):
    """What a confirmation needs of the queue: see ``core.turns.TurnQueue``."""

    async def happened(self, name: str) -> bool:
        """Whether something of that name happened in the last 24 hours."""
        ...


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The question whether to forget a conversation, as the button under it carries it.

    ``epoch`` counts how often the conversation was forgotten before. The queue knows for 24 hours under which ``name``
    the question was asked, so a button whose values were changed, or one from long ago, confirms nothing.
    """

    key: ConversationKey
    turn: str
    asker: str
    epoch: str

    @classmethod
    def of(cls, turn: Turn, epoch: str) -> Self:
        """The question that was asked in reply to a turn."""
        return cls(turn.key, turn.id, turn.author.id, epoch)

    @property
    def name(self) -> str:
        """Under which the queue knows that it was asked."""
        return f"forget?{self.key} {self.turn} {self.asker} {self.epoch}"

    async def give(
        self, user: str, queue: ConfirmationLog, memory: Memory, venue: Venue, policy: Policy
    ) -> tuple[bool, str]:
        """Forget, if ``user`` may confirm it. Returns whether it is done, and what to say. Raises StorageError."""
        if user != self.asker and user not in policy.admins:
            return False, NOT_YOURS
        if why := policy.refusal("forget", user, shared=True):
            return False, venue.tell(why)
        if not await queue.happened(self.name):
            return False, venue.tell(NOT_ASKED)
        if str((await memory.extent(self.key)).epoch) != self.epoch:
            return False, FORGOTTEN_SINCE
        return True, await forget_now(self.key, memory, venue, self.asker)


def find(text: str) -> Command | None:
    """The command that a message is, or that it was probably meant to be. Empty means help; None is a question."""
    line = Line.read(text)
    if command := _exact(line) or remembering.find(text):
        return command
    if meant := guess(line) or guess_telling(text):
        return Command(partial(_suggest, meant))
    return _unknown_command(line) if line.mark == "/" and line.words != ("stop",) else None


def find_in(turn: Turn) -> Command | None:
    """The command that a turn is; None for a question, as a forwarded message alone is."""
    return None if turn.quotes and not turn.text.strip() else find(turn.text)


def is_stop(text: str) -> bool:
    """Whether a message is ``stop`` alone."""
    return Line.read(text).words == ("stop",)


def is_forget(text: str) -> bool:
    """Whether a message is ``forget`` alone, which may have to be confirmed."""
    line = Line.read(text)
    return line.words == ("forget",) and not line.asks


def is_settings(text: str) -> bool:
    """Whether a message is ``settings`` alone, which a form can answer."""
    return Line.read(text).words == ("settings",)


def days(seconds: float) -> str:
    """A number of seconds in words: "3 days", "5 h"."""
    whole = round(seconds / 86_400)
    if whole < 1:
        return f"{max(1, round(seconds / 3600))} h"
    return "1 day" if whole == 1 else f"{whole} days"


async def about(call: CommandCall) -> str:
    """Which model answers, how long it is remembered, what is read, and whom to ask."""
    chosen, choices = await call.memory.settings(call.turn.key)
    model = await choices.label(chosen.model or next(iter(choices.models), ""))
    shown = "the built-in demo, no model" if model == "demo" else f"`{inline(model)}`"
    answers = f"I answer with {shown}. " if model else ""
    kept = f"I remember {call.place} for {days(call.policy.retention)} after its last message"
    kept += ", and use it nowhere else."
    known = " ".join(filter(None, (kept, call.policy.describe_hearing(call.venue))))
    return answers + call.venue.tell(
        f"{known} I can't read files yet, only text. Questions or problems? Ask {{contact}}."
    )


async def question_before_forgetting(key: ConversationKey, memory: Memory, venue: Venue, user: str) -> tuple[str, int]:
    """What to ask a person before a conversation is forgotten in which others spoke, and its epoch; "" for nothing."""
    extent = await memory.extent(key)
    if not venue.shared or extent.people <= {user}:
        return "", extent.epoch
    how = "Press **Forget** or write {/forget now}" if venue.buttons else "Write {/forget now}"
    said = FORGET_ASKS.format(place=_reach(key, venue), extent=in_words(extent), how=how)
    return venue.tell(said), extent.epoch


def _exact(line: Line) -> Command | None:
    """The command that a line is exactly, without a typo."""
    if line.words[:1] == ("settings",) and line.count > 1:
        return _exact_setting(line)
    obey = _EXACT_COMMANDS.get(line.words) if line.count <= MOST_WORDS else None
    if line.asks and obey in (_muting, _unmuting):
        return Command(_explain_mute)
    if obey and line.asks and line.words[:1] == ("forget",):
        return Command(_explain_forget)
    if line.words[:1] == ("help",) and len(line.words) == 2 and line.words[1] in COMMANDS:
        return Command(_help)
    return Command(obey) if obey else None


def _exact_setting(line: Line) -> Command | None:
    change = find_setting(line.rest)
    if change and line.asks and change[0] != "system":
        meant = f"settings {' '.join(filter(None, change)) or 'reset'}"
        return Command(partial(_suggest, meant))  # a question changes nothing
    if change:
        return Command(partial(_change, *change))
    if len(line.words) == line.count == 2:
        if name := setting_name(line.words[1]):
            return Command(partial(_show, name))
        if line.words[1] in ("show", "list", "help"):
            return Command(_settings)
    return None


def _unknown_command(line: Line) -> Command | None:
    """The reply to an unknown word after a slash, where it can only have been meant as a command."""
    first, *more = line.words
    if first == "settings" and line.count <= MOST_WORDS:
        return Command(partial(_change, inline(more[0]), " ".join(more[1:])))
    return Command(partial(_unknown, first)) if not more and first.isalpha() else None


async def _suggest(meant: str, call: CommandCall) -> CommandReply:
    written = call.venue.write(meant)
    return CommandReply(f"Did you mean `{written}`? If this is a question for the model, use a few more words.")


async def _unknown(word: str, call: CommandCall) -> CommandReply:
    return call.say(f"There's no command `/{word}`. {{/help}} lists what there is.")


async def _help(call: CommandCall) -> CommandReply:
    policy, shared = call.policy, call.venue.shared
    limits = {
        "forget": "; admins only" if policy.refusal("forget", "", shared=shared) else "",
        "settings": " (admins only)" if policy.refusal("settings", "", shared=shared) else "",
    }
    offered = [(word, what) for word, what in COMMAND_HELP.items() if word != "mute" or call.venue.threads]
    lines = [f"- {{/{word}}}: {what}{limits.get(word, '')}" for word, what in offered]
    asking = " ".join(filter(None, (call.venue.asking, await _follows(call))))
    usage = call.venue.tell("\n".join([asking, "", *lines, "", ""]))
    return CommandReply(usage + await about(call))


async def _follows(call: CommandCall) -> str:
    """When a mention is needed in threads here; "" where there are none."""
    if not call.venue.threads:
        return ""
    chosen, choices = await call.memory.settings(call.turn.key)
    return FOLLOWS[chosen.follow or choices.follow]


async def _mute(call: CommandCall, *, muted: bool) -> CommandReply:
    key = call.turn.key
    if not (call.venue.threads and key.parent):
        return call.refuse(MUTE_IN_THREAD if call.venue.threads else NO_THREADS)
    await call.memory.following.mute(key, muted=muted)
    return call.say(MUTED if muted else UNMUTED.format(follows=await _follows(call)))


async def _explain_mute(call: CommandCall) -> CommandReply:
    """``mute?`` asks what the command does, so nothing is muted."""
    return call.say(f"{{/mute}}: {COMMAND_HELP['mute']}. Nothing is changed yet.")


async def _memory(call: CommandCall) -> CommandReply:
    kept = await call.memory.describe(call.turn.key)
    told = remembering.listed(await call.memory.facts.all(call.turn.key), call)
    told, hears = f"\n\n{told}" if told else "", call.policy.describe_hearing(call.venue)
    hears = f" {hears}" if hears else ""
    if not kept.questions:
        return CommandReply(f"I remember nothing of {call.place} yet.{hears}{told}")
    questions = "1 message" if kept.questions == 1 else f"{kept.questions} messages"
    answers = "1 answer" if kept.answers == 1 else f"{kept.answers} answers"
    until = f"I'll forget it in {days(kept.seconds_left)} if nothing is added, or at once with {{/forget}}."
    notes = f"\n\nMy notes on what was said earlier:\n\n{kept.summary}" if kept.summary else ""
    remember = f"I remember {questions} and {answers} of {call.place}, about {kept.tokens:,} tokens."
    return CommandReply(f"{remember} {call.venue.tell(until)}{hears}{told}{notes}")


async def _forget(call: CommandCall, *, sure: bool = False) -> CommandReply:
    turn, memory, venue = call.turn, call.memory, call.venue
    if why := call.policy.refusal("forget", turn.author.id, shared=venue.shared):
        return call.refuse(why)
    if not sure:
        asks, epoch = await question_before_forgetting(turn.key, memory, venue, turn.author.id)
        if asks:
            return CommandReply(asks, confirm=str(epoch) if venue.buttons else "", private=True)
    return CommandReply(await forget_now(turn.key, memory, venue, turn.author.id))


async def _explain_forget(call: CommandCall) -> CommandReply:
    """``forget?`` asks what the command does, so nothing is forgotten."""
    extent, reach = await call.memory.extent(call.turn.key), _reach(call.turn.key, call.venue)
    if not (extent.messages or extent.facts):
        return call.say(f"{{/forget}} makes me forget {reach}, and there's nothing to forget yet.")
    return call.say(f"{{/forget}} makes me forget {reach}: {in_words(extent)}. Nothing is forgotten yet.")


async def _settings(call: CommandCall) -> CommandReply:
    chosen, choices = await call.memory.settings(call.turn.key)
    return CommandReply(choices.describe(chosen, call.venue))


async def _show(name: str, call: CommandCall) -> CommandReply:
    chosen, choices = await call.memory.settings(call.turn.key)
    if not choices.offers(name, threads=call.venue.threads):
        return CommandReply(f"There's no {name} to choose from here.")
    return CommandReply(f"{choices.line(chosen, name)}\n\n{CHOICE_HELP[name][0].upper()}{CHOICE_HELP[name][1:]}.")


async def _change(name: str, value: str, call: CommandCall) -> CommandReply:
    turn, memory, venue = call.turn, call.memory, call.venue
    if why := call.policy.refusal("settings", turn.author.id, shared=venue.shared):
        return call.refuse(why)
    if name == "follow" and not venue.threads:
        return call.refuse(NO_THREADS)
    try:
        chosen = await memory.choose(turn.key, name, value)
    except WrongChoice as error:
        meant = f" Did you mean `{venue.write(f'settings {name} {error.instead}')}`?" if error.instead else ""
        return CommandReply(f"{error}{meant}")
    if not name:
        return CommandReply(f"Done: {call.place} has the default settings again.")
    _, choices = await memory.settings(turn.key)
    return CommandReply(f"Done. {choices.describe(chosen, venue)}")


def in_words(extent: Extent) -> str:
    """How much would be forgotten, in words."""
    told = remembering.in_number(extent.facts) if extent.facts else ""
    if told and not extent.messages:
        return told
    messages = f"{extent.messages} message{'s' * (extent.messages != 1)} and answers"
    people = len(extent.people)
    messages = messages if people < 2 else f"{messages}, from {people} people"
    return f"{messages}, and {told}" if told else messages


def _reach(key: ConversationKey, venue: Venue) -> str:
    """The conversations that are forgotten together, in words."""
    place = place_of(key, venue)
    return f"{place} and its threads" if venue.buttons and not key.thread else place


async def forget_now(key: ConversationKey, memory: Memory, venue: Venue, asker: str) -> str:
    """Forget a conversation. Returns what to say; a thread leaves what its channel was told to remember."""
    facts = len(await memory.facts.all(key))
    messages, place = await memory.forget(key, asker=asker), place_of(key, venue)
    leaves = key.parent is not None and facts > 0
    left = " What I was told to remember for its channel stays: {/memory} lists it." if leaves else ""
    what = [f"{messages} message{'s' * (messages != 1)}"] if messages or leaves or not facts else []
    what += [remembering.in_number(facts)] if facts and not leaves else []
    if not (messages or (facts and not leaves)):
        return venue.tell(f"There's nothing to forget in {place}.{left}")
    return venue.tell(f"Done: I've forgotten {place} ({' and '.join(what)}).{left}")


_muting, _unmuting = partial(_mute, muted=True), partial(_mute, muted=False)
_EXACT_COMMANDS: dict[tuple[str, ...], Callable[[CommandCall], Awaitable[CommandReply]]] = {
    (): _help,
    ("help",): _help,
    ("memory",): _memory,
    ("memory", "show"): _memory,
    ("remember",): remembering.explain,
    ("forget",): _forget,
    ("forget", "now"): partial(_forget, sure=True),
    ("settings",): _settings,
    ("mute",): _muting,
    ("be", "quiet", "here"): _muting,
    ("parley", "be", "quiet", "here"): _muting,
    ("please", "be", "quiet", "here"): _muting,
    ("stay", "quiet", "here"): _muting,
    ("unmute",): _unmuting,
    ("you", "can", "talk", "again"): _unmuting,
    ("you", "can", "talk", "again", "here"): _unmuting,
    ("parley", "you", "can", "talk", "again"): _unmuting,
}
