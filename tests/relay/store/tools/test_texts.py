"""An import takes what can be taken, and says why not."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bunker_core.event import VerifiedEvent
from bunker_core.keys import SecretKey
from bunker_relay.cli import relay
from support.wire import note

KEY = SecretKey.generate()
EVENTS = [note(KEY, f"für {number} \u2028 🦊", created_at=1_000 + number) for number in range(7)]
LINES = b"\n".join(event.to_json() for event in EVENTS)
ARRAY = json.dumps([event.to_dict() for event in EVENTS], indent=2).encode()
MESSAGES = b"\r\n".join(
    json.dumps(["EVENT", *(["sub"] if number % 2 else []), event.to_dict()]).encode()
    for number, event in enumerate(EVENTS)
)


def imported(folder: Path, content: bytes) -> Result:
    """Import a file of `content` into an empty relay."""
    file = folder / "events"
    file.write_bytes(content)
    return CliRunner().invoke(relay, ["import", "--data", str(folder / "data"), str(file)])


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        b"\xef\xbb\xbf" + LINES,
        LINES.decode().encode("utf-16"),
        b"\xfe\xff" + LINES.decode().encode("utf-16-be"),
        gzip.compress(LINES),
        gzip.compress(b"\xef\xbb\xbf" + ARRAY),
        ARRAY,
        json.dumps([event.to_dict() for event in EVENTS], separators=(",", ":")).encode(),
        MESSAGES,
        b"\n\n" + LINES.replace(b"\n", b"\r\n\r\n") + b"\n",
    ],
    ids=["lines", "mark", "utf-16", "utf-16-be", "gzip", "gzip of an array", "array",
         "array in one line", "messages", "blank lines"],
)  # fmt: skip
def test_whatever_holds_events_is_read(tmp_path: Path, content: bytes) -> None:
    """All seven, and nothing is refused."""
    done = imported(tmp_path, content)
    assert done.exit_code == 0, done.output
    assert "7 saved, 0 known or superseded, 0 refused" in done.stderr
    again = imported(tmp_path, content)
    assert (again.exit_code, "0 saved, 7 known" in again.stderr) == (0, True)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"junk\n" * 9, b"\x00\xff" * 1_000, b"[]", b"[[[[", b"{}", b"[1,2]", b'["NOTICE","x"]',
        b"[" * 100_000, gzip.compress(LINES)[:40], b"\xff\xfe\x00\xd8\x00", b'[{"id":1},', b"null",
    ],
    ids=["nothing", "junk", "bytes", "empty array", "brackets", "object", "numbers", "notice",
         "deep", "half an archive", "half a surrogate", "half an array", "null"],
)  # fmt: skip
def test_what_holds_none_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Exit code 1 and a reason, never a traceback."""
    done = imported(tmp_path, content)
    assert done.exit_code == 1
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.stderr.strip()


def _large() -> VerifiedEvent:
    return note(KEY, "x" * 300_000)


def test_the_first_reasons_are_told_with_their_lines(tmp_path: Path) -> None:
    """What is good is saved all the same; the limits that clients have hold."""
    forged = EVENTS[1].to_dict() | {"content": "forged"}
    bad = ["junk", json.dumps(forged), "", note(KEY, kind=20001).to_json().decode()]
    lines = [EVENTS[0].to_json().decode(), *bad, _large().to_json().decode(), *["x"] * 4]
    done = imported(tmp_path, "\n".join(lines).encode())
    assert done.exit_code == 0
    said = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in said if line.startswith("line ")] == [
        *("line 2", "line 3", "line 5", "line 6", "line 7")
    ]
    assert "ephemeral" in done.stderr
    assert "over limits.max_message_bytes" in done.stderr
    assert "and 3 more" in said
    assert "1 saved, 0 known or superseded, 8 refused" in said[-1]


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A line of a gigabyte, packed into a megabyte, is one line that is too large."""
    import tracemalloc

    content = gzip.compress(b" " * 10 + b"x" * 200_000_000, 1) + gzip.compress(b"\n" + LINES)
    tracemalloc.start()
    done = imported(tmp_path, content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "line 1: too large" in done.stderr
    assert "7 saved" in done.stderr
    assert peak < 120_000_000
