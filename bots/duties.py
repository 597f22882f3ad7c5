"""What a process has to do: which platforms it listens to, and which it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from bots.console.printing import did_you_mean
from bots.platform import Platform
from bots.platforms import PLATFORMS, configured, find_platform, platform_names, without_account
from core.errors import SettingsError
from core.settings import Settings

log = structlog.get_logger()

ALL = "all"
"""What ``parley run`` calls every platform whose token is set, and those that need none."""
WORKER = "worker"
"""What ``parley run`` calls a process that answers, and takes nothing."""
WORKER_SECTION = "More than one process"
"""The heading in README.md that explains workers."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What a process does: it takes the turns of the platforms in ``listens``, and answers those of ``answers``."""

    listens: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def platforms(self) -> tuple[str, ...]:
        """All that it opens."""
        return tuple(dict.fromkeys((*self.listens, *self.answers)))


def duties(settings: Settings, names: Sequence[str], *, worker: bool) -> Duties:
    """What ``parley run`` with these names has to do; without a name, all that is configured.

    Raises:
        SettingsError: a name is unknown, a worker would have nothing to do, or tokens are missing.
    """
    known = (*platform_names(), ALL, WORKER)
    for name in names:
        if name not in known:
            raise SettingsError(f"No platform '{name}'. {_meant(name, known)}")
    if not worker and WORKER in names:
        raise SettingsError("`worker` and `--no-worker` contradict each other. Leave one of them out")
    ready = tuple(configured(settings))
    named = {*names, *(_all_of_them(settings, ready) if ALL in names else ())}
    listens = tuple(name for name in platform_names() if name in named) or (() if WORKER in names else ready)
    reachable = (*ready, *(platform.name for platform in without_account()))
    answers = reachable if WORKER in names else listens if worker else ()
    _check_tokens(settings, listens, answers)
    return Duties(listens, tuple(dict.fromkeys((*listens, *answers))) if answers else ())


def tokens_in_words(*, only_to_answer: bool = False) -> str:
    """The tokens that platforms need, as alternatives: ``SLACK_BOT_TOKEN and SLACK_APP_TOKEN, or DISCORD_TOKEN``."""
    needed = (
        " and ".join(token.name for token in platform.tokens if not (only_to_answer and token.only_to_listen))
        for platform in PLATFORMS
        if platform.tokens
    )
    return " or ".join(needed) if only_to_answer else ", or ".join(needed)


def _meant(name: str, known: Sequence[str]) -> str:
    """What was probably meant: names that are separated by commas, or a similar one."""
    parts = [part for part in name.lower().split(",") if part]
    if len(parts) > 1 and set(parts) <= set(known):
        return f"Separate names with spaces: parley run {' '.join(parts)}"
    return did_you_mean(name, known)


def _all_of_them(settings: Settings, ready: Sequence[str]) -> list[str]:
    """What ``all`` stands for. Beside others, a platform without an account is left out where it lacks something."""
    chosen = list(ready)
    for platform in without_account():
        if ready and (missing := platform.lacks(settings)):
            log.warning("platform not opened", platform=platform.name, why=missing)
        else:
            chosen.append(platform.name)
    return chosen


def _missing(platform: Platform[Any], settings: Settings, *, listens: bool) -> list[str]:
    """The tokens that a process needs there and does not have, each with what it looks like."""
    needed = [token for token in platform.tokens if listens or not token.only_to_listen]
    unset = [token for token in needed if not getattr(settings, token.field)]
    return [f"{token.name} ({token.example})" if token.example else token.name for token in unset]


def _check_tokens(settings: Settings, listens: Sequence[str], answers: Sequence[str]) -> None:
    """Raise SettingsError, with all that is missing to take what people say, or to answer it."""
    wrong, sections = [], []
    for name in dict.fromkeys((*listens, *answers)):
        platform = find_platform(name)
        if missing := _missing(platform, settings, listens=name in listens):
            wrong.append(f"{platform.title} is not set up. Missing: {' and '.join(missing)}.")
            sections.append(platform.section)
    # A worker that shares no Redis with another process would never get a question. A DATA_DIR that is set is shared.
    alone = not settings.redis_url and "data_dir" not in settings.model_fields_set
    if not listens and alone and not configured(settings):
        only = " or ".join(f"only answers on {platform.called}" for platform in without_account())
        wrong.append(
            "This worker would have nothing to do: it shares no Redis with the processes that take messages, and no "
            "platform is set up. Missing: REDIS_URL, the same as theirs (on one machine, DATA_DIR is enough); and "
            f"{tokens_in_words(only_to_answer=True)}, unless it {only}."
        )
        sections.append(WORKER_SECTION)
    if wrong:
        where = " and ".join(f'"{section}"' for section in filter(None, sections))
        remedy = "Put the settings into .env; `parley doctor` checks them."
        raise SettingsError("\n".join(wrong), remedy=f"See {where} in README.md. {remedy}" if where else remedy)
