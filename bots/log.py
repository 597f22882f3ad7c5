"""Sets up the log: lines for people on a terminal, JSON everywhere else; no secrets, and no text of messages."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

from bots.platform import WORD_START
from bots.platforms import PLATFORMS

_SECRETS = (
    # What follows is a secret: tickets in addresses of sockets, keys in headers.
    re.compile(r"((?i:ticket=|Bearer |Basic ))[^\s&'\"\\]+"),
    # Keys that say what they are: OpenAI's and those made like them, Hugging Face's.
    re.compile(WORD_START + r"(sk-|hf_)[\w-]{8,}"),
    # A JSON web token.
    re.compile(WORD_START + r"(eyJ[\w-])[\w-]{15,300}\.[\w-]{5,2000}\.[\w-]{20,}"),
)
"""The captured beginning stays in the log and tells the kind; no match crosses a space or the end of a JSON string."""
_WORD = re.compile(r"[^\s'\"\\]+")


def redact(line: str) -> str:
    """Mask everything in a log line that looks like a secret, except the beginning that tells its kind."""
    line = _WORD.sub(_without_login, line) if "://" in line and "@" in line else line
    for secret in (*_SECRETS, *(secret for platform in PLATFORMS for secret in platform.secrets)):
        line = secret.sub(r"\1…", line)
    return line


def _without_login(word: re.Match[str]) -> str:
    """Mask the user name and password of an address, also if the password has an unquoted / or @."""
    scheme, separator, rest = word[0].partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}://…@{host}" if separator and at else word[0]


def _redacted(_logger: Any, _method: str, line: Any) -> str:
    """The last processor: masks secrets in our lines and in those of libraries."""
    return redact(line)


class NoTracebacks(logging.Filter):
    """Removes tracebacks from what libraries log, because they can quote messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record in place."""
        record.msg, record.args = record.getMessage(), ()
        if record.exc_info and record.exc_info[0]:
            record.msg, record.exc_info = f"{record.msg} ({record.exc_info[0].__name__})", None
        return True


def configure_logging(level: str) -> None:
    """Log to stderr from ``level`` on; libraries from ``warning`` on, because their debug lines quote messages.

    Lines carry ``ts``, ``level``, ``event`` and, while a turn is answered, the fields of ``core.metrics.tags``.
    """
    threshold = getattr(logging, level.upper())
    people = sys.stderr.isatty()
    renderer: Any = (
        # structlog's own tracebacks show local variables, and messages are among them.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if people
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    traceback: list[Any] = [] if people else [structlog.processors.format_exc_info]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if people else "iso", utc=not people, key="ts"),
    ]
    structlog.configure(
        processors=[*shared, *traceback, renderer, _redacted],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *traceback, renderer, _redacted]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    handler.addFilter(NoTracebacks())
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
