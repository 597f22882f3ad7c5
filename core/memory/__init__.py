"""What is remembered of each conversation: messages, what people chose for it, and their feedback."""

from core.memory.changes import Reword
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
from core.memory.conversations import (
    MAX_CONVERSATION_BYTES,
    MAX_CONVERSATION_MESSAGES,
    Exchange,
    Memory,
    Thread,
)
from core.memory.departures import Departures
from core.memory.facts import check_fact_field, facts_in, merge_facts
from core.memory.feedback import Feedback
from core.memory.forgetting import Extent
from core.memory.listening import Listening
from core.memory.scripts import ADDING

__all__ = [
    "ADDING",
    "CHOICE_HELP",
    "MAX_ANSWER_TOKENS",
    "MAX_CONVERSATION_BYTES",
    "MAX_CONVERSATION_MESSAGES",
    "Choices",
    "Departures",
    "Exchange",
    "Extent",
    "Feedback",
    "Listening",
    "Memory",
    "Reword",
    "Thread",
    "WrongChoice",
    "check_fact_field",
    "facts_in",
    "find_setting",
    "fingerprint",
    "merge_facts",
    "setting_name",
    "split_setting",
]
