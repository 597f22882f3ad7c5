"""The settings of the core, from the environment and ``.env``; the environment wins.

Each platform derives a class from ``Settings`` and adds its own; ``bots.platforms`` loads all of them together. Every
setting has a description and an example here; ``.env.example`` documents the same names (a test compares).
A wrong value becomes one line that names the setting, what is wrong with it, and an example; the value of a secret
is never repeated, and ``repr`` shows secrets masked.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, overload

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.errors import SettingsError
from core.policy import Policy
from core.quotas import EXAMPLE, NO_QUOTA, Quota, Quotas
from core.types import Follow, Hear

SYSTEM_PROMPT = (
    "You are Parley, the assistant of a team, in a chat that several people share. "
    "A message that begins with a name and a colon was written by the person of that name. "
    "Answer the newest message, briefly and to the point, in the language it is written in. "
    "Use Markdown. If you do not know something, say so."
)

_HTTP = ("http://", "https://")
_PLAIN = {
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text",
    "path_type": "should be a path",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "too_short": "is empty",
    "missing": "is missing",
    "extra_forbidden": "is not known here",
}
"""What is said instead of pydantic's words, which are for programmers, by its names for what is wrong."""


def _split_list(value: Any) -> Any:
    """``C1, C2`` as people write lists in an environment."""
    return frozenset(part for part in value.replace(",", " ").split()) if isinstance(value, str) else value


def _split_in_order(value: Any) -> Any:
    """The same where the order means something: each once, the first of them first."""
    return tuple(dict.fromkeys(value.replace(",", " ").split())) if isinstance(value, str) else value


def _split_pairs(value: Any) -> Any:
    """``team=Blue, city=Oslo``, as people write pairs in an environment."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if wrong := [name.strip() for name, equals, _ in pairs if not equals]:
        raise ValueError(f"should be pairs of a name and a value, and {wrong[0]} has no value")
    return {name.strip(): text.strip() for name, _, text in pairs}


def _read_quota(value: Any) -> Any:
    return Quota.parse(value) if isinstance(value, str) else value


def _in(case: Callable[[str], str]) -> BeforeValidator:
    """A word that people may write in any case: ``INFO`` is ``info``."""
    return BeforeValidator(lambda value: case(value) if isinstance(value, str) else value)


def _any_of(beginnings: Sequence[str]) -> str:
    *others, last = beginnings
    return f"{', '.join(others)} or {last}" if others else last


def _check_url(value: str) -> str:
    if not value.startswith(_HTTP):
        raise ValueError(f"should begin with {_any_of(_HTTP)}")
    return value


def _at_home(value: Path) -> Path:
    """``~/parley`` as a shell would read it: in ``.env`` there is no shell to do it."""
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError("begins with a home folder that is not known") from None


def check_prefix(*prefixes: str) -> AfterValidator:
    """A secret that begins with one of ``prefixes``."""

    def check(secret: SecretStr) -> SecretStr:
        if not secret.get_secret_value().startswith(prefixes):
            raise ValueError(f"should begin with {_any_of(prefixes)}")
        return secret

    return AfterValidator(check)


Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_split_list)]
OrderedNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_in_order)]
Group = Annotated[Literal["anyone", "admins"], _in(str.lower)]
Variables = Annotated[dict[str, str], NoDecode, BeforeValidator(_split_pairs)]
HttpUrl = Annotated[str, AfterValidator(_check_url)]
Limits = Annotated[Quota, NoDecode, BeforeValidator(_read_quota)]
HomePath = Annotated[Path, AfterValidator(_at_home)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    """All that can be set for the core. ``.env.example`` explains each setting."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
        frozen=True,
    )

    # Redis
    redis_url: Annotated[SecretStr, check_prefix("redis://", "rediss://", "unix://")] | None = Field(
        None, examples=["redis://:password@localhost:6379/0"]
    )
    data_dir: HomePath = Field(Path(".parley"), examples=["/var/lib/parley"])
    retention_days: float = Field(30, gt=0, le=3650, examples=["30"])

    # The model
    model_api: Annotated[Literal["tgi", "openai", "demo"], _in(str.lower)] | None = Field(None, examples=["openai"])
    model_url: HttpUrl | None = Field(
        None,
        validation_alias=AliasChoices("model_url", "hf_api_falcom_base"),
        examples=["http://localhost:8080"],
    )
    model_api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("model_api_key", "hf_api_key"), examples=["hf_abc"]
    )
    model_auth: Annotated[Literal["Bearer", "Basic"], _in(str.capitalize)] = Field("Bearer", examples=["Basic"])
    model_name: str = Field("", examples=["Qwen/Qwen3-8B"])
    models_file: HomePath | None = Field(None, examples=["models.toml"])
    prompt_template: str = Field("", examples=["chatml"])
    tokenizer: HomePath | None = Field(None, examples=["models/falcon/tokenizer.json"])
    system_prompt: str = Field(SYSTEM_PROMPT, examples=["You are a terse assistant."])
    personas: HomePath | None = Field(None, examples=["personas"])
    persona: str = Field("", examples=["support"])
    persona_variables: Variables = Field({}, examples=["team=Blue, city=Oslo"])
    summary: bool = Field(True, examples=["false"])
    temperature: float = Field(0.7, ge=0, le=2, examples=["0.7"])
    top_p: float | None = Field(None, gt=0, le=1, examples=["0.9"])
    max_new_tokens: int = Field(1024, ge=1, le=1_000_000, examples=["1024"])
    context_tokens: int = Field(4096, ge=256, le=100_000_000, examples=["8192"])
    first_token_timeout: Seconds = Field(60, examples=["60"])
    between_tokens_timeout: Seconds = Field(30, examples=["30"])
    total_timeout: Seconds = Field(600, examples=["600"])

    # Delivery
    first_words_ms: int = Field(120, ge=0, le=60_000, examples=["120"])

    # What is heard
    hear: Annotated[Hear, _in(str.lower)] = Field("thread", examples=["room"])

    # Turns
    worker_slots: int = Field(64, ge=1, le=10_000, examples=["64"])
    follow: Annotated[Follow, _in(str.lower)] = Field("auto", examples=["always"])
    follow_up: Annotated[Literal["queue", "merge", "interrupt"], _in(str.lower)] = Field("queue", examples=["merge"])
    grace: float = Field(25, ge=0, le=3600, examples=["25"])
    lease_seconds: float = Field(15, ge=3, le=600, examples=["15"])

    # Who may ask how much
    quota_user: Limits = Field(NO_QUOTA, examples=[EXAMPLE])
    quota_channel: Limits = Field(NO_QUOTA, examples=["turns=60/min queued=20"])
    quota_workspace: Limits = Field(NO_QUOTA, examples=["tokens=5000000/day"])
    admins: OrderedNames = Field((), examples=["U0123,U0456"])
    forget_by: Group = Field("anyone", examples=["admins"])
    settings_by: Group = Field("anyone", examples=["admins"])
    contact: str = Field("", max_length=100, examples=["@ops"])

    # The process
    http_port: int | None = Field(None, ge=0, le=65_535, examples=["9090"])
    http_host: str = Field("127.0.0.1", examples=["0.0.0.0"])  # noqa: S104 - an example for containers
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _in(str.lower)] = Field(
        "info", examples=["debug"]
    )

    @model_validator(mode="after")
    def _model_has_an_address(self) -> Self:
        if self.model_api in ("tgi", "openai") and not self.model_url and not self.models_file:
            raise ValueError(
                f"MODEL_URL: is needed with MODEL_API={self.model_api}. Example: MODEL_URL=http://localhost:8080"
            )
        return self

    @model_validator(mode="after")
    def _admins_are_named(self) -> Self:
        limited = [name for name in ("forget_by", "settings_by") if getattr(self, name) == "admins"]
        if limited and not self.admins:
            raise ValueError(f"ADMINS: is needed with {limited[0].upper()}=admins. Example: ADMINS=U0123,U0456")
        return self

    @property
    def backend(self) -> Literal["tgi", "openai", "demo", "several", "detected"]:
        """Which backend answers: as MODEL_API says, else what the server speaks if MODEL_URL is set, else the demo."""
        if self.models_file:
            return "several"
        return self.model_api or ("detected" if self.model_url else "demo")

    @property
    def quotas(self) -> Quotas:
        """Who may ask how much."""
        return Quotas(self.quota_user, self.quota_channel, self.quota_workspace, frozenset(self.admins))

    @property
    def policy(self) -> Policy:
        """Who can give which command."""
        return Policy(frozenset(self.admins), self.forget_by, self.settings_by, self.retention_seconds, self.hear)

    def contact_among(self, ids: re.Pattern[str]) -> str:
        """Whom people on a platform with such ids should ask: CONTACT, or the first admin there; "" if nobody."""
        return self.contact or next((admin for admin in self.admins if ids.fullmatch(admin)), "")

    @property
    def retention_seconds(self) -> int:
        """How long a conversation is kept after it was last added to."""
        return int(self.retention_days * 86_400)


