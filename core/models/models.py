"""The models that answer, one after another: budgets, retries, and failover before the first token.

Each has its own server, template and context, so a window is fitted and rendered anew for each that is asked. Once a
model has begun to speak, or to reason, nobody else takes over: what broke off then is said, and may be tried again.
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
from core.types import (
    Conversation,
    ConversationSettings,
    Delta,
    Done,
    GenerationRequest,
    Message,
    ModelLimits,
    Prompt,
    Streamed,
    Thinking,
)

log = structlog.get_logger()

LIMITS_TIMEOUT = 5.0
"""Seconds to wait for the server's word on its context length; the setting serves where it does not come."""
LABEL_TIMEOUT = 0.7
"""Seconds that `help` waits for the name of a model; Discord wants its answer within three."""
LIMITS_PAUSE = 10.0
"""Seconds before a server that did not tell is asked again, so that turns do not wait for it one after another."""
LIMITS_TTL = 600.0
"""Seconds after which the server is asked again: it may have been started anew with another model."""
TRIES = 3
"""Requests to one model that is busy or not ready, before its first token."""
BACKOFF = 0.5
"""Seconds before the second of them, at the most; twice as long before each further one."""
INSIDE_BEFORE_WAITING = 3
"""Answers in a row that began in the middle of reasoning, until the next is held back to see whether it does, too. What
one answer did holds back nobody else's."""
PATIENCE = 20.0
"""Seconds that are waited for a server that says when to come back; 0 if another model can answer."""


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How to answer: the system prompt, and the parameters of generation. A ``temperature`` of 0 is greedy."""

    system: str
    temperature: float
    max_new_tokens: int
    limits: ModelLimits
    """Where neither the server nor the model's own settings tell."""
    deadlines: Deadlines = Deadlines()
    top_p: float | None = None
    model: str = ""
    """The one to ask first."""

    def chosen(self, settings: ConversationSettings) -> AnswerSettings:
        """The same, but for what people chose."""
        return replace(
            self,
            system=self.system if settings.system is None else settings.system,
            temperature=self.temperature if settings.temperature is None else settings.temperature,
            max_new_tokens=settings.max_new_tokens or self.max_new_tokens,
            top_p=settings.top_p or self.top_p,
            model=settings.model or self.model,
        )


def always(template: PromptTemplate) -> Callable[[], Awaitable[PromptTemplate]]:
    """A template that need not be asked for."""

    async def get() -> PromptTemplate:
        return template

    return get


@dataclass(slots=True)
class Model:
    """One model: where it runs, how it is written to, and what is known of it.

    ``template`` may have to ask the server. ``limits`` are for where the server does not tell its own.
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
    """Its last answers, in a row, that began in the middle of reasoning."""
    _told: ModelLimits | None = None
    _told_until: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def budget(self, answer_settings: AnswerSettings) -> TokenBudget:
        """Tokens for prompt and answer: the server's word, where it can be had."""
        told = await self._ask_limits()
        most = min(answer_settings.max_new_tokens, self.max_new_tokens or answer_settings.max_new_tokens)
        return split_context(told or self.limits or answer_settings.limits, most)

    async def label(self) -> str:
        """What people call it: its name here, or as its server calls it; "" if the server does not tell."""
        told = None if self.name else await self._ask_limits()
        return self.name or (told.model if told else "")

    async def _ask_limits(self) -> ModelLimits | None:
        """The server's word on its context length, asked for from time to time; None if it can't be had."""
        async with self._asking:  # one asks for all
            if time.monotonic() > self._told_until:
                try:
                    async with asyncio.timeout(LIMITS_TIMEOUT):
                        self._told = await self.backend.limits()
                    self._told_until = time.monotonic() + LIMITS_TTL
                except (GenerationError, TimeoutError) as error:
                    log.warning("model limits unknown", model=self.name, error=str(error))
                    self._told_until = time.monotonic() + LIMITS_PAUSE
        return self._told

    @property
    def where(self) -> str:
        """What answers, and where, without a secret: ``http://gpu1:8000/v1 (OpenAI API, detected)``."""
        from yarl import URL

        detected = getattr(self.backend, "api", None)
        called = {"openai": "OpenAI API", "tgi": "TGI", "demo": "demo"}
        api = f"{called[detected]}, detected" if detected else called[self.api] if self.api else "it does not answer"
        address = URL(self.url).with_user(None).with_query(None) if self.url else ""
        return f"{address} ({api})" if address else str(api)

    def opened(self, prompt: Prompt) -> ReasoningOpened:
        """Whether the model's first token is reasoning already."""
        # Only where the template knows of it: nothing is rendered for a look that a template of lines needs not.
        if prompt.chat is None and any(map(opens_reasoning, prompt.controls)) and opens_reasoning(prompt.text()):
            return ReasoningOpened.YES
        return ReasoningOpened.MAYBE if self.began_inside >= INSIDE_BEFORE_WAITING else ReasoningOpened.NO


