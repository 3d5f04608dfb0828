"""Logs: what the relay does, never who asks for what.

No content, no IP address and no key is logged. A line is one fact, on standard error.
"""

import logging
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from bunker_relay.config import Log, LogFormat, LogLevel

_LEVELS: Final = {level: getattr(logging, level.name) for level in LogLevel}


class _Lazy:
    """A structlog logger that is made when the first line is written, or `prepare` is called.

    A relay has nothing to say while it starts, and structlog is a tenth of that time.
    """

    def __init__(self) -> None:
        self._settings = Log()
        self._logger: Any = None

    def configure(self, settings: Log) -> None:
        self._settings = settings
        self._logger = None

    def prepare(self) -> Any:
        """Return the logger; from any thread."""
        logger = self._logger
        if logger is None:
            logger = self._logger = _make(self._settings)
        return logger

    def debug(self, fact: str, **details: Any) -> None:
        self._write(LogLevel.DEBUG, fact, details)

    def info(self, fact: str, **details: Any) -> None:
        self._write(LogLevel.INFO, fact, details)

    def warning(self, fact: str, **details: Any) -> None:
        self._write(LogLevel.WARNING, fact, details)

    def error(self, fact: str, **details: Any) -> None:
        self._write(LogLevel.ERROR, fact, details)

    def _write(self, level: LogLevel, fact: str, details: dict[str, Any]) -> None:
        if _LEVELS[level] >= _LEVELS[self._settings.level]:
            getattr(self.prepare(), level.value)(fact, **details)


log: Final = _Lazy()


def defect(what: str, error: BaseException) -> None:
    """Log an error that nobody expected: its kind and its place, not its text, which may quote."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    log.error(what, error=type(error).__name__, place=place)


def configure(settings: Log) -> None:
    """Set how lines look; other libraries' loggers keep silent, they would name clients."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    log.configure(settings)


def _make(settings: Log) -> Any:
    import structlog

    as_json = settings.format is LogFormat.JSON
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer()
            if as_json
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level.value),
    )