@overload
def load_settings(**values: Any) -> Settings: ...


@overload
def load_settings(model: type[S], /, **values: Any) -> S: ...


def load_settings(model: type[Any] = Settings, /, **values: Any) -> Any:
    """Read the environment and ``.env``; ``values`` go before both.

    Args:
        model: ``Settings``, or a class derived from it that has the settings of a platform, too.
        values: Settings by their fields.

    Raises:
        SettingsError: with one line for each wrong setting.
    """
    # A line of .env that is none is said in our own words: see bots.doctor.envfile.
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)
    try:
        return model(**values)
    except ValidationError as error:
        lines = [_explain(model, details) for details in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join(lines)) from None
    except UnicodeDecodeError:
        raise SettingsError(".env: is not UTF-8 text. Save it again as UTF-8") from None
    except OSError as error:
        raise SettingsError(f".env: cannot be read ({error.strerror}). Make it readable, or take it away") from None


def in_plain_words(details: ErrorDetails) -> str:
    """What is wrong with a value."""
    return _PLAIN.get(details["type"]) or details["msg"].removeprefix("Value error, ").removeprefix("Input ")


def names_of(model: type[Settings], field: str) -> list[str]:
    """The names of a setting in the environment, in capitals: its own, or its aliases."""
    alias = model.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [field]
    return [str(name).upper() for name in choices]


def _explain(model: type[Settings], details: ErrorDetails) -> str:
    """One line: the setting, what is wrong, an example."""
    said = in_plain_words(details)
    if not details["loc"]:
        return said
    field = str(details["loc"][0]).lower()
    name = _as_written(model, field)
    return f"{name}: {said}. Example: {name}={(model.model_fields[field].examples or [''])[0]}"


def _as_written(model: type[Settings], field: str) -> str:
    """The name under which a person set a field: its own, or an alias."""
    written = {name.upper() for name, value in {**dotenv_values(".env"), **os.environ}.items() if value}
    return next((name for name in names_of(model, field) if name in written), field.upper())
