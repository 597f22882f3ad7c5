"""Why a server refused a request: how to ask instead, or which setting the operator should look at.

Each pattern collects the words for one reason, as vLLM, SGLang, llama.cpp, Ollama, LM Studio, TGI, LiteLLM, Mistral,
Gemini, OpenRouter, Groq, Azure and OpenAI are known to use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.prompts import TemplateMessage, fold_system
from core.types import Role


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


TOO_LONG = _any(
    r"context[ _-]?(length|size|window)|exceed_context_size|maximum model length|max_model_len|too many tokens",
    r"inputs\W* (tokens|must have less than \d+ tokens)|prompt is too long|input (length|is too long)",
    r"prompt tokens? exceed|reduce the length of the (messages|prompt)|longer than the model'?s? (context|maximum)",
    r"exceeds? the (maximum|max|available|model'?s) (number of )?(tokens|context|input|sequence)",
    r"input token count.{0,40}exceeds|(sequence|prompt) length.{0,40}(exceed|longer|larger)|string_above_max_length",
)
BUSY = _any(r"overload|rate.?limit|too many requests|queue is full|no slots? available|at capacity|over capacity")
NO_KEY = _any(
    r"(invalid|incorrect|missing|no|bad|wrong|expired) (api|access|authorization|authentication)[ _-]?(key|token)",
    r"api[ _-]?key (is )?(not valid|invalid|missing|required|expired)|invalid_api_key|API_KEY_INVALID|unauthorized",
    r"authentication (failed|required)|no auth credentials|you didn'?t provide an api key",
)
NO_CREDIT = _any(
    r"insufficient[ _](quota|balance|credits?|funds)|exceeded your current quota|out of credits|billing|payment",
    r"credit balance|more credits|spend(ing)? limit",
)
NO_SYSTEM = _any(
    r"\bsystem\b[^.]{0,60}\b(not|n't|isn't|aren't) (currently |yet )?(be )?"
    r"(supported|allowed|enabled|permitted|accepted|available|valid)",
    r"\b(does|do|did)(n't| not) (support|allow|accept|have|take)\b[^.]{0,60}\bsystem\b",
    r"\b(unexpected|invalid|unknown|unsupported|unrecognized|illegal)\b[^.]{0,40}\brole\b[^.]{0,30}\bsystem\b",
    r"\b(unexpected|invalid|unknown|unsupported|unrecognized) (variant|value|enum)[^.]{0,40}\bsystem\b",
    r"\bsystem\b[^.]{0,30}\b(unsupported|invalid|unexpected)\b|\bno system (role|message|prompt)|without a system",
    r"roles? must (strictly )?alternate|alternating (user|roles)|must alternate between",
    r"first message must be .{0,12}user",
    r"only (the )?\W?(user|assistant)\W{0,3}( roles?)?,? (and|or)( the)? \W?(model|assistant|user)",
    r"(should|must|expected)( be)?( one of)?:? ?\W{0,2}user\W{0,3} ?(or|,|and) ?\W{0,2}(assistant|model)",
    r"developer instruction|system_instruction|roles? (should|must) be (user|assistant)",
)
NO_CHAT = _any(
    r"(does|do)(n't| not) support chat|not (a )?chat(able)? model|not support(ed)? (for |by )?(the )?chat",
    r"chat[^.]{0,20}not supported",
    r"does not have a chat template|no chat template|embedding(s)? model|is not a (text|language|generative) ?(model)?",
    r"does not support (generate|generation|completions?)|(does not|doesn't) support (the )?(chat )?completions?",
    r"only supports? embed|model type.{0,20}(embed|rerank)|pooling model|not a generation model",
)
NO_MODEL = _any(
    r"\bmodels?\b[^.]{0,120}?(not (be )?(found|exist|available|loaded|served|supported|allowed|valid|recognized"
    r"|registered|deployed)|n't exist|(does|do) not exist|unknown|invalid|unavailable|decommissioned|deprecated)",
    r"(invalid|unknown|unsupported|unrecognized|no such|incorrect|wrong|missing|not found:?) (field |parameter )?"
    r"\W?model\b",
    r"model[ _]not[ _](found|exist|loaded|supported|available)|model_?not_?found|invalid_model|unknown_model",
    r"pinned to|no models? (is |are )?(currently )?loaded|multiple models|pull(ing)? it first|no endpoints? found",
    r"model is required|must (provide|specify) a model",
    r"model (name|id|parameter)[^.]{0,60}(required|mismatch|match|must)",
    r"deployment[^.]{0,60}does not exist|DeploymentNotFound|only serves|serves only|not a valid model",
    r"does not match[^.]{0,40}model|expected model|available models|no model (named|called|with)|lora.{0,30}not found",
)
_UNSUPPORTED = _any(
    r"unsupported|not supported|n't support|not support|unrecognized|unknown|unexpected|extra (inputs|fields)|forbidden"
    r"|not permitted|not allowed|deprecated|invalid (param|argument|field)|instead|removed|no such|\bonly\b|cannot be",
)
_AT_MOST = _any(
    r"(?:at most|<=|less than or equal to|no more than|up to|cannot exceed"
    r"|maximum(?: value)?(?: allowed)?(?: is| of|:)?|between \d+ and|must be below|limit(?: is| of|:)|> ?)"
    r"\W{0,3}(\d{1,9})"
)

OPTIONAL_FIELDS = ("stream_options", "seed", "top_p", "temperature", "stop")
"""Fields that are left out where a server does not accept them."""
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
"""Names of the field that limits an answer, oldest first."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server wants to be asked, as learned from its refusals.

    Each request learns for itself, and the next one starts with the dialect that led to an answer, but for fields that
    were ``omitted_once``: only their value was refused. ``skipped_models`` are listed models that cannot chat.
    """

    omitted: frozenset[str] = frozenset()
    omitted_once: frozenset[str] = frozenset()
    limit_field: str | None = LIMIT_FIELDS[0]
    max_tokens: int | None = None
    folds_system: bool = False
    skipped_models: frozenset[str] = frozenset()

    def body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body as this server accepts it."""
        without = self.omitted | self.omitted_once | {*LIMIT_FIELDS}
        asked = {name: value for name, value in body.items() if name not in without}
        if self.limit_field:
            most = body["max_tokens"]
            asked[self.limit_field] = min(most, self.max_tokens) if self.max_tokens else most
        return asked

    def messages(self, said: Sequence[TemplateMessage]) -> list[dict[str, str]]:
        """The messages as the API wants them, with the system prompt folded in if the server has no such role."""
        if self.folds_system and said and said[0][0] is Role.SYSTEM:
            said = fold_system(said[0][1], said[1:])
        return [{"role": str(role), "content": words} for role, words in said]

    def after(self, refusal: str, param: str, body: Mapping[str, Any]) -> Dialect | None:
        """How to ask again after a refusal of ``body``; None if asking again does not help."""
        if TOO_LONG.search(refusal):
            return None
        system = any(message["role"] == "system" for message in body.get("messages", ()))
        if system and (NO_SYSTEM.search(refusal) or param.endswith("role")):
            return replace(self, folds_system=True)
        if self.limit_field and (mentions(self.limit_field, refusal) or param == self.limit_field):
            return self._after_limit(refusal)
        refused = {name for name in OPTIONAL_FIELDS if name in body and (param == name or mentions(name, refusal))}
        if refused and _UNSUPPORTED.search(refusal):
            return replace(self, omitted=self.omitted | refused)
        return replace(self, omitted_once=self.omitted_once | refused) if refused else None

    def _after_limit(self, refusal: str) -> Dialect | None:
        """With another name for the limit of an answer, a lower limit, or none."""
        other = LIMIT_FIELDS[1] if self.limit_field == LIMIT_FIELDS[0] else None
        if (other and other in refusal) or _UNSUPPORTED.search(refusal):
            return replace(self, limit_field=other)
        most = [int(found[1]) for found in _AT_MOST.finditer(refusal) if int(found[1]) > 0]
        if most and (self.max_tokens is None or min(most) < self.max_tokens):
            return replace(self, max_tokens=min(most))
        return None


