"""What a model is asked, and what it streams.

``tokens`` are the model's own. A value never changes once made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from core.types import Ending, Message, Role


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """One model's limits in tokens, as its server reports them."""

    max_input_tokens: int
    max_total_tokens: int
    model: str = ""


@dataclass(frozen=True, slots=True)
class PromptWindow:
    """The part of a conversation that the model sees: the system prompt, then messages, the question last."""

    system: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt window, rendered for one family of models.

    Args:
        messages: what was said, unchanged.
        stops: strings that end the answer and are never part of it.
        text: renders the prompt as one text, for servers without a chat API.
        chat: renders it as roles and guarded texts, for servers that apply the chat template on their own; None if it
            is only a text.
        control_tokens: of the chat template; stripped from the answer.
    """

    messages: tuple[Message, ...]
    stops: tuple[str, ...]
    text: Callable[[], str]
    chat: Callable[[], Sequence[tuple[Role, str]]] | None = None
    control_tokens: tuple[str, ...] = ()

    @classmethod
    def raw(cls, text: str, stops: Sequence[str] = ()) -> Self:
        """A text that the model continues: without memory or template."""
        return cls((Message(Role.USER, text),), tuple(stops), lambda: text)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a backend is asked to generate. A ``temperature`` of 0 means greedy decoding."""

    prompt: Prompt
    max_new_tokens: int
    temperature: float = 0.7
    top_p: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model is reasoning before it answers. Its reasoning is never shown.

    Args:
        retract: the text streamed so far was reasoning, not part of the answer: drop it.
        text: the reasoning; it becomes the answer if the model writes nothing else.
    """

    retract: bool = False
    text: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; None if it did not report them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a stream: how it ended (``COMPLETE`` or ``LENGTH``), and its token usage.

    ``began_inside`` says that the stream started in the middle of reasoning: it had an end tag without a start tag.
    """

    ending: Ending = Ending.COMPLETE
    usage: Usage = Usage()
    began_inside: bool = False


Streamed = Delta | Thinking | Done
"""One piece of a model's stream."""
