"""What ``parley doctor`` finds about the model: that its server is there, answers, and reads what it is asked."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from contextlib import aclosing

from bots.addresses import is_local
from bots.assembly import answer_settings, choices
from bots.findings import CHECK_TIMEOUT, Finding, Say, ms, without_example
from core.causes import cause
from core.errors import GenerationError, ModelOverloaded, ModelTimeout, ModelUnavailable, SettingsError
from core.model_types import Done, GenerationRequest, ModelLimits, Prompt, PromptWindow
from core.models import AnswerSettings, Deadlines, Model, generate
from core.models.backends.backend import Backend
from core.models.backends.detect import DetectedBackend
from core.models.backends.openai import OpenAIBackend
from core.models.table import counter, open_models
from core.prompts import split_context
from core.settings import Settings
from core.types import Message, Role

QUESTION = "This checks that a model reads what it is asked. Please answer with one short word."
"""What a model is asked: long enough that its server's count of tokens shows whether the model read it."""
MIN_PROMPT_TOKENS = 256
"""Tokens of a prompt in which a conversation has room."""


async def examine_model(settings: Settings, wrong: Collection[str], say: Say) -> None:
    """Read all that answers are made with; ask the model's server how it is, how much it reads, and for one token."""
    if unknown := sorted({"model_api", "model_url", "model_auth", "model_api_key"} & set(wrong)):
        say(Finding("model", "warning", "Model", f"not checked, because {unknown[-1].upper()} is wrong"))
        return
    try:
        models = open_models(settings)
    except SettingsError as error:
        say(_wrong(error))
        return
    try:
        counter(settings)
        asked = answer_settings(settings)
        choices(settings, models.names)
        for model in models.models if settings.backend != "demo" else ():
            await _examine_one(settings, asked, model, say)
    except SettingsError as error:
        say(_wrong(error))
        return
    finally:
        await models.aclose()
    if settings.backend == "demo":
        host = "host.docker.internal" if os.environ.get("container") else "localhost"  # noqa: SIM112
        hint = f"To connect a model, set MODEL_URL to its server, for example MODEL_URL=http://{host}:8000/v1."
        say(Finding("model", "ok", "Model", "none, so the built-in demo answers", hint))


def _wrong(error: SettingsError) -> Finding:
    whats, examples = zip(*map(without_example, str(error).splitlines()), strict=True)
    remedies = dict.fromkeys(filter(None, (*examples, error.remedy)))
    return Finding("model", "error", "Model", "\n".join(whats), "\n".join(remedies))


async def _examine_one(settings: Settings, asked: AnswerSettings, model: Model, say: Say) -> None:
    """One model: whether it is ready, whether it answers, and how much it reads."""
    called = f"Model {model.name}" if model.name else "Model"
    health, limits, answer = await asyncio.gather(
        _healthy(model, called), _limits(model.backend), _one_token(settings, asked, model, called)
    )
    if answer.ok or health.level == "ok":
        say(health)
    say(answer)
    if name := await _name(model, called):
        say(name)
    if answer.ok or limits:
        say(_context(settings, asked, model, limits, called))
    if answer.ok and (template := await _template(asked, model, called)):
        say(template)


async def _healthy(model: Model, called: str) -> Finding:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            ready = await model.backend.healthy()
    except TimeoutError:
        ready = False
    if ready:
        return Finding("model", "ok", called, f"{model.where} is ready", ms=ms(began))
    return Finding(
        "model", "warning", called, f"{model.where} does not report at /health that it is ready", ms=ms(began)
    )


async def _name(model: Model, called: str) -> Finding | None:
    """Which of the models of a server is asked; None where there is nothing to choose, or the server does not tell."""
    from core.models.backends.detect import DetectedBackend
    from core.models.backends.openai import OpenAIBackend

    name, tried = "model.name", f"{called}, name"
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            speaks = await model.backend.known() if isinstance(model.backend, DetectedBackend) else model.backend
            listed = await speaks.models() if isinstance(speaks, OpenAIBackend) else []
    except (GenerationError, TimeoutError):
        return None
    asked = speaks.model if isinstance(speaks, OpenAIBackend) else ""
    there = ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
    if asked and listed and asked not in listed:
        return Finding(
            name, "warning", tried, f"the server has no model '{asked}'", f"Choose one that it has: {there}."
        )
    if not asked and len(listed) > 1:
        found = f"not set, so the server's first model is used: {listed[0]}"
        return Finding(name, "warning", tried, found, f"Set MODEL_NAME to one that it has: {there}.")
    return None


async def _limits(backend: Backend) -> ModelLimits | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await backend.limits()
    except (GenerationError, TimeoutError):
        return None


