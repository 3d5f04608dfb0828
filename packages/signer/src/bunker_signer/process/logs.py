"""The log: ids, pubkeys, kinds and methods, never a key, a secret or a content.

All goes through the standard library's loggers, so that a program which embeds the signer decides
where it ends up; `configure` is what `bunker signer run` decides.
"""

import logging
import sys
from typing import Any, TextIO

import structlog


def get_logger(name: str) -> Any:
    """Return a logger that takes facts as keyword arguments."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def configure(*, verbose: bool, as_json: bool, target: TextIO | None = None) -> None:
    """Send the logs of this process to `target` (standard error), as text or as JSON lines."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, pad_level=False)
    )
    handler = logging.StreamHandler(target or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
