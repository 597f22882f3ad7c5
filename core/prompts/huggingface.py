"""A model's own chat template, from ``tokenizer_config.json``, ``chat_template.jinja`` or its server.

Many templates accept only alternating roles, and a system prompt only at the beginning or not at all. Some refuse it,
others drop it. So a conversation is rendered in turns; if that is refused or loses words, it is rendered again with the
system prompt in front of the first user message.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Self

from core.errors import ModelRefused, SettingsError
from core.model_types import Prompt, PromptWindow
from core.prompts.guard import guard
from core.prompts.jinja import TemplateRefused, compiled, render
from core.prompts.messages import TemplateMessage, alternate_roles, fold_system, prompt_messages
from core.types import Role

MAX_STOPS = 4
"""TGI accepts no more."""

_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|return|>")
_CONTROL = re.compile(
    r"<\|[^|<>\s'\"]{1,48}\|>|<\uff5c[^<>'\"]{1,48}\uff5c>|\[/?[A-Z_]{3,24}\]|<</?SYS>>|</?[a-z_]{1,24}>"
)


class HuggingFaceTemplate:
    """Renders ``source``, and leaves BOS to the server, which adds it to raw text.

    ``tokens`` are the tokenizer's special tokens: they are broken in messages, and removed from answers.

    Raises:
        SettingsError: ``source`` is no template.
    """

    def __init__(
        self, source: str, *, bos: str = "", eos: str = "", tokens: tuple[str, ...] = (), name: str = "chat_template"
    ) -> None:
        compiled(source)
        self.name = name
        self._source, self._bos, self._eos = source, bos, eos
        ends = [eos, *(end for end in _ENDS if end in source)]
        self._stops = tuple(dict.fromkeys(filter(None, ends)))[:MAX_STOPS]
        written = _CONTROL.findall(source)
        self._control_tokens = tuple(dict.fromkeys(filter(None, (bos, *self._stops, *tokens, *written))))

    @classmethod
    def read(cls, path: Path, setting: str = "PROMPT_TEMPLATE") -> Self:
        """The template in a file, or in a folder as a model is downloaded; ``setting`` names it.

        Raises:
            SettingsError: there is none, or it cannot be read.
        """
        folder = path if path.is_dir() else path.parent
        config, source = _config(folder if path.suffix != ".json" else path, setting), ""
        try:
            if path.is_dir() and (folder / "chat_template.jinja").is_file():
                source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
            elif path.is_file() and path.suffix != ".json":
                source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(setting, path, error) from None
        source = source or _default(config.get("chat_template"))
        if not source:
            raise SettingsError(
                f"{setting}: there is no chat template in '{path}'",
                remedy="Name the model's chat_template.jinja, its tokenizer_config.json, or the folder they are in.",
            )
        added = config.get("added_tokens_decoder")
        tokens = [_token(token) for token in (added.values() if isinstance(added, dict) else ()) if _special(token)]
        bos, eos = _token(config.get("bos_token")), _token(config.get("eos_token"))
        return cls(source, bos=bos, eos=eos, tokens=tuple(tokens), name=path.name)

    def render(self, window: PromptWindow) -> Prompt:
        """See ``PromptTemplate.render``; every string in it is guarded.

        ``text()`` raises ModelRefused if the template refuses the conversation in any form.
        """

        @cache
        def text() -> str:
            said = list(prompt_messages(window, self._control_tokens))
            written = self._written(guard(window.system, self._control_tokens), said)
            return written.removeprefix(self._bos) if self._bos else written

        return Prompt(window.messages, self._stops, text, control_tokens=self._control_tokens)

    def _written(self, system: str, said: list[TemplateMessage]) -> str:
        refusals, poor = [], ""
        turns = alternate_roles(said)
        for messages in ([(Role.SYSTEM, system), *turns] if system else turns, fold_system(system, turns)):
            try:
                written = render(self._source, messages, bos=self._bos, eos=self._eos)
            except TemplateRefused as refusal:
                refusals.append(str(refusal))
                continue
            if all(words.strip() in written for words in (system, *(words for _, words in said))):
                return written
            poor = poor or written
        if poor:
            return poor
        raise ModelRefused(
            f"The chat template {self.name} refuses the conversation: {'; '.join(dict.fromkeys(refusals))}",
            remedy="Set PROMPT_TEMPLATE to the model's family, for example chatml.",
        )


def _config(place: Path, setting: str) -> dict[str, Any]:
    path = place / "tokenizer_config.json" if place.is_dir() else place
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(setting, path, error) from None
    return config if isinstance(config, dict) else {}


def _unreadable(setting: str, path: Path, error: Exception) -> SettingsError:
    what = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "cannot be read as what it is called"
    return SettingsError(f"{setting}: '{path}' {what}", remedy="Is it the model's own file?")


def _default(template: Any) -> str:
    """One template, or the one called ``default`` among several."""
    if isinstance(template, list):
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default") or next(iter(named.values()), "")
    return template if isinstance(template, str) else ""


def _token(token: Any) -> str:
    """A special token, which may be a text or an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


def _special(token: Any) -> bool:
    return isinstance(token, dict) and bool(token.get("special"))