def mentions(field: str, refusal: str) -> bool:
    """Whether a refusal is about this field, and not about the word."""
    written = rf"(?<![\w.-]){field}(?![\w-])"
    if field == "max_tokens":
        written += r"|max_new_tokens"
    elif field in ("stop", "seed", "temperature"):
        written = rf"['\"`\[.:( ]{field}['\"`\]):]|\b{field} (is|does|must|should|may|can|not|value)\b|^{field}\b"
        written += rf"|(for|body) {field}\b|(parameters?|arguments?|fields?|supplied):? {field}\b"
    return bool(re.search(written, refusal, re.IGNORECASE))


def remedy(refusal: str, param: str, status: int, models: Sequence[str]) -> str:
    """What the operator can do; "" if there is no better advice than the error's own."""
    if TOO_LONG.search(refusal):
        return ""
    if NO_CREDIT.search(refusal):
        return "The account that MODEL_API_KEY belongs to has no credit left."
    found = next((advice for name, advice in _ADVICE.items() if param == name or mentions(name, refusal)), "")
    if not found and status in _MODEL_STATUS and (NO_MODEL.search(refusal) or NO_CHAT.search(refusal)):
        listed = f": {', '.join(models[:12])}" if models else " at /v1/models"
        found = f"Set MODEL_NAME to one of the models that the server lists{listed}."
    if not found and NO_SYSTEM.search(refusal):
        found = "Set PROMPT_TEMPLATE to the model's family: the server's own template does not take this conversation."
    if not found and status in (404, 405):
        found = "Check MODEL_URL: it ends in /v1 on most servers. Does the server speak OpenAI's API?"
    return found


_MODEL_STATUS = (400, 403, 404, 405, 409, 422, 500, 503)
_ADVICE = {
    "max_completion_tokens": "Set MAX_NEW_TOKENS to what the server allows.",
    "max_tokens": "Set MAX_NEW_TOKENS to what the server allows.",
    "temperature": "Set TEMPERATURE to what the server allows; 1 is the default of most.",
    "top_p": "Leave TOP_P empty, or set it to what the server allows.",
}
