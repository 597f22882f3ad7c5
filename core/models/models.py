"""The models that answer: token budgets, retries, and failover before the first token.

Each model has its own server, template and context, so the window is fitted and rendered for each one. Once a model
has begun to write, or to reason, no other takes over: an answer that breaks off then is reported, and can be retried.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from core.errors import (
    GenerationError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
    PromptTooLong,
)
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Prompt, Streamed, Thinking
from core.models.backends.backend import Backend
from core.models.breaker import Attempt, Breaker
from core.models.generation import Deadlines, generate
from core.models.priority import Priority
from core.models.reasoning import ReasoningOpened
from core.models.reasoning_formats import opens_reasoning
from core.prompts import (
    SHARE_KEPT,
    Calibration,
    Fit,
    GuardMarkRemover,
    PromptTemplate,
    TokenBudget,
    TokenCounter,
    estimate_tokens,
    fit,
    split_context,
)
from core.types import Conversation, ConversationSettings, Message

log = structlog.get_logger()

LIMITS_TIMEOUT = 5.0
"""Seconds to wait for a server to tell its context length; after that the setting is used."""
LABEL_TIMEOUT = 0.7
"""Seconds that `help` waits for the name of a model; Discord wants its answer within three."""
LIMITS_RETRY_SECONDS = 10.0
"""Seconds before a server that did not tell is asked again, so that not every turn waits for it."""
LIMITS_TTL = 600.0
"""Seconds after which the server is asked again: it may have been restarted with another model."""
MAX_ATTEMPTS = 3
"""Requests to one model that is busy or not ready, before its first token."""
BACKOFF_SECONDS = 0.5
"""Seconds before the second request, at the most; the pause doubles before each further one."""
INSIDE_BEFORE_WITHHOLDING = 3
"""So many answers in a row must begin in the middle of reasoning before the next one is withheld until that is clear. A
single answer withholds nobody else's."""
MAX_RETRY_AFTER = 20.0
"""Longest retry-after, in seconds, that is waited out where no other model can answer."""


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How to answer: the system prompt, and the parameters of generation. A ``temperature`` of 0 is greedy."""

    system: str
    temperature: float
    max_new_tokens: int
    limits: ModelLimits
    """The context length where neither the server nor the model's entry in the table tells one."""
    deadlines: Deadlines = Deadlines()
    top_p: float | None = None
    model: str = ""
    """Name of the model to ask first; "" for the first of all."""

    def with_choices(self, settings: ConversationSettings) -> AnswerSettings:
        """These settings with what people chose for their conversation."""
        return replace(
            self,
            system=self.system if settings.system is None else settings.system,
            temperature=self.temperature if settings.temperature is None else settings.temperature,
            max_new_tokens=settings.max_new_tokens or self.max_new_tokens,
            top_p=settings.top_p or self.top_p,
            model=settings.model or self.model,
        )


def fixed_template(template: PromptTemplate) -> Callable[[], Awaitable[PromptTemplate]]:
    """A template that is known without asking the server, as ``Model.template`` wants it."""

    async def get() -> PromptTemplate:
        return template

    return get


