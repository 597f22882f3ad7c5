"""What is remembered of each conversation: messages, what people chose for it, and their feedback."""

from core.memory.choices import (
    MOST_TOKENS,
    NAMES,
    Choices,
    WrongChoice,
    find_setting,
    setting_name,
    split_setting,
    trace,
)
from core.memory.conversations import MOST_BYTES, MOST_MESSAGES, Exchange, Extent, Memory, Reword, Thread
from core.memory.departures import Departures
from core.memory.feedback import Feedback

__all__ = [
    "MOST_BYTES",
    "MOST_MESSAGES",
    "MOST_TOKENS",
    "NAMES",
    "Choices",
    "Departures",
    "Exchange",
    "Extent",
    "Feedback",
    "Memory",
    "Reword",
    "Thread",
    "WrongChoice",
    "find_setting",
    "setting_name",
    "split_setting",
    "trace",
]
