"""The names of all keys in Redis."""

from __future__ import annotations

from core.types import ConversationKey

TURN_TTL = 24 * 3600
"""Seconds that a turn is remembered: no platform redelivers an event later than that."""


class Keys:
    """The names of keys; ``core.store.catalog`` says what each holds.

    A conversation's name is its ConversationKey as text: ``slack:T1:C1`` or ``slack:T1:C1:1700.1``; a lane is a
    conversation, or one and a person in it. All names share the hash tag ``{parley}``, so that a script may touch
    any of them on a Redis Cluster too. The channel ``{parley}:signals`` carries the lanes of which something became
    known, and ``{parley}:boards`` the boards that changed.
    """

    CONVERSATIONS = "{parley}:conv:"
    """What the names of all conversations' keys begin with, for scripts that walk from one to another."""

    @staticmethod
    def part(key: ConversationKey, name: str) -> str:
        """A part of a conversation, such as its ``messages``."""
        return f"{Keys.CONVERSATIONS}{key}:{name}"

    @staticmethod
    def part_of(name: str) -> tuple[ConversationKey, str]:
        """The conversation that a key belongs to, and which part of it the key holds. Raises ValueError if none."""
        conversation, _, part = name.removeprefix(Keys.CONVERSATIONS).rpartition(":")
        return ConversationKey.parse(conversation), part

    @staticmethod
    def messages(key: ConversationKey) -> str:
        """What was said."""
        return f"{Keys.CONVERSATIONS}{key}:messages"

    @staticmethod
    def state(key: ConversationKey) -> str:
        """What is known about what was said."""
        return f"{Keys.CONVERSATIONS}{key}:state"

    @staticmethod
    def forks(key: ConversationKey) -> str:
        """Which threads copied from it."""
        return f"{Keys.CONVERSATIONS}{key}:forks"

    @staticmethod
    def settings(key: ConversationKey) -> str:
        """What people chose for it."""
        return f"{Keys.CONVERSATIONS}{key}:settings"

    @staticmethod
    def following(key: ConversationKey) -> str:
        """Whether messages in a thread need no mention."""
        return f"{Keys.CONVERSATIONS}{key}:following"

    @staticmethod
    def folding(key: ConversationKey) -> str:
        """That somebody is writing its summary."""
        return f"{Keys.CONVERSATIONS}{key}:folding"

    @staticmethod
    def retries(key: ConversationKey) -> str:
        """Which of its turns can be tried again."""
        return f"{Keys.CONVERSATIONS}{key}:retries"

    @staticmethod
    def facts(key: ConversationKey) -> str:
        """What people told to remember about it."""
        return f"{Keys.CONVERSATIONS}{key}:facts"

    @staticmethod
    def room(key: ConversationKey) -> str:
        """What was said in a channel lately, and not to Parley."""
        return f"{Keys.CONVERSATIONS}{key}:room"

    @staticmethod
    def changed(key: ConversationKey) -> str:
        """Edits and deletions in a thread, for messages that are stored only later."""
        return f"{Keys.CONVERSATIONS}{key}:changed"

    @staticmethod
    def board(key: ConversationKey) -> str:
        """What a platform that keeps no messages itself shows of it."""
        return f"{Keys.CONVERSATIONS}{key}:board"

    EPOCH = "{parley}:epoch"
    """The number of the last lease."""
    SCHEMA = "{parley}:schema"
    """The number of the form that the store has."""
    SIGNALS = "{parley}:signals"
    """The channel on which lanes are named of which something became known."""
    WORKERS = "{parley}:workers"
    """Which workers are there."""
    DEAD = "{parley}:dead"
    """Turns that were given up."""
    PROBE = "{parley}:probe"
    """Written to see whether it can be."""

    BOARDS = "{parley}:boards"
    """The channel on which boards are named that changed, and perhaps the turn that did."""
    TIMINGS = "{parley}:timings"
    """How the last answers went."""
    CONNECTIONS = "{parley}:connections"
    """Which processes take what people say, where."""

    @staticmethod
    def turn(turn: str) -> str:
        """What became of a turn."""
        return f"{{parley}}:turn:{turn}"

    @staticmethod
    def seen(name: str) -> str:
        """Whether something happened already that happens once."""
        return f"{{parley}}:seen:{name}"

    @staticmethod
    def inbox(lane: str) -> str:
        """The turns of a lane."""
        return f"{{parley}}:lane:{lane}:inbox"

    @staticmethod
    def lane_of(inbox: str) -> str:
        """The lane whose inbox has that name."""
        return inbox.removeprefix("{parley}:lane:").removesuffix(":inbox")

    @staticmethod
    def lane_state(lane: str) -> str:
        """Who has a lane, and how far they are."""
        return f"{{parley}}:lane:{lane}:state"

    @staticmethod
    def feedback(turn: str) -> str:
        """What people think of an answer."""
        return f"{{parley}}:feedback:{turn}"

    @staticmethod
    def own(adapter: str, what: str) -> str:
        """Something that an adapter keeps for itself; it declares such keys as ``StoredKey``."""
        return f"{{parley}}:{adapter}:{what}"

    @staticmethod
    def left(platform: str) -> str:
        """Where Parley was, and is no more."""
        return f"{{parley}}:{platform}:left"

    @staticmethod
    def listening(platform: str) -> str:
        """That a platform's events are heard without a gap, and since when."""
        return f"{{parley}}:listening:{platform}"

    @staticmethod
    def bell(platform: str) -> str:
        """Rings when a lane of a platform may be taken."""
        return f"{{parley}}:bell:{platform}"

    @staticmethod
    def lanes(place: str, platform: str) -> str:
        """The lanes of a platform that stand in a place: ready, held or suspects."""
        return f"{{parley}}:{place}:{platform}"

    @staticmethod
    def budget(name: str) -> str:
        """What is left of a platform's budget of calls, such as ``slack:T1:chat.update``."""
        return f"{{parley}}:budget:{name}"