@dataclass(slots=True)
class Model:
    """One model: its server, its prompt template, and what is known about both.

    ``template`` may have to ask the server. ``limits`` apply where the server does not tell its own.
    """

    backend: Backend
    template: Callable[[], Awaitable[PromptTemplate]]
    name: str = ""
    limits: ModelLimits | None = None
    count: TokenCounter = estimate_tokens
    max_new_tokens: int | None = None
    url: str = ""
    api: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    breaker: Breaker = field(default_factory=Breaker)
    priority: Priority = field(default_factory=Priority)
    began_inside: int = 0
    """How many of its last answers, in a row, began in the middle of reasoning."""
    _served_limits: ModelLimits | None = None
    _ask_limits_at: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def budget(self, answer_settings: AnswerSettings) -> TokenBudget:
        """Tokens for prompt and answer, by what the server tells where it does."""
        served = await self._ask_limits()
        most = min(answer_settings.max_new_tokens, self.max_new_tokens or answer_settings.max_new_tokens)
        return split_context(served or self.limits or answer_settings.limits, most)

    async def label(self) -> str:
        """Its name for people: the one in the table, else the server's; "" if the server does not tell."""
        served = None if self.name else await self._ask_limits()
        return self.name or (served.model if served else "")

    async def _ask_limits(self) -> ModelLimits | None:
        """The context length as the server tells it, asked again every ``LIMITS_TTL``; None if it can't be had."""
        async with self._asking:  # one request for all turns
            if time.monotonic() > self._ask_limits_at:
                try:
                    async with asyncio.timeout(LIMITS_TIMEOUT):
                        self._served_limits = await self.backend.limits()
                    self._ask_limits_at = time.monotonic() + LIMITS_TTL
                except (GenerationError, TimeoutError) as error:
                    log.warning("model limits unknown", model=self.name, error=str(error))
                    self._ask_limits_at = time.monotonic() + LIMITS_RETRY_SECONDS
        return self._served_limits

    @property
    def where(self) -> str:
        """What answers, and where, without a secret: ``http://gpu1:8000/v1 (OpenAI API, detected)``."""
        from yarl import URL

        detected = getattr(self.backend, "api", None)
        called = {"openai": "OpenAI API", "tgi": "TGI", "demo": "demo"}
        api = f"{called[detected]}, detected" if detected else called[self.api] if self.api else "it does not answer"
        address = URL(self.url).with_user(None).with_query(None) if self.url else ""
        return f"{address} ({api})" if address else str(api)

    def reasoning_opened(self, prompt: Prompt) -> ReasoningOpened:
        """Whether the model's first token is reasoning already."""
        # Only where the template knows of it: nothing is rendered for a look that a template of lines needs not.
        if prompt.chat is None and any(map(opens_reasoning, prompt.control_tokens)) and opens_reasoning(prompt.text()):
            return ReasoningOpened.YES
        return ReasoningOpened.MAYBE if self.began_inside >= INSIDE_BEFORE_WITHHOLDING else ReasoningOpened.NO


def single_model(backend: Backend, template: PromptTemplate, *, count: TokenCounter = estimate_tokens) -> Models:
    """A single model without a standby."""
    return Models([Model(backend, fixed_template(template), count=count)])


class Models:
    """All models, in the order in which they are asked.

    Example::

        models = open_models(settings)
        async with aclosing(models.ask(conversation, question, answer_settings)) as stream:
            async for event in stream:
                ...  # Fit, Delta, Thinking, and Done at the end
    """

    def __init__(self, models: Sequence[Model]) -> None:
        assert models  # noqa: S101 - the demo, at least
        self.models = tuple(models)

    @property
    def names(self) -> list[str]:
        """The names that people can choose from."""
        return [model.name for model in self.models if model.name]

    def find(self, chosen: str | None) -> Model:
        """The model of that name; the first where there is none."""
        return next((model for model in self.models if model.name == chosen), self.models[0])

    async def label(self, chosen: str = "") -> str:
        """The name of the model that is asked first, where people chose ``chosen``; "" if it is not known in time."""
        try:
            async with asyncio.timeout(LABEL_TIMEOUT):
                return await self.find(chosen).label()
        except TimeoutError:
            return ""

    async def aclose(self) -> None:
        """Close all connections."""
        for model in self.models:
            await model.backend.aclose()

    async def ask(
        self,
        conversation: Conversation,
        question: Message,
        answer_settings: AnswerSettings,
        *,
        background: bool = False,
    ) -> AsyncGenerator[Fit | Streamed, None]:
        """Stream one answer: a ``Fit`` each time that the window is fitted for a model, then what the model streams.

        Marks of ``core.prompts.guard`` that a model quotes are taken out: people copy code, and see no mark in it.

        Iterate under ``contextlib.aclosing``. Background requests skip servers whose
        breaker is not closed, leave breakers alone, and end when somebody asks the same model.

        Raises:
            GenerationError: of the first model that was asked, if none answered; of the one that broke off.
            Preempted: a background request, because somebody asked.
        """
        first: GenerationError | None = None
        candidates = self._candidates(answer_settings.model, background=background)
        for model in candidates:
            # A dead server's trial is spent only when that model is needed, and by one turn.
            attempt = None if background else model.breaker.attempt()
            if not (background or attempt):
                continue
            # The last candidate gets more patience; nobody waits for a background request.
            spoke, patient = False, model is candidates[-1] and not background
            try:
                async with (
                    model.priority.use(background=background),
                    aclosing(_ask(model, conversation, question, answer_settings, patient=patient)) as stream,
                ):
                    async for item in stream:
                        spoke = spoke or isinstance(item, (Delta, Thinking))
                        yield item
            except GenerationError as error:
                if attempt:
                    _tell_breaker(attempt, error, spoke=spoke)
                if spoke:
                    raise
                first = first or error
                log.warning("model did not answer", model=model.name, error=str(error), kind=type(error).__name__)
            else:
                if attempt:
                    attempt.succeeded()
                return
        raise first or ModelUnavailable(
            "No model's server has answered lately, so none is asked again yet.",
            remedy="`parley doctor` looks for the cause. They are tried again after a few seconds.",
        )

    async def wait_idle(self, chosen: str, seconds: float) -> None:
        """Wait until the model that would get a background request had no question for so many seconds."""
        for model in self._candidates(chosen, background=True)[:1]:
            await model.priority.wait_idle(seconds)

    def _candidates(self, chosen: str, *, background: bool) -> list[Model]:
        """The models that can be asked, in order."""
        order = sorted(self.models, key=lambda model: model.name != chosen) if chosen else self.models
        return [model for model in order if (model.breaker.closed if background else not model.breaker.open)]


