"""Which models there are: one, by the settings, or a table of several in a TOML file, in the order they are asked.

::

    [models.large]
    url = "http://gpu1:8000/v1"
    name = "Qwen/Qwen3-32B"
    key_env = "LARGE_KEY"

    [models.small]
    url = "http://cpu:8080"
    api = "tgi"
    template = "zephyr"
    context_tokens = 8192

Anything but address, key and name defaults to the settings of a single model.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from core.errors import GenerationError, ModelRefused, ModelUnavailable, SettingsError
from core.model_types import ModelLimits
from core.models.backends.backend import Backend
from core.models.models import Model, Models
from core.prompts import (
    AutoReloaded,
    PromptTemplate,
    TokenCounter,
    estimate_tokens,
    family_of,
    open_template,
    read_tokenizer,
    template_file,
)
from core.settings import HomePath, HttpUrl, Settings, in_plain_words

if TYPE_CHECKING:
    from core.models.backends.detect import Api

SERVER_TEMPLATE = "server"
"""The setting's value for the chat template that the server tells."""


def _check_name(name: str) -> str:
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError("a model's name here is made of letters, digits, dots, hyphens and underscores")
    return name


class ModelEntry(BaseModel):
    """One model of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl | None = None
    api: Literal["tgi", "openai", "demo"] | None = None
    name: str = ""
    key: SecretStr | None = None
    key_env: str = ""
    auth: Literal["Bearer", "Basic"] = "Bearer"
    template: str = ""
    tokenizer: HomePath | None = None
    context_tokens: Annotated[int, Field(ge=256, le=100_000_000)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


KNOWN_KEYS = f"Each model has a table [models.NAME]; known in it are {', '.join(ModelEntry.model_fields)}."
"""The remedy for a wrong table."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    models: dict[Annotated[str, AfterValidator(_check_name)], ModelEntry] = Field(min_length=1)


def counter(settings: Settings) -> TokenCounter:
    """Counts the tokens of messages when they are stored.

    Raises:
        SettingsError: TOKENIZER cannot be read.
    """
    return read_tokenizer(settings.tokenizer) if settings.tokenizer else estimate_tokens


def open_models(settings: Settings) -> Models:
    """Open all models; no server is asked yet.

    Raises:
        SettingsError: the table, a template or a tokenizer is missing or wrong.
    """
    if settings.models_file:
        table = read_table(settings.models_file)
        return Models([_open(name, entry, settings) for name, entry in table.items()])
    return Models([_open("", _single_entry(settings), settings)])


