"""What ``parley doctor`` looks at for the page: whether it could be opened here, in the words of a start that fails."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Collection

from bots.findings import Finding, Level, Say
from bots.web.login import check_login
from bots.web.port import listen
from bots.web.settings import WebSettings
from core.errors import SettingsError
from core.version import how_to_install


async def examine_page(settings: WebSettings, wrong: Collection[str], say: Say, *, alone: bool) -> None:
    """Look at Gradio, at who could come in, and at the port. ``alone``: no other platform is set up."""
    if unknown := sorted(name for name in wrong if name.startswith("web_")):
        say(Finding("page", "warning", "Page", f"not checked, because {unknown[-1].upper()} is wrong"))
        return
    if importlib.util.find_spec("gradio") is None:
        say(Finding("page", "ok", "Page", "not set up: Gradio is not installed", how_to_install("web")))
        return
    try:
        check_login(settings)
    except SettingsError as error:
        # A team that has Slack may never open the page, and its image listens to the world.
        wanted = bool(settings.web_user or settings.web_password) or alone
        say(_refused("page.login", "error" if wanted else "warning", "Page, login", error))
        return
    try:
        listen(settings).close()
    except SettingsError as error:
        # As a rule it is the page itself that has the port; a host that is none of this machine's nobody will have.
        taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        say(_refused("page.port", "warning" if taken else "error", "Page, port", error))
        return
    who = "a login" if settings.web_user else "your proxy's login" if settings.web_auth_header else ""
    where = f"{settings.web_host}:{settings.web_port}"
    said = f"can be opened at {where}, {f'with {who}' if who else 'from this machine only'}"
    say(Finding("page", "ok", "Page", said))


def _refused(name: str, level: Level, tried: str, error: SettingsError) -> Finding:
    """What a start would say: what is wrong, and after a full stop what to do."""
    found, _, remedy = str(error).partition(". ")
    if not remedy:
        found, _, remedy = str(error).partition("; ")
    return Finding(name, level, tried, found, remedy[:1].upper() + remedy[1:])
