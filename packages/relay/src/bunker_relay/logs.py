"""Logs: what the relay does, never who asks for what.

No content, no IP address and no key is logged. A line is one fact, on standard error.
"""

import logging
import sys
import traceback
from pathlib import Path

import structlog

from bunker_relay.config import Log, LogFormat

log = structlog.stdlib.get_logger("bunker_relay")


def defect(what: str, error: BaseException) -> None:
    """Log an error that nobody expected: its kind and its place, not its text, which may quote."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    log.error(what, error=type(error).__name__, place=place)


def configure(settings: Log) -> None:
    """Set up structlog; other libraries' loggers keep silent, they would name clients."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    as_json = settings.format is LogFormat.JSON
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer()
            if as_json
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level.value),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
