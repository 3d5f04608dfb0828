"""`bunker up` passes on who else is asked: the owner's relays, the desktop, a push service."""

import asyncio
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import bunker_signer.cli.options.asking
from bunker.cli import main
from bunker.harness import running_relay
from bunker.up.serve import Plan, _signer
from bunker_client import RemoteSigner
from bunker_core.errors import BunkerError
from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_nsec
from bunker_core.pool import RelayPool
from bunker_signer.cli.options.asking import push_services_of
from bunker_signer.cli.options.notify import hooks_of, notify_option
from bunker_signer.control.protocol import send
from support.require import need

PEOPLE = tuple(("p", f"{number:064x}") for number in range(1, 41))


async def test_the_owners_relay_is_asked_what_would_be_lost(tmp_path: Path) -> None:
    """A list that was signed elsewhere is compared with, as `bunker signer run` does."""
    owner = SecretKey(bytes(31) + b"\x05")
    nsec = tmp_path / "nsec"
    nsec.write_text(encode_nsec(bytearray(bytes(31) + b"\x05")))
    async with running_relay(tmp_path / "elsewhere") as relay:
        async with RelayPool([relay.url]) as pool:
            await pool.connected(10)
            await pool.publish(sign_event(EventTemplate(3, "", PEOPLE, 1000), owner)).answered(10)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "up", "--data", str(tmp_path / "up"), "--port", "0"),
            *("--yes", "--pair", "--no-qr", "--import-key", str(nsec), "--own-relay", relay.url),
            *("--console-push", "http://Push.lan:80/"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                uri = ""
                while not uri.startswith("bunker://"):
                    line = await process.stdout.readline()
                    assert line, "it ended too early"
                    uri = line.decode().strip()
            assert "http://push.lan" in _signer_of(process.pid)
            async with RemoteSigner.from_uri(uri) as app:
                wanted = {"kind": 3, "content": "", "tags": [list(tag) for tag in PEOPLE[:2]]}
                signing = asyncio.create_task(app.request_signature(wanted, timeout=60.0))
                async with asyncio.timeout(30):
                    while "38 fewer" not in await _waiting(tmp_path / "up" / "signer"):
                        pass  # it asks the process each time
                signing.cancel()
        finally:
            process.terminate()
            await process.communicate()


def _signer_of(pid: int) -> list[str]:
    """Return the words with which the signer under `up` was started."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_text().split("\0") for child in pids]
    return next(words for words in commands if "bunker_signer" in words)


async def _waiting(data: Path) -> str:
    return json.dumps(await asyncio.to_thread(send, data, "requests"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--console-push", "push.lan:8080"), "not an origin like"),
        (("--console-push", "http://push.lan/path"), "not an origin like"),
        (("--console-push", "http://push.lan:8080", "--console", "off"), "needs the console"),
        (("--own-relay", "https://relay.example"), "relay"),
        (("--desktop",), "--desktop needs jeepney: "),
    ],
)
def test_nothing_is_made_of_what_makes_no_sense(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is refused in words, before there is a key."""
    monkeypatch.setattr(bunker_signer.cli.options.asking, "find_spec", lambda _: None)
    data = tmp_path / "data"
    result = CliRunner().invoke(main, ["up", "--data", str(data), "--yes", *arguments])
    assert result.exit_code == 1, result.output
    assert said in result.output
    assert not list(data.rglob("*.nse"))


def test_origins_are_those_that_a_browser_names() -> None:
    """Without slash, default port and capitals, or it would never match."""
    given = ("https://Push.Example:443/", "http://10.0.0.7:8080", "https://push.example")
    assert push_services_of(given) == ("https://push.example", "http://10.0.0.7:8080")
    for wrong in ("", "push", "ftp://x", "http://", "http://u@x", "http://x?y", "http://x:99999"):
        with pytest.raises(BunkerError, match="not an origin"):
            push_services_of((wrong,))


def test_every_hook_reaches_the_signer() -> None:
    """Several stand in one variable, and are several again where it is read."""
    hooks = ("ntfy:https://ntfy.example/topic", "webhook:https://a.example/b", "command:/a b")
    empty: dict[str, Any] = {
        name: kind() if isinstance(kind, type) else ()
        for name, kind in Plan.__annotations__.items()
    }
    child = _signer(Plan(**{**empty, "notify": hooks}), "ws://127.0.0.1:7777", None, {})
    assert not any("example" in word for word in child.command)  # all users can read them there
    read: list[str] = []

    @click.command()
    @notify_option
    def signer(notify: tuple[str, ...]) -> None:
        read.extend(hooks_of(notify))

    CliRunner().invoke(signer, env=dict(child.environment), catch_exceptions=False)
    assert tuple(read) == hooks


async def test_a_desktop_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The signer looks for the session's bus, and what it finds wrong ends `up` with its words."""
    need(find_spec("jeepney"), "jeepney, of requirements/protectors.txt")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bunker", "up", "--data", str(tmp_path / "up"), "--port", "0"),
        *("--yes", "--no-pair", "--desktop"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nobody"},
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"--desktop: the session's bus can't be reached" in errors
