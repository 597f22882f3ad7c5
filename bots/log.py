"""Log lines with fields: for people on a terminal, as JSON everywhere else. Never a secret, never what anybody said."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

_SECRET = re.compile(r"(ticket=|xox[a-z]-|xapp-|Bearer |Basic )[^\s&'\"]+", re.IGNORECASE)


class Redacted(logging.Filter):
    """What libraries log, without secrets: addresses of sockets carry tickets, and tracebacks carry addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record in place."""
        record.msg, record.args = _SECRET.sub(r"\1…", record.getMessage()), ()
        if record.exc_info and record.exc_info[0]:
            record.msg, record.exc_info = f"{record.msg} ({record.exc_info[0].__name__})", None
        return True


def configure_logging(level: str) -> None:
    """Log to stderr from ``level`` on; libraries only from ``warning`` on, since their debug lines quote messages."""
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
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if people else "iso", utc=not people, key="ts"),
    ]
    structlog.configure(
        processors=[*shared, *traceback, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *traceback, renderer]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    handler.addFilter(Redacted())
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
