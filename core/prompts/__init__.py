"""From a conversation to a prompt: what fits the context window, guarded, in the words of one family of models."""

from core.prompts.families import family_of
from core.prompts.guard import MARK, MarkRemover
from core.prompts.hugging import HuggingFaceTemplate
from core.prompts.personas import Personas, read_persona
from core.prompts.reload import AutoReloaded
from core.prompts.speech import Said, Voices, folded
from core.prompts.template import PromptTemplate, open_template, template_file
from core.prompts.tokens import Calibration, TokenCounter, count_message, estimate, read_tokenizer
from core.prompts.window import STEP, Fit, TokenBudget, fit, share, shorten

__all__ = [
    "MARK",
    "STEP",
    "AutoReloaded",
    "Calibration",
    "Fit",
    "HuggingFaceTemplate",
    "MarkRemover",
    "Personas",
    "PromptTemplate",
    "Said",
    "TokenBudget",
    "TokenCounter",
    "Voices",
    "count_message",
    "estimate",
    "family_of",
    "fit",
    "folded",
    "open_template",
    "read_persona",
    "read_tokenizer",
    "share",
    "shorten",
    "template_file",
]
