"""The names and lifetimes of all that is kept in Redis."""

from __future__ import annotations

import re

from core.types import ConversationKey

TURN_TTL = 24 * 3600
"""Seconds that a turn is remembered: no platform redelivers an event later than that."""


_KINDS = (
    ("list", r"conv:[^:]+:[^:]*:[^:]*(:[^:]*)?:messages|lane:.*:inbox|bell:.*|dead|timings"),
    (
        "hash",
        r"conv:[^:]+:[^:]*:[^:]*(:[^:]*)?:(state|retries|board)|lane:.*:state|turn:.*(?<!/waiting)"
        r"|budget:.*|feedback:.*|page:person:.*",
    ),
    ("set", r"conv:[^:]+:[^:]*:[^:]*(:[^:]*)?:forks|turn:.*/waiting"),
    ("zset", r"(ready|held|suspects):.*|workers|connections|quota:.*:(turns|open)|discord:(places|left)|page:channels"),
    (
        "string",
        r"conv:[^:]+:[^:]*:[^:]*(:[^:]*)?:(settings|folding)|seen:.*|clock:.*|epoch|schema|quarantine|probe"
        r"|quota:.*:tokens:[^:]*|discord:(commands|alive|bots:.*|about:.*)",
    ),
)


class Keys:
    """Everything that Parley keeps in Redis.

    ========================================  ======  ==================================  =============================
    key                                       type    holds                               lives for
    ========================================  ======  ==================================  =============================
    ``{parley}:conv:<conversation>:messages`` LIST    messages as JSON, oldest first      RETENTION_DAYS after the last
                                                                                          append
    ``{parley}:conv:<conversation>:state``    HASH    bytes, cut, epoch, stranger,        the same
                                                      summary, folded, changes
    ``{parley}:conv:<conversation>:forks``    SET     conversations that branched off it  RETENTION_DAYS after the last
                                                                                          one
    ``{parley}:conv:<conversation>:settings`` STRING  what people chose for it            the same, after the last use
    ``{parley}:conv:<conversation>:folding``  STRING  who is writing its summary          two minutes
    ``{parley}:conv:<conversation>:retries``  HASH    turn id to the job that asks again  24 hours, each of them
    ``{parley}:conv:<conversation>:board``    HASH    turn id to what the page shows      the same
    ``{parley}:turn:<turn id>``               HASH    token, status, lane, job, before,   24 hours after it is answered,
                                                      at, note (an edit that came first)  deleted, or edited too early
    ``{parley}:turn:<turn id>/waiting``       SET     lanes that wait for this turn       as long as it is open
    ``{parley}:seen:<name>``                  STRING  that something happened once        24 hours
    ``{parley}:lane:<lane>:inbox``            LIST    jobs as JSON, oldest first          7 days, if nobody works
    ``{parley}:lane:<lane>:state``            HASH    epoch, owner, tries, count, intent, 10 minutes after the last turn
                                                      refs, text, seal, notes, last,
                                                      width, limit, tells
    ``{parley}:ready:<platform>``             ZSET    lanes that may be taken, in order   7 days, if nobody works
    ``{parley}:held:<platform>``              ZSET    lanes that a worker has, until when the same
    ``{parley}:suspects:<platform>``          ZSET    lanes whose turn is taken alone     the same
    ``{parley}:bell:<platform>``              LIST    one token: something is ready       the same
    ``{parley}:clock:<platform>``             STRING  the clock of fair queuing           a day
    ``{parley}:clock:<platform>:<person>``    STRING  when that person's turns are due    an hour
    ``{parley}:epoch``                        STRING  the number of the last lease        30 days
    ``{parley}:schema``                       STRING  its form: core.archive.schema       10 years after the last start
    ``{parley}:quarantine``                   STRING  which worker looks after suspects   two leases
    ``{parley}:workers``                      ZSET    workers, and when they last spoke   a day
    ``{parley}:dead``                         LIST    dead letters as JSON, oldest first; 30 days after the last one
                                                      what cannot be read is one, too
    ``{parley}:probe``                        STRING  that Redis can be written to        a minute
    ``{parley}:quota:<scope>:turns``          ZSET    turns of the last minute            a minute
    ``{parley}:quota:<scope>:open``           ZSET    turns that wait or are answered     7 days, if nobody works
    ``{parley}:quota:<scope>:tokens:<day>``   STRING  tokens of that day (UTC)            two days
    ``{parley}:budget:<name>``                HASH    calls, at, clock, blocked, past,    until it is full, and a
                                                      and of each process what it has     minute
    ``{parley}:feedback:<turn id>``           HASH    people to ``up`` or ``down``        90 days after the last mark
    ``{parley}:discord:commands``             STRING  a hash of the commands as synced    400 days
    ``{parley}:discord:alive``                STRING  when we last heard all of Discord   7 days
    ``{parley}:discord:places``               ZSET    direct messages and threads in use  7 days after the last one
    ``{parley}:discord:left``                 ZSET    servers left, and when to forget    DISCORD_LEAVE_DAYS and a month
    ``{parley}:discord:bots:<channel>``       STRING  answers to other bots there         10 minutes
    ``{parley}:discord:about:<interaction>``  STRING  a message that is being asked about 15 minutes
    ``{parley}:page:channels``                ZSET    the page's channels, and when each  RETENTION_DAYS after it was
                                                      was last opened                     last opened
    ``{parley}:page:person:<person>``         HASH    name, channel                       RETENTION_DAYS after a visit
    ``{parley}:timings``                      LIST    how the last answers went           a day
    ``{parley}:connections``                  ZSET    who takes what people say where     10 seconds
    ========================================  ======  ==================================  =============================

    ``<conversation>`` is a ConversationKey as text: ``slack:T1:C1`` or ``slack:T1:C1:1700.1``; a lane is a
    conversation, or one and a person in it. All names share the hash tag ``{parley}``, so that a script may touch any
    of them on a Redis Cluster too. Nothing lives for ever. The channel ``{parley}:signals`` carries the lanes of which
    something became known, and ``{parley}:boards`` the boards that changed.
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
    def kind(name: str) -> str:
        """The type in Redis that a key should have; "" for one that is none of ours."""
        rest = name.removeprefix("{parley}:")
        return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, rest, re.DOTALL)), "")

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
    def folding(key: ConversationKey) -> str:
        """That somebody is writing its summary."""
        return f"{Keys.CONVERSATIONS}{key}:folding"

    @staticmethod
    def retries(key: ConversationKey) -> str:
        """Which of its turns can be tried again."""
        return f"{Keys.CONVERSATIONS}{key}:retries"

    @staticmethod
    def board(key: ConversationKey) -> str:
        """What the page shows of it."""
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
    CHANNELS = "{parley}:page:channels"
    """The channels of the page."""
    TIMINGS = "{parley}:timings"
    """How the last answers went."""
    CONNECTIONS = "{parley}:connections"
    """Which processes take what people say, where."""

    @staticmethod
    def person(person: str) -> str:
        """How somebody on the page is called."""
        return f"{{parley}}:page:person:{person}"

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
    def discord(what: str) -> str:
        """What the adapter of Discord keeps in mind."""
        return f"{{parley}}:discord:{what}"

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
