"""What is remembered of each conversation.

That is its messages, also overheard ones, what people told to remember and chose for it, and their feedback.
"""

from core.memory.choices import (
    CHOICE_HELP,
    MAX_ANSWER_TOKENS,
    Choices,
    WrongChoice,
    find_setting,
    fingerprint,
    setting_name,
    split_setting,
)
from core.memory.chronology import in_order
from core.memory.conversations import Memory
from core.memory.departures import Departures
from core.memory.exchange import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES, Exchange, Thread
from core.memory.fact_commands import CorrectFact, RemoveFact, TellFact, most_alike, read_fact_command
from core.memory.facts import FactRefused, check_fact_field, facts_in, merge_facts
from core.memory.feedback import Feedback
from core.memory.following import FOLLOWED, OPENED_THREAD, Following, Remark
from core.memory.forgetting import Extent
from core.memory.listening import HEARS_CHANNEL, Listening, heard_since
from core.memory.overhearing import ROOM_MESSAGES, ROOM_SECONDS
from core.memory.scripts import ADDING

__all__ = [
    "ADDING",
    "CHOICE_HELP",
    "FOLLOWED",
    "HEARS_CHANNEL",
    "MAX_ANSWER_TOKENS",
    "MAX_CONVERSATION_BYTES",
    "MAX_CONVERSATION_MESSAGES",
    "OPENED_THREAD",
    "ROOM_MESSAGES",
    "ROOM_SECONDS",
    "Choices",
    "CorrectFact",
    "Departures",
    "Exchange",
    "Extent",
    "FactRefused",
    "Feedback",
    "Following",
    "Listening",
    "Memory",
    "Remark",
    "RemoveFact",
    "TellFact",
    "Thread",
    "WrongChoice",
    "check_fact_field",
    "facts_in",
    "find_setting",
    "fingerprint",
    "heard_since",
    "in_order",
    "merge_facts",
    "most_alike",
    "read_fact_command",
    "setting_name",
    "split_setting",
]
