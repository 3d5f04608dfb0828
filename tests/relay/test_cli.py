"""The command line: what starts, what refuses to, and the tools beside it."""

import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub
from bunker_relay.cli import relay
from bunker_relay.store.store import FILE
from support.modules import modules_after
from support.wire import NOBODY, Peer, Start, note


def relay_command(*arguments: str, **options: Any) -> Result:
    """Run `bunker relay ...` to its end, in this process."""
    return CliRunner().invoke(relay, arguments, **options)


def refused(*arguments: str, environ: dict[str, str] | None = None) -> str:
    """Check that a command fails with one line on stderr and nothing else; return the line."""
    result = relay_command(*arguments, env=environ)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


def test_help_shows_every_command_without_loading_the_relay() -> None:
    """--help is quick: it needs neither the database nor the server."""
    code = (
        "import sys; from bunker_relay.cli import relay; relay(['--help'], standalone_mode=False);"
        "assert not {'sqlalchemy', 'uvicorn', 'pydantic', 'starlette'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for command in ("run", "config", "check", "import", "export", "vacuum"):
        assert command in result.stdout


def test_the_bunker_profile_does_not_load_a_database() -> None:
    """Without a database SQLAlchemy is not even imported."""
    code = "import bunker_relay.http.server"
    assert "sqlalchemy" not in modules_after(code)
    loaded = modules_after(f"{code}, bunker_relay.store.store")
    assert "sqlalchemy" in loaded
    assert "alembic" not in loaded


def test_one_line_when_it_listens(start: Start) -> None:
    """Standard output has exactly the line that harnesses wait for; standard error is silent."""
    running = start(forked=False)
    assert httpx.get(running.http_url + "/healthz").text == "ok\n"
    assert running.stop() == 0
    assert running.output.read() == ""
    assert running.log() == ""


def test_a_port_in_use(tmp_path: Path) -> None:
    """One line names the port and what to do; no data directory is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused("run", "--port", port, "--data", str(tmp_path / "data"))
    assert port in line
    assert "--port" in line
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_ours(tmp_path: Path) -> None:
    """An address of somebody else, and a name that is none."""
    for host in ("192.0.2.1", "nowhere.invalid"):
        line = refused("run", "--host", host, "--port", "0", "--data", str(tmp_path / "data"))
        assert host in line
        assert "--host" in line
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_cant_be_written(tmp_path: Path) -> None:
    """A file in its place, or a parent that is none."""
    (tmp_path / "file").write_text("mine")
    for data in (tmp_path / "file", tmp_path / "file" / "data"):
        assert "--data" in refused("run", "--port", "0", "--data", str(data))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_data_directory_in_use(start: Start) -> None:
    """Two relays never share one: the second says so."""
    running = start()
    line = refused("run", "--port", "0", "--data", str(running.data))
    assert "in use by another relay" in line


def test_a_damaged_database(tmp_path: Path) -> None:
    """It is named and left as it is."""
    (tmp_path / FILE).write_bytes(b"junk" * 1000)
    line = refused("run", "--port", "0", "--data", str(tmp_path))
    assert "database" in line
    assert (tmp_path / FILE).read_bytes() == b"junk" * 1000


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """The line says what PostgreSQL said, and not the password; a flag for it there is not."""
    file = tmp_path / "relay.toml"
    file.write_text(f'database = "postgresql://me:hunter2@/db?host={tmp_path}"')
    for command in ("run", "export", "vacuum"):
        port = ["--port", "0"] if command == "run" else []
        line = refused(command, *port, "--data", str(tmp_path / "data"), "--config", str(file))
        assert "database" in line
        assert str(tmp_path) in line
        assert "hunter2" not in line
    shown = relay_command("config", "--config", str(file)).stdout
    assert f'database = "postgresql://me:***@/db?host={tmp_path}"' in shown


def test_damaged_lists(tmp_path: Path) -> None:
    """A relay does not start without the bans that its owner set."""
    (tmp_path / "lists.json").write_text("{")
    assert "lists.json" in refused("run", "--port", "0", "--data", str(tmp_path))


def test_wrong_settings(tmp_path: Path) -> None:
    """Key, value and range, from a flag, a variable or a file; and nothing is written."""
    data = tmp_path / "data"
    environ = {"BUNKER_RELAY_LIMITS__MAX_FILTERS": "0"}
    line = refused("run", "--port", "0", "--data", str(data), environ=environ)
    assert "limits.max_filters" in line
    assert "1 to 1000" in line
    assert "signers" in refused("run", "--port", "0", "--data", str(data), "--signer", "npub1x")
    assert "--signer" in refused("run", "--port", "0", "--data", str(data), "--profile", "private")
    assert "configuration file" in refused("run", "--config", str(tmp_path / "none.toml"))
    assert not data.exists()


def test_metrics_on_a_port_in_use(tmp_path: Path) -> None:
    """The relay does not start half."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = {"BUNKER_RELAY_METRICS__PORT": str(taken.getsockname()[1])}
        data = str(tmp_path / "data")
        assert "metrics" in refused("run", "--port", "0", "--data", data, environ=environ)


def test_config_prints_what_would_be_used() -> None:
    """Flags and variables are in it."""
    npub = encode_npub(SecretKey.generate().pubkey)
    result = relay_command(
        "config", "--profile", "bunker", "--signer", npub, env={"BUNKER_RELAY_NAME": "mine"}
    )
    assert result.exit_code == 0
    assert 'profile = "bunker"' in result.stdout
    assert 'name = "mine"' in result.stdout
    assert refused("config", "--signer", "x").startswith("Error: signers")


async def test_ipv6(start: Start) -> None:
    """On ::1 the printed address has brackets, and AUTH may name it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    running = start("--host", "::1")
    assert running.url.startswith("ws://[::1]:")
    async with Peer(running.url) as peer:
        assert (await peer.authenticate(SecretKey.generate()))[0]


async def test_auth_may_name_the_public_address(start: Start) -> None:
    """With --url the relay is known by that name, and still by its own address."""
    running = start("--url", "wss://Relay.Example.com:443/")
    key = SecretKey.generate()
    async with Peer(running.url) as peer:
        challenge = await peer.hear_challenge()
        by_name = running.url.replace("127.0.0.1", "localhost")
        for url in ("wss://relay.example.com", running.url, by_name):
            tags = (("relay", url), ("challenge", challenge))
            assert (await peer.authenticate(key, tags=tags)) == (True, "")


async def test_export_and_import(start: Start, tmp_path: Path, stored: str) -> None:
    """What one relay exports another imports: same events, checked, none twice.

    Whatever database each of them has.
    """
    one, two = start(), start(data=tmp_path, config=stored)
    into = ("--data", str(two.data), "--config", str(two.data.with_suffix(".toml")))
    two.data.with_suffix(".toml").touch()
    key = SecretKey.generate()
    now = int(time.time())
    events = [note(key, f"\u2028 {number}", created_at=now - number) for number in range(30)]
    async with Peer(one.url) as peer:
        for event in events:
            await peer.publish(event)
    exported = relay_command("export", "--data", str(one.data))  # while it runs
    assert exported.exit_code == 0
    lines = exported.stdout.splitlines() if "\u2028" not in exported.stdout else None
    lines = exported.stdout.strip("\n").split("\n") if lines is None else lines
    assert [json.loads(line)["id"] for line in lines] == [event.id for event in reversed(events)]
    assert "30 events" in exported.stderr
    forged = json.dumps(events[0].to_dict() | {"content": "forged"})
    ephemeral = note(key, kind=24133).to_json().decode()
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*lines, lines[0], forged, ephemeral, "junk", ""]))
    imported = relay_command("import", *into, str(file))
    assert imported.exit_code == 0
    assert "30 saved, 1 known or superseded, 3 refused" in imported.stderr
    again = relay_command("import", *into, "-", input="\n".join(lines))
    assert "0 saved, 30 known or superseded, 0 refused" in again.stderr
    async with Peer(two.url) as peer:
        assert await peer.ids({"authors": [key.pubkey]}) == [event.id for event in events]
    assert relay_command("export", *into).stdout == exported.stdout


async def test_vacuum(start: Start, tmp_path: Path, stored: str) -> None:
    """Old events go, and the space comes back."""
    running = start(data=tmp_path, config=stored)
    where = ("--data", str(tmp_path), "--config", str(tmp_path.with_suffix(".toml")))
    tmp_path.with_suffix(".toml").touch()
    key = SecretKey.generate()
    old = int(time.time()) - 10 * 86_400
    async with Peer(running.url) as peer:
        for number in range(40):
            text = secrets.token_hex(25_000)  # PostgreSQL would press an x into nothing
            await peer.publish(note(key, text, created_at=old - number))
        kept = note(key, "fresh")
        await peer.publish(kept)
    running.stop()
    result = relay_command("vacuum", *where, "--keep-days", "5")
    assert result.exit_code == 0, result.stderr
    before, after = (int(word) for word in result.stderr.split() if word.isdecimal())
    assert before > 2_000_000
    assert after < 200_000
    running = start(data=tmp_path, config=stored)
    async with Peer(running.url) as peer:
        assert await peer.ids({}) == [kept.id]


def test_tools_without_a_database(tmp_path: Path) -> None:
    """export and vacuum make none; a wrong --data is said."""
    for command in ("export", "vacuum"):
        assert "--data" in refused(command, "--data", str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_check_our_own_relay(start: Start) -> None:
    """It says that signing works and that nothing is kept."""
    running = start()
    result = relay_command("check", running.url)
    assert result.exit_code == 0, result.stderr
    assert "ok: a signing request went through and back in" in result.stdout
    assert "ok: it keeps no signing request" in result.stdout


def test_check_says_what_is_wrong(start: Start) -> None:
    """No relay, no address, a relay for others: in words, with exit code 1."""
    gated = start("--signer", "a" * 64)
    assert "it refuses a signing request: restricted" in refused("check", gated.url)
    slow = start(config="rates.signing_per_ip = {per_second = 0.001, burst = 1}")
    assert relay_command("check", slow.url).exit_code == 0  # its answer was the only one for long
    assert "rate-limited" in refused("check", slow.url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        line = refused("check", f"ws://127.0.0.1:{port}", "--timeout", "0.3")
        assert "does not answer within 0.3 s" in line
    assert "nobody listens there" in refused("check", f"ws://127.0.0.1:{port}")
    assert "there is no such host" in refused("check", "wss://relay.invalid")
    assert "ws://" in refused("check", "https://example.com")
    assert "no relay at this address" in refused("check", gated.url + "/nowhere")
    assert "it does not speak TLS" in refused("check", gated.url.replace("ws://", "wss://"))


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"REQ": '["EOSE",NAME]', "EVENT": '["OK",NAME,true,""]'}, "delivers it to nobody"),
        ({"REQ": '["CLOSED",NAME,"auth-required: who are you?"]'}, "it demands AUTH"),
        ({"REQ": '["EOSE",NAME]', "EVENT": '["OK",NAME,false,"auth-required: x"]'}, "demands AUTH"),
        ({"REQ": "hello"}, "not a message of NIP-01"),
        ({}, "does not answer a subscription within"),
        # What would set a title, clear the screen and turn the line round is a dot each.
        (
            {"REQ": '["CLOSED",NAME,"error: \\u001b]0;x\\u0007\\u001b[2J\\u202e!"]'},
            "error: ·]0;x··[2J·!",
        ),
        ({"REQ": "CLOSE"}, "closed the connection with code 4000, saying 'go away'"),
    ],
)
def test_check_says_what_a_relay_does_wrong(replies: dict[str, str], words: str) -> None:
    """A relay that drops signing requests, wants AUTH, talks nonsense, is silent or hangs up."""

    def relay_that_is_none(client: ServerConnection) -> None:
        for text in client:
            message = json.loads(text)
            name = message[1]["id"] if message[0] == "EVENT" else message[1]
            reply = replies.get(message[0])
            if reply == "CLOSE":
                client.close(4000, "go away")
            elif reply:
                client.send(reply.replace("NAME", json.dumps(name)))

    def handler(client: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            relay_that_is_none(client)

    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            assert words in refused("check", f"ws://127.0.0.1:{port}", "--timeout", "1")
        finally:
            server.shutdown()
            thread.join()


def test_readiness(start: Start) -> None:
    """/readyz sends a real request through the relay; when it does not come through, 503."""
    running = start()
    reply = httpx.get(running.http_url + "/readyz")
    assert (reply.status_code, reply.json()["ready"]) == (200, True)
    banned = start(environ={"BUNKER_RELAY_LIMITS__MAX_CONNECTIONS": "1"})  # it needs two
    reply = httpx.get(banned.http_url + "/readyz")
    assert (reply.status_code, reply.json()["ready"]) == (503, False)
    assert reply.json()["reason"]


async def test_logs_are_json_and_name_nobody(start: Start) -> None:
    """On request each line is a JSON object; no address, key or content is in any of them."""
    config = 'log.format = "json"\nlog.level = "debug"\nlimits.max_offences = 1\nmetrics.port = 0'
    running = start(config=config)
    key = SecretKey.generate()
    async with Peer(running.url) as peer:
        await peer.publish(note(key, "content of a client"))
        await peer.subscribe("name-of-a-subscription", {"authors": [key.pubkey]})
        for _ in range(2):
            await peer.send_text("hostile text")
        await peer.close_code()
    running.stop()
    lines = [json.loads(line) for line in running.log().splitlines()]
    assert {"event", "level", "timestamp"} <= set(lines[0])
    text = running.log()
    for trace in (key.pubkey, "content of", "name-of", "hostile text", "127.0.0.1", NOBODY):
        assert trace not in text


def test_a_usual_relay_loads_neither_push_nor_the_other_commands() -> None:
    """At rest it has no cryptography for Web Push, and nothing of what other commands do."""
    loaded = modules_after(
        "from bunker_relay.cli import relay; import bunker_relay.http.server;"
        "assert relay.get_command(None, 'run').name == 'run'"
    )
    heavy = {"cryptography", "bunker_relay.cli.data", "bunker_relay.cli.moderate"}
    assert heavy & loaded == set()