def one_model(backend: Backend, template: PromptTemplate, *, count: TokenCounter = estimate_tokens) -> Models:
    """A single model, for whom nobody stands in."""
    return Models([Model(backend, always(template), count=count)])


class Models:
    """All models, in the order in which they are asked."""

    def __init__(self, models: Sequence[Model]) -> None:
        assert models  # noqa: S101 - the demo, at least
        self.models = tuple(models)

    @property
    def names(self) -> list[str]:
        """What people can choose from."""
        return [model.name for model in self.models if model.name]

    async def label(self, chosen: str = "") -> str:
        """What people call the model that is asked first where ``chosen`` was chosen; "" if nobody knows."""
        model = next((one for one in self.models if one.name == chosen), self.models[0])
        try:
            async with asyncio.timeout(LABEL_TIMEOUT):
                return await model.label()
        except TimeoutError:
            return ""

    async def aclose(self) -> None:
        """Let go of connections."""
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
            # Whether one that was dead is tried is decided when it is needed, and only one turn pays for it.
            attempt = None if background else model.breaker.attempt()
            if not (background or attempt):
                continue
            # With nobody else to ask, this one is asked again; nobody waits for a background request.
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
                    _judge(attempt, error, spoke=spoke)
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

    async def idle(self, chosen: str, seconds: float) -> None:
        """Wait until nobody has asked the model of a background request for so many seconds."""
        for model in self._candidates(chosen, background=True)[:1]:
            await model.priority.idle(seconds)

    def _candidates(self, chosen: str, *, background: bool) -> list[Model]:
        """Who may be asked, in order."""
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
            stream = generate(model.backend, request, answer_settings.deadlines, opened=model.opened(prompt))
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
            wait = _pause(error, tries, patient=patient)
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


def _judge(attempt: Attempt, error: GenerationError, *, spoke: bool) -> None:
    """What an error says about its server; a timeout after the first token is no failure, but a long answer."""
    if isinstance(error, (ModelUnavailable, ModelTimeout)) and not spoke:
        attempt.failed()
    elif isinstance(error, (ModelRefused, ModelUnauthorized)) or spoke:
        attempt.succeeded()


def _pause(error: GenerationError, tries: int, *, patient: bool) -> float | None:
    """Seconds until the next try; None if there is none.

    A server that says to come back, or is busy, is tried again; one that takes no connection, if no other model can
    answer.
    """
    busy = isinstance(error, ModelOverloaded) or error.retry_after is not None
    starting = patient and isinstance(error, ModelUnavailable) and not error.connected
    if tries >= TRIES or not (busy or starting):
        return None
    jittered = random.uniform(0.5, 1) * BACKOFF * 2 ** (tries - 1)  # noqa: S311 - nothing secret
    wait = max(error.retry_after or 0.0, jittered)
    return wait if wait <= (PATIENCE if patient else 2 * BACKOFF) else None


def _learn(model: Model, fitted: Fit, item: Streamed) -> None:
    """What an answer tells about its model."""
    match item:
        case Done(usage=usage, began_inside=began_inside):
            model.began_inside = model.began_inside + 1 if began_inside else 0
            if usage.prompt_tokens:
                model.calibration.learn(estimated=fitted.tokens, real=usage.prompt_tokens)
