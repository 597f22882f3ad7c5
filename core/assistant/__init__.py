"""The story of one answer, the commands people can give instead, and the notes of what the model no longer sees."""

from core.assistant import commands, remembering
from core.assistant.assistant import Answer, AnswerSettings, Assistant, Stop
from core.assistant.command import Command, CommandCall, CommandReply
from core.assistant.commands import NOT_ASKED, Confirmation, days, forget_now, in_words, is_forget, is_settings, is_stop
from core.assistant.hearing import hear_room
from core.assistant.summary import Summarizer

__all__ = [
    "NOT_ASKED",
    "Answer",
    "AnswerSettings",
    "Assistant",
    "Command",
    "CommandCall",
    "CommandReply",
    "Confirmation",
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
