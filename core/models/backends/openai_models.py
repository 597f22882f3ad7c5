"""The models that an OpenAI server lists: their names, which of them can chat, and how long their context is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.models.backends.untrusted import token_count

LONGEST_MODEL_NAME = 200
"""Characters of a model's name; an entry with a longer one is left out."""

_NO_CHAT_NAME = re.compile(
    r"embed|rerank|whisper|\btts\b|bge-|\be5-|gte-|minilm|clip\b|moderation|guard|dall-e|diffusion|flux|speech|bark"
    r"|transcribe|parakeet|colbert|nomic-bert|jina-(colbert|clip|embed)|realtime|image-\d",
    re.IGNORECASE,
)
"""Names of models that cannot chat."""
_NO_CHAT_TYPES = ("embed", "rerank", "audio", "image", "moderation", "speech", "transcri", "asr", "tts")
_CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length")
_LM_STUDIO = "api/v0/models"
CONTEXT_PAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "props": (("default_generation_settings", "n_ctx"), ("n_ctx",)),
    "info": (("max_total_tokens",),),
    _LM_STUDIO: (("loaded_context_length",), ("max_context_length",)),
}
"""Pages beside ``/v1`` on which llama.cpp, TGI and LM Studio tell their context length, and where on them it is."""


def model_names(listing: Any) -> list[str]:
    """The names of the listed models, those that can chat first."""
    entries = [entry for entry in _entries(listing) if _name(entry)]
    return [_name(entry) for entry in sorted(entries, key=_cannot_chat)]


def listed_context(listing: Any, model: str) -> int:
    """Tokens of a model's context as its entry in the list tells it, as vLLM and SGLang do; 0 if it does not."""
    entry = _entry(listing, model)
    return next((total for key in _CONTEXT_KEYS if (total := _number(entry.get(key)))), 0)


def context_on(page: str, content: Any, model: str) -> int:
    """Tokens of a model's context as one of ``CONTEXT_PAGES`` tells it; 0 if it does not."""
    content = _entry(content, model) if page == _LM_STUDIO else content
    return next((total for path in CONTEXT_PAGES[page] if (total := _number(_at(content, path)))), 0)


def _entry(listing: Any, model: str) -> dict[str, Any]:
    return next((entry for entry in _entries(listing) if entry.get("id") == model), {})


def _entries(listing: Any) -> list[dict[str, Any]]:
    """The entries of a list of models, whatever it looks like."""
    entries = (listing.get("data") or listing.get("models")) if isinstance(listing, dict) else listing
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("id") or entry.get("name")
    return name if isinstance(name, str) and len(name) <= LONGEST_MODEL_NAME else ""


def _cannot_chat(entry: Mapping[str, Any]) -> bool:
    """Whether a listed model is no chat model, by what the server tells of it, or else by its name."""
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, dict) and isinstance(chats := capabilities.get("completion_chat"), bool):
        return not chats
    kind = entry.get("type") or entry.get("task") or entry.get("model_type")
    if isinstance(kind, str) and any(word in kind.lower() for word in _NO_CHAT_TYPES):
        return True
    return bool(_NO_CHAT_NAME.search(_name(entry)))


def _number(value: Any) -> int:
    found = token_count(value)
    return found if found and found > 1 else 0


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        content = content.get(step) if isinstance(content, dict) else None
    return content
