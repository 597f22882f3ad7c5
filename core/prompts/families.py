"""The families of open models that Parley knows by name; the template of each is a file in ``families/``.

The formats are those that the models' makers document. BOS is left to the server, which adds it to raw text on its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.model_types import Prompt, PromptWindow
from core.prompts.guard import guard
from core.prompts.jinja import render
from core.prompts.messages import TemplateMessage, alternate_roles, prompt_messages
from core.types import Role


@dataclass(frozen=True, slots=True)
class Family:
    """One family: its name, the stop strings of an answer, and the template's other control strings.

    ``strict`` families take turns only, person and assistant; all others take any role at any place.
    """

    name: str
    stops: tuple[str, ...]
    control_tokens: tuple[str, ...] = ()
    strict: bool = False


FAMILIES = {
    family.name: family
    for family in (
        # TGI takes four stop strings.
        Family("falcon", ("\nUser:", "<|endoftext|>", "\nSystem:", "\nAssistant:")),
        Family("falcon3", ("<|endoftext|>", "<|user|>"), ("<|system|>", "<|assistant|>")),
        Family("chatml", ("<|im_end|>", "<|endoftext|>"), ("<|im_start|>",)),
        Family("llama2", ("</s>",), ("<s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"), strict=True),
        Family("llama3", ("<|eot_id|>", "<|end_of_text|>"), ("<|start_header_id|>", "<|end_header_id|>")),
        Family("mistral-v1", ("</s>",), ("[INST]", "[/INST]"), strict=True),
        Family("mistral-v3", ("</s>",), ("[INST]", "[/INST]"), strict=True),
        Family("mistral-v7", ("</s>",), ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), strict=True),
        Family("gemma", ("<end_of_turn>",), ("<start_of_turn>",), strict=True),
        Family("zephyr", ("</s>",), ("<|system|>", "<|user|>", "<|assistant|>")),
        Family("phi3", ("<|end|>", "<|endoftext|>"), ("<|system|>", "<|user|>", "<|assistant|>")),
        Family("phi4", ("<|im_end|>", "<|endoftext|>"), ("<|im_start|>", "<|im_sep|>")),
    )
}


class FamilyTemplate:
    """The template of one family."""

    def __init__(self, family: Family) -> None:
        self.name = family.name
        self._family = family

    def render(self, window: PromptWindow) -> Prompt:
        """See ``PromptTemplate.render``; every string in it is guarded."""
        family = self._family
        control_tokens = (*family.stops, *family.control_tokens)

        @cache
        def text() -> str:
            said: list[TemplateMessage] = list(prompt_messages(window))
            said = alternate_roles(said) if family.strict else said
            system = [(Role.SYSTEM, guard(window.system))] if window.system else []
            return render(family_source(family.name), [*system, *said])

        return Prompt(window.messages, family.stops, text, control_tokens=control_tokens)


class ChatTemplate:
    """For servers that apply their own template: the system prompt, then alternating turns."""

    name = "chat"

    def render(self, window: PromptWindow) -> Prompt:
        """See ``PromptTemplate.render``; the text serves only to count tokens."""

        @cache
        def chat() -> tuple[TemplateMessage, ...]:
            turns, system = alternate_roles(prompt_messages(window)), guard(window.system)
            return ((Role.SYSTEM, system), *turns) if system else tuple(turns)

        return Prompt(window.messages, (), lambda: "\n".join(words for _, words in chat()), chat)


def family_of(model: str) -> str:
    """The family of a chat model by its name; otherwise ``falcon``, whose plain lines any model reads.

    >>> family_of("tiiuae/Falcon3-7B-Instruct")
    'falcon3'
    """
    name = model.rpartition("/")[2].lower().removeprefix("meta-")
    if not re.search(r"instruct|chat|-it\b", name):
        return "falcon"
    begins = [family for family in FAMILIES if name.replace("-", "").startswith(family)]
    return max(begins, key=len, default="falcon")


@cache
def family_source(name: str) -> str:
    """The source of one family's template."""
    return Path(__file__).with_name("families").joinpath(f"{name}.jinja").read_text(encoding="utf-8")
