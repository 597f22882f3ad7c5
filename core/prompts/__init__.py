"""From a conversation to a prompt: what fits the context window, guarded, in the words of one family of models."""

from core.prompts.families import family_of
from core.prompts.guard import GUARD_MARK, GuardMarkRemover
from core.prompts.huggingface import HuggingFaceTemplate
from core.prompts.messages import TemplateMessage, fold_system
from core.prompts.personas import Personas, read_persona
from core.prompts.quoting import marks, plain_words, words
from core.prompts.reload import AutoReloaded
from core.prompts.template import PromptTemplate, open_template, template_file
from core.prompts.tokens import Calibration, TokenCounter, estimate_tokens, message_tokens, read_tokenizer
from core.prompts.voices import SpeakerNames
from core.prompts.window import SHARE_KEPT, Fit, TokenBudget, fit, shorten, shorten_message, split_context

__all__ = [
    "GUARD_MARK",
    "SHARE_KEPT",
    "AutoReloaded",
    "Calibration",
    "Fit",
    "GuardMarkRemover",
    "HuggingFaceTemplate",
    "Personas",
    "PromptTemplate",
    "SpeakerNames",
    "TemplateMessage",
    "TokenBudget",
    "TokenCounter",
    "estimate_tokens",
    "family_of",
    "fit",
    "fold_system",
    "marks",
    "message_tokens",
    "open_template",
    "plain_words",
    "read_persona",
    "read_tokenizer",
    "shorten",
    "shorten_message",
    "split_context",
    "template_file",
    "words",
]
