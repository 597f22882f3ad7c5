"""The page in the browser, as the rest of Parley knows it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bots.addresses import is_local
from bots.platform import OpenPlatform, Platform, Start
from bots.web.settings import PERSON, WebSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bots.findings import Say
    from core.store import StoredKey


def _open(start: Start[WebSettings]) -> AbstractAsyncContextManager[OpenPlatform | None]:
    from bots.web.platform import open_web

    return open_web(start)


async def _examine(settings: WebSettings, wrong: Collection[str], say: Say, alone: bool) -> None:
    from bots.web.checks import examine_page

    await examine_page(settings, wrong, say, alone=alone)


async def _forget_person(redis: Redis, settings: WebSettings, person: str) -> None:
    from bots.web.people import People

    await People(redis, retention=settings.retention_seconds).forget(person)


def _installed() -> bool:
    return find_spec("gradio") is not None


def _lacks(settings: WebSettings) -> str:
    if not _installed():
        return "Gradio is not installed"
    login = settings.web_user or settings.web_password or settings.web_auth_header
    if login or is_local(settings.web_host):
        return ""
    return "it has no login: set WEB_USER and WEB_PASSWORD, or WEB_AUTH_HEADER"


def _stored_keys() -> tuple[StoredKey, ...]:
    from bots.web.keys import STORED

    return STORED


PLATFORM = Platform(
    name="web",
    called="the page",
    settings=WebSettings,
    open=_open,
    examine=_examine,
    person=PERSON,
    installed=_installed,
    lacks=_lacks,
    in_browser=True,
    stored_keys=_stored_keys,
    forget_person=_forget_person,
)
