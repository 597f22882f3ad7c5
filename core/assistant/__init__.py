"""The story of one answer, the commands people can give instead, and the notes of what the model no longer sees."""

from core.assistant import commands, remembering
from core.assistant.assistant import Answer, AnswerSettings, Assistant, Stop
from core.assistant.commands import NOT_ASKED, Confirmation, days, forget_now, in_words, is_forget, is_settings, is_stop
from core.assistant.hearing import hear_room
from core.assistant.orders import Command, CommandReply, Order
from core.assistant.summary import Summarizer

__all__ = [
    "NOT_ASKED",
    "Answer",
    "AnswerSettings",
    "Assistant",
    "Command",
    "CommandReply",
    "Confirmation",
    "Order",
    "Stop",
    "Summarizer",
    "commands",
    "days",
    "forget_now",
    "hear_room",
    "in_words",
    "is_forget",
    "is_settings",
    "is_stop",
    "remembering",
]