async def _one_token(settings: Settings, asked: AnswerSettings, model: Model, called: str) -> Finding:
    name, tried, began = "model.answer", f"{called}, test question", time.perf_counter()
    window, read = PromptWindow(asked.system, (Message(Role.USER, QUESTION),)), None
    try:
        template = await model.template()
        prompt = template.render(window)
        request = GenerationRequest(prompt, 1, settings.temperature)
        async with aclosing(
            generate(model.backend, request, Deadlines(CHECK_TIMEOUT, CHECK_TIMEOUT, CHECK_TIMEOUT))
        ) as stream:
            async for item in stream:
                if isinstance(item, Done):
                    read = item.usage.prompt_tokens
    except ModelTimeout as error:
        waits = f"{settings.first_token_timeout:g} s (FIRST_TOKEN_TIMEOUT)"
        remedy = f"Check the load of the model's server, and MODEL_URL. When people ask, Parley waits {waits}."
        return Finding(name, "error", tried, str(error), remedy, ms(began))
    except ModelOverloaded as error:
        return Finding(name, "warning", tried, str(error), error.remedy, ms(began))
    except (GenerationError, SettingsError) as error:
        remedy = _outside_the_container(model, error) or await _other_api(model, error) or error.remedy
        return Finding(name, "error", tried, str(error), remedy, ms(began))
    took = ms(began)
    words = len(f"{asked.system} {QUESTION}".split())
    if read is not None and read < words / 2:
        found = f"the server counted {read} tokens in a prompt of {words} words: the model did not read it"
        remedy = (
            "Check the chat template that the server was started with, or set PROMPT_TEMPLATE to the model's family."
        )
        return Finding(name, "error", tried, found, remedy, took)
    by = "applied by the server" if template.name == "chat" else f"{template.name} (PROMPT_TEMPLATE)"
    return Finding(name, "ok", tried, f"answered after {took:,} ms; chat template: {by}", ms=took)


def _outside_the_container(model: Model, error: Exception) -> str:
    """What to do if a container looks for the model's server inside itself; else "". Images set ``container``."""
    from yarl import URL

    url = URL(model.url)
    if not (os.environ.get("container") and isinstance(error, ModelUnavailable) and is_local(url.host or "")):  # noqa: SIM112
        return ""
    there = url.with_user(None).with_query(None).with_host("host.docker.internal")
    return (
        f"In a container, {url.host} is the container itself. For a server on the host, set MODEL_URL={there}; "
        "`docker run` then needs --add-host host.docker.internal:host-gateway, docker compose does not."
    )


async def _other_api(model: Model, error: Exception) -> str:
    """What to do if the server speaks, and not what MODEL_API says; else ""."""
    if model.api not in ("tgi", "openai") or isinstance(error, ModelUnavailable):
        return ""
    from core.models.backends.detect import detect
    from core.models.backends.server import Server

    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            speaks = await detect(Server(model.url, api_key=None, auth="Bearer"))
    except (GenerationError, TimeoutError):
        return ""
    if speaks == model.api:
        return ""
    return f"The server speaks {speaks}: set MODEL_API={speaks}, or leave MODEL_API empty to have it detected."


def _context(
    settings: Settings, asked: AnswerSettings, model: Model, reported: ModelLimits | None, called: str
) -> Finding:
    """Whether a conversation has room in what the model reads."""
    name, tried = "model.context", f"{called}, context"
    limits = reported or model.limits or ModelLimits(settings.context_tokens, settings.context_tokens)
    who = "from the server" if reported else "from CONTEXT_TOKENS, because the server does not say"
    said = f"{limits.max_total_tokens:,} tokens ({who})"
    budget = split_context(limits, settings.max_new_tokens)
    system = model.count(asked.system)
    if system > budget.prompt // 2 or budget.prompt < MIN_PROMPT_TOKENS:
        found = f"{said}, which is too small: {budget.prompt:,} are left for instructions ({system:,}) and conversation"
        remedy = "Start the model's server with a larger context, or set a smaller MAX_NEW_TOKENS or SYSTEM_PROMPT."
        return Finding(name, "error", tried, found, remedy)
    if budget.answer == settings.max_new_tokens:
        return Finding(name, "ok", tried, said)
    remedy = f"Set MAX_NEW_TOKENS={budget.answer}, or start the model's server with a larger context."
    return Finding(
        name,
        "warning",
        tried,
        f"{said}; MAX_NEW_TOKENS asks for more than half of it, so answers get at most {budget.answer:,}",
        remedy,
    )


async def _template(asked: AnswerSettings, model: Model, called: str) -> Finding | None:
    """Whether what we write down is what the server would, where it tells its own template; else None."""
    from core.prompts import HuggingFaceTemplate

    name, tried = "model.template", f"{called}, template"
    backend = await model.backend.known() if isinstance(model.backend, DetectedBackend) else model.backend
    ours = await model.template()
    if not isinstance(backend, OpenAIBackend) or ours.name == "chat":
        return None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            served = await backend.served_template()
        if not served:
            return None
        source, bos, eos = served
        theirs = HuggingFaceTemplate(source, bos=bos, eos=eos, name="the server's chat template")
        same = _written(ours.render(_talk(asked)), bos) == _written(theirs.render(_talk(asked)), bos)
    except (GenerationError, SettingsError, TimeoutError) as error:
        found = f"{ours.name} could not be compared with the server's own ({cause(error)})"
        return Finding(name, "warning", tried, found, "Check that answers end where they should.")
    if same:
        return Finding(name, "ok", tried, f"{ours.name}, the same as the server's own")
    found = f"{ours.name} differs from the server's own, with which the model was trained"
    return Finding(name, "warning", tried, found, "Set PROMPT_TEMPLATE=server, or leave it empty.")


def _talk(asked: AnswerSettings) -> PromptWindow:
    """A conversation as short as any that shows how a template writes each role."""
    said = (Message(Role.USER, "Hello"), Message(Role.ASSISTANT, "Hello!"), Message(Role.USER, "How are you?"))
    return PromptWindow(asked.system, said)


def _written(prompt: Prompt, bos: str) -> str:
    """What a model reads, without the BOS that a server may add on its own."""
    return prompt.text().removeprefix(bos).strip()
