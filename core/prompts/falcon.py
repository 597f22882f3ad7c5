"""The line family: ``System:``, ``User:`` and ``Assistant:``, as Falcon's instruct models were taught.

::

    System: You are …
    User: Ada: What is a fork?
    Assistant: A fork is …
    User: Bob: And a spoon?
    Assistant:

There is no space after the last colon: the model's first token brings its own.
"""

from __future__ import annotations

from core.prompts.families import FAMILIES, FamilyTemplate


class FalconTemplate(FamilyTemplate):
    """Plain lines that begin with a role."""

    def __init__(self) -> None:
        super().__init__(FAMILIES["falcon"])