async def _ask(
    model: Model, conversation: Conversation, question: Message, answer_settings: AnswerSettings, *, patient: bool
) -> AsyncGenerator[Fit | Streamed, None]:
    """Ask one model, again if it is busy, and with a smaller window if it refuses the prompt as too long."""
    budget = await model.budget(answer_settings)
    tries, cut = 0, False
    while True:
        room = replace(budget, prompt=model.calibration.room(budget.prompt))
        fitted = fit(conversation, question, answer_settings.system, room, count=model.count)
        yield fitted
        spoke, marks = False, GuardMarkRemover()
        try:
            prompt = (await model.template()).render(fitted.window)
            request = GenerationRequest(prompt, budget.answer, answer_settings.temperature, answer_settings.top_p)
            stream = generate(model.backend, request, answer_settings.deadlines, opened=model.reasoning_opened(prompt))
            async with aclosing(stream):
                async for item in stream:
                    spoke = spoke or isinstance(item, (Delta, Thinking))
                    _learn(model, fitted, item)
                    for shown in _without_marks(item, marks):
                        yield shown
        except PromptTooLong:
            if spoke or cut:
                raise
            log.warning("prompt too long; shortening it", model=model.name)
            budget, cut = replace(budget, prompt=int(budget.prompt * SHARE_KEPT)), True
        except (ModelOverloaded, ModelUnavailable) as error:
            tries += 1
            wait = _retry_wait(error, tries, patient=patient)
            if spoke or wait is None:
                raise
            log.info("model request failed; retrying", model=model.name, error=str(error), seconds=round(wait, 2))
            await asyncio.sleep(wait)
        else:
            return


def _without_marks(item: Streamed, marks: GuardMarkRemover) -> Iterator[Streamed]:
    """What a model streams, without the marks of ``core.prompts.guard`` that it quotes."""
    match item:
        case Delta(text):
            yield Delta(marks.feed(text))
            return
        case Thinking(retract=True):
            marks.restart()
        case Done() if rest := marks.flush():
            yield Delta(rest)
    yield item


def _tell_breaker(attempt: Attempt, error: GenerationError, *, spoke: bool) -> None:
    """Report an error to its server's breaker; a timeout after the first token is a long answer, and no failure."""
    if isinstance(error, (ModelUnavailable, ModelTimeout)) and not spoke:
        attempt.failed()
    elif isinstance(error, (ModelRefused, ModelUnauthorized)) or spoke:
        attempt.succeeded()


def _retry_wait(error: GenerationError, tries: int, *, patient: bool) -> float | None:
    """Seconds until the next attempt; None for no further attempt.

    A server that is busy, or says when to retry, gets another one; a server that refuses connections only if no other
    model can answer.
    """
    busy = isinstance(error, ModelOverloaded) or error.retry_after is not None
    starting = patient and isinstance(error, ModelUnavailable) and not error.connected
    if tries >= MAX_ATTEMPTS or not (busy or starting):
        return None
    jittered = random.uniform(0.5, 1) * BACKOFF_SECONDS * 2 ** (tries - 1)  # noqa: S311 - nothing secret
    wait = max(error.retry_after or 0.0, jittered)
    return wait if wait <= (MAX_RETRY_AFTER if patient else 2 * BACKOFF_SECONDS) else None


def _learn(model: Model, fitted: Fit, item: Streamed) -> None:
    """Learn from the end of an answer: its real token count, and whether it began in the middle of reasoning."""
    match item:
        case Done(usage=usage, began_inside=began_inside):
            model.began_inside = model.began_inside + 1 if began_inside else 0
            if usage.prompt_tokens:
                model.calibration.learn(estimated=fitted.tokens, real=usage.prompt_tokens)
