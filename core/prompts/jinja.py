"""Renders the chat templates of Hugging Face's models, which are Jinja, as ``transformers`` does.

They run in an immutable sandbox: a template reads its arguments and changes nothing. What people wrote is data; braces
in it stay braces. Templates come from the operator, never from people in a chat: the sandbox does not bound time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from core.errors import SettingsError

if TYPE_CHECKING:
    from jinja2 import Template


class TemplateRefused(Exception):
    """A template refuses this conversation, for example because it has no system role."""


@lru_cache(maxsize=32)
def compiled(source: str) -> Template:
    """Compile a template. Raises SettingsError if it is none."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what is trained on; here it means nothing."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja wants it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            """Parse what is inside."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _today
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise SettingsError(
            f"The chat template cannot be read: {error.message}", remedy="Take it from the model as it is."
        ) from None


def render(source: str, messages: Sequence[tuple[str, str]], *, bos: str = "", eos: str = "") -> str:
    """Render a conversation as a prompt that the assistant continues.

    Raises:
        TemplateRefused: the template does not accept these roles in this order.
        SettingsError: ``source`` is no template, or has a bug.
    """
    from jinja2.exceptions import TemplateError

    said = [{"role": str(role), "content": words} for role, words in messages]
    try:
        return compiled(source).render(
            messages=said, tools=None, documents=None, add_generation_prompt=True, bos_token=bos, eos_token=eos
        )
    except TemplateError as error:
        raise TemplateRefused(error.message or type(error).__name__) from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise SettingsError(
            f"The chat template has a fault ({type(error).__name__}).", remedy="Take it from the model as it is."
        ) from None


def _as_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is; Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    from jinja2.exceptions import TemplateError

    raise TemplateError(message)


def _today(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
