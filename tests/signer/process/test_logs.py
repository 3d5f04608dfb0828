"""The log: quiet in a program that embeds the signer, one line an event where it is wanted."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from bunker_signer.process.logs import configure, get_logger


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before, level


def test_nothing_is_printed_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    """Without `configure` the standard library decides, and says nothing of what is usual."""
    get_logger("bunker_signer.test").info("client paired", client="ab")
    assert capsys.readouterr() == ("", "")


def test_json_lines() -> None:
    """Facts are fields, of our lines and of other libraries' alike."""
    target = io.StringIO()
    configure(verbose=True, as_json=True, target=target)
    get_logger("bunker_signer.test").info("client paired", client="ab", key="default")
    logging.getLogger("other").warning("about %s", "x")
    ours, theirs = map(json.loads, target.getvalue().splitlines())
    assert (ours["event"], ours["client"], ours["level"]) == ("client paired", "ab", "info")
    assert (theirs["event"], theirs["logger"]) == ("about x", "other")


def test_quiet_by_default() -> None:
    """What is usual is told only when it is asked for."""
    target = io.StringIO()
    configure(verbose=False, as_json=False, target=target)
    get_logger("bunker_signer.test").info("client paired")
    get_logger("bunker_signer.test").warning("reply undelivered", client="ab")
    assert "paired" not in target.getvalue()
    assert "reply undelivered" in target.getvalue()
