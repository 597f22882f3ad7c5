"""The line family: ``System:``, ``User:`` and ``Assistant:``, as Falcon's instruct models were taught.

::

    System: You are …
    User: Ada: What is a fork?
    Assistant: A fork is …
    User: Bob: And a spoon?
    Assistant:

There is no space after the last colon: the model's first token brings its own. BOS is left to the server, which adds it
to raw text by itself.
"""

from __future__ import annotations

from core.guard import guard
from core.prompts.speech import spoken
from core.types import Prompt, Role, Window

LABELS = {Role.SYSTEM: "System", Role.USER: "User", Role.ASSISTANT: "Assistant"}
STOPS = ("\nUser:", "<|endoftext|>")


class FalconTemplate:
    """Plain lines that begin with a role."""

    name = "falcon"

    def render(self, window: Window) -> Prompt:
        """Write the window down as lines; every string in it is guarded, so that no line is forged."""

        def text() -> str:
            lines = [f"System: {guard(window.system)}"] if window.system else []
            lines += [f"{LABELS[role]}: {words}" for role, words in spoken(window)]
            return "\n".join([*lines, "Assistant:"])

        return Prompt(window.messages, STOPS, text)
