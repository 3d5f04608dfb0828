"""cli.py: the commands, as processes of their own: output, errors and exit codes."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from _scripted import scripted_relay, scripted_signer
from _strategies import secret_key
from bunker.harness import running_relay, running_signer
from bunker_core.bunker_uri import BunkerURI

NOTE = '{"kind": 1, "content": "hello"}'


async def bunker(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Run `bunker` and return its exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bunker", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def fails(*arguments: str, stdin: str = "") -> str:
    """Run `bunker`, which has to fail with one line on standard error; return that line."""
    code, out, err = await bunker(*arguments, stdin=stdin)
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1, err
    return err


def uri(*relays: str, secret: str = "0123456789abcdef") -> str:
    return str(BunkerURI(secret_key(8).pubkey, relays, secret))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bunker://abc?relay=wss://x.example", "no public key"),
        (f"bunker://{secret_key(8).pubkey}", "names no relay"),
        (f"bunker://{secret_key(8).pubkey}?relay=http://x.example", "ws:// or wss://"),
    ],
)
async def test_a_malformed_uri_is_one_line(given: str, message: str) -> None:
    """What is wrong with the URI, and nothing of its secret."""
    assert message in await fails("sign", "--uri", given, stdin=NOTE)


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ('{"kind":', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "event is not an object"),
        ('{"kind": "1"}', "kind is not an integer"),
        ('{"content": "x"}', "'kind' is missing"),
    ],
)
async def test_what_is_no_event_is_one_line(dead_url: str, stdin: str, message: str) -> None:
    """A wrong event is refused before any relay is asked."""
    assert message in await fails("sign", "--uri", uri(dead_url), stdin=stdin)


async def test_an_unreachable_relay_is_one_line(dead_url: str) -> None:
    """Which relay, and why."""
    line = await fails("sign", "--uri", uri(dead_url), "--timeout", "0.5", stdin=NOTE)
    assert dead_url in line
    assert "connection refused" in line


async def test_a_used_secret_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    """A URI pairs one client; the second is told to ask for a new one."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        code, out, err = await bunker("sign", "--uri", signer.uri, stdin=NOTE)
        assert (code, err) == (0, "")
        assert json.loads(out)["content"] == "hello"
        line = await fails("sign", "--uri", signer.uri, stdin=NOTE)
        assert "ask for a new bunker URI" in line


async def test_an_auth_url_is_shown_on_standard_error() -> None:
    """The page where the owner has to agree; standard output has the event alone."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = lambda asked: [
            {"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"},
            signer.good(asked),
        ]
        code, out, err = await bunker("sign", "--uri", signer.uri, stdin=NOTE)
    assert code == 0
    assert json.loads(out)["pubkey"] == signer.user.pubkey
    assert "https://example.com/yes" in err