def read_table(path: Path) -> dict[str, ModelEntry]:
    """The models of a table, in its order.

    Raises:
        SettingsError: one line for each mistake; the value of a key is not repeated.
    """
    example = "Example: MODELS_FILE=models.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"MODELS_FILE: '{path}' cannot be read ({error.strerror}). {example}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise SettingsError(f"MODELS_FILE: '{path}' is not TOML: {where}. {example}") from None
    try:
        table = _Table.model_validate(data).models
    except ValidationError as error:
        lines = [
            f"MODELS_FILE: {'.'.join(map(str, found['loc'])) or path}: {in_plain_words(found)}"
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("\n".join(lines), remedy=KNOWN_KEYS) from None
    for name, entry in table.items():
        if not entry.url and entry.api != "demo":
            raise SettingsError(f'MODELS_FILE: models.{name} has no url. Example: url = "http://localhost:8000/v1"')
        if entry.key_env and not os.environ.get(entry.key_env):
            raise SettingsError(
                f"MODELS_FILE: models.{name} takes its key from {entry.key_env}, which is not set",
                remedy=f"Set {entry.key_env} in the environment.",
            )
    return table


def _single_entry(settings: Settings) -> ModelEntry:
    """The single model of the settings."""
    api = settings.model_api or (None if settings.model_url else "demo")
    return ModelEntry(
        url=settings.model_url, api=api, name=settings.model_name, key=settings.model_api_key, auth=settings.model_auth
    )


def _open(name: str, entry: ModelEntry, settings: Settings) -> Model:
    backend = _backend(entry, settings)
    wanted = entry.template or settings.prompt_template
    tokenizer = entry.tokenizer or settings.tokenizer
    counts = f"MODELS_FILE: models.{name}.tokenizer" if entry.tokenizer else "TOKENIZER"
    count: TokenCounter = read_tokenizer(tokenizer, counts) if tokenizer else estimate_tokens
    total = entry.context_tokens
    limits = ModelLimits(total, total) if total else None
    where = f"MODELS_FILE: models.{name}.template" if entry.template else "PROMPT_TEMPLATE"
    return Model(
        backend,
        _template(backend, wanted, where),
        name,
        limits,
        count,
        entry.max_new_tokens,
        url=entry.url or "",
        api=entry.api,
    )


def _backend(entry: ModelEntry, settings: Settings) -> Backend:
    if entry.api == "demo":
        from core.models.backends.demo import DemoBackend

        return DemoBackend()
    secret = os.environ.get(entry.key_env) if entry.key_env else entry.key and entry.key.get_secret_value()
    url, key = entry.url or "", secret or None
    silence = max(settings.first_token_timeout, settings.between_tokens_timeout)

    def open_as(api: Api) -> Backend:
        if api == "tgi":
            from core.models.backends.tgi import TgiBackend

            return TgiBackend(url, api_key=key, auth=entry.auth, idle_timeout=silence)
        from core.models.backends.openai import OpenAIBackend

        return OpenAIBackend(url, model=entry.name, api_key=key, auth=entry.auth, idle_timeout=silence)

    if entry.api:
        return open_as(entry.api)
    from core.models.backends.detect import DetectedBackend
    from core.models.backends.server import Server

    return DetectedBackend(Server(url, api_key=key, auth=entry.auth), open_as)


def _template(backend: Backend, wanted: str, setting: str) -> Callable[[], Awaitable[PromptTemplate]]:
    """The template that a ``setting`` wants; "" means the server's own, or plain lines where it has none."""
    if wanted and wanted.lower() != SERVER_TEMPLATE:
        reloaded = AutoReloaded(template_file(wanted), lambda: open_template(wanted, setting))

        async def get_reloaded() -> PromptTemplate:
            return reloaded.get()

        return get_reloaded
    served: list[PromptTemplate] = []

    async def get() -> PromptTemplate:
        if not served:
            template, certain = await _server_template(backend, tells=bool(wanted))
            if not certain:
                return template
            served.append(template)
        return served[0]

    return get


async def _server_template(backend: Backend, *, tells: bool) -> tuple[PromptTemplate, bool]:
    """The template for a server, and whether that is final."""
    from core.models.backends.demo import DemoBackend

    if isinstance(backend, DemoBackend):
        return open_template("falcon"), True
    from core.models.backends.detect import DetectedBackend
    from core.models.backends.openai import OpenAIBackend

    backend = await backend.known() if isinstance(backend, DetectedBackend) else backend
    if not isinstance(backend, OpenAIBackend):
        if tells:
            raise _template_not_told()
        return await _template_by_model_name(backend)
    if not tells:
        return open_template("chat"), True
    served: Any = await backend.served_template()
    if not served:
        raise _template_not_told()
    from core.prompts import HuggingFaceTemplate

    source, bos, eos = served
    return HuggingFaceTemplate(source, bos=bos, eos=eos, name="the server's chat template"), True


async def _template_by_model_name(backend: Backend) -> tuple[PromptTemplate, bool]:
    """The template of the model's family, by its name; not final while the server is away."""
    try:
        limits = await backend.limits()
    except ModelUnavailable:
        return open_template("falcon"), False
    except GenerationError:  # a proxy may let nothing through but requests for answers
        limits = None
    return open_template(family_of(limits.model if limits else "")), True


def _template_not_told() -> ModelRefused:
    return ModelRefused(
        "The model's server does not tell its chat template.",
        remedy="Leave PROMPT_TEMPLATE empty, or set it to the model's family or its chat_template.jinja.",
    )
