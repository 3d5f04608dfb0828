"""`bunker signer`: the commands of the owner, on a signer that runs as a process of its own."""

import asyncio
import errno
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import segno
from click.testing import CliRunner, Result
from PIL import Image

from bunker.harness import RunningSigner, running_signer
from bunker_core.errors import BunkerError
from bunker_core.event import parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI, parse_bunker_uri
from bunker_core.nips.nip19 import encode_npub
from bunker_core.nips.nip46 import ClientMetadata, Permission
from bunker_signer.cli import signer as command
from bunker_signer.cli.options import database_of
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from signer.request.wire._wire import Wire, wire

NOTE = json.dumps({"kind": 1, "content": "hello", "created_at": 1_700_000_000})


def note(content: str, kind: int = 1) -> str:
    return json.dumps({"kind": kind, "content": content, "created_at": 1_700_000_000})


def invoke(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(command, [str(item) for item in arguments], input=stdin)


async def run(*arguments: object, stdin: str | None = None) -> str:
    """Run a command that succeeds; return what it prints. Not on the loop's thread."""
    result = await asyncio.to_thread(invoke, *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.output


async def fail(*arguments: object) -> str:
    """Run a command that fails; return its one line."""
    result = await asyncio.to_thread(invoke, *arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.output.strip().splitlines()
    return line


@asynccontextmanager
async def paired(
    relay: str, data: Path, *arguments: str, allow: str = ""
) -> AsyncIterator[tuple[RunningSigner, Wire]]:
    """Run a signer that asks, and a client called App."""
    async with running_signer(
        data, [relay], allow=allow, arguments=["--ask", *arguments]
    ) as process:
        uri = parse_bunker_uri(process.uri)
        async with wire(relay, uri.remote_signer_pubkey) as client:
            answer = await client.ask("connect", "", uri.secret, "", '{"name":"App"}')
            assert answer.json["result"] == "ack"
            yield process, client


async def waiting(data: Path) -> list[dict[str, Any]]:
    """Return the open requests, once there are any."""
    async with asyncio.timeout(15):
        while not (lines := (await run("requests", "--data", data, "--json")).splitlines()):
            pass
    return [json.loads(line) for line in lines]


async def test_approve_and_deny_from_another_shell(relay_url: str, data: Path) -> None:
    """A request waits, is listed with its content, and is answered by its id."""
    async with paired(relay_url, data) as (_, client):
        await client.send("sign_event", NOTE, rid="1")
        (asked,) = await waiting(data)
        assert (asked["permission"], asked["name"]) == ("sign_event:1", "App")
        assert "hello" in await run("requests", "--data", data)
        assert "1 request waits for an answer" in await run("status", "--data", data)
        said = await run("approve", "--data", data, asked["id"])
        assert said == "approved: sign_event:1\n"
        event = verify(parse_event_json((await client.receive()).json["result"]))
        assert event.content == "hello"
        assert "no open request" in await fail("approve", "--data", data, asked["id"])
        await client.send("sign_event", NOTE, rid="2")
        (asked,) = await waiting(data)
        await run("deny", "--data", data, asked["id"])
        assert (await client.receive()).error.startswith("denied: ")
        await client.send("sign_event", NOTE, rid="3")
        (asked,) = await waiting(data)
        said = await run("approve", "--data", data, "--expires", "1h", "--uses", "5", asked["id"])
        assert said == "approved: sign_event:1; from now on without asking\n"
        await client.receive()
        held = json.loads(await run("grants", "--data", data, "--json", "App"))
        # Five, of which the approved request was one.
        assert (held["method"], held["param"], held["uses_left"]) == ("sign_event", "1", 4)
        assert held["expires_at"] is not None
        audit = await run("audit", "--data", data, "--method", "sign_event")
        assert f"shell of uid {os.geteuid()}" in audit
        assert "hello" not in audit


async def test_several_are_answered_at_once(relay_url: str, data: Path) -> None:
    """One command answers several requests; what is over already keeps no other one waiting."""
    async with paired(relay_url, data) as (_, client):
        for number in range(3):
            await client.send("sign_event", note("a"), rid=f"{number}")
        await client.send("sign_event", note("b", kind=7), rid="k")
        async with asyncio.timeout(15):
            while sum(item["count"] for item in await waiting(data)) < 4:
                pass
        ids = [item["id"] for item in await waiting(data)]
        done = await asyncio.to_thread(invoke, "approve", "--data", data, "over", *ids)
        assert done.exit_code == 1
        assert "no open request over" in done.output
        assert "approved: sign_event:7" in done.output
        for _ in range(4):
            assert not (await client.receive()).error
        assert "no request waits" in await run("requests", "--data", data)


async def test_the_log_of_a_client_that_is_gone(relay_url: str, data: Path) -> None:
    """The log is searched by a client's name or the beginning of its key, also after the end."""
    async with paired(relay_url, data, allow="sign_event") as (_, client):
        await client.ask("sign_event", NOTE)
        key = client.key.pubkey
        by_name = await run("audit", "--data", data, "--client", "App")
        assert len(by_name.splitlines()) == 2
        assert key[:8] in by_name
        assert key not in by_name
        await run("revoke", "--data", data, "App")
        assert len((await run("audit", "--data", data, "--client", key[:9])).splitlines()) == 3
        assert "no client in the log" in await fail("audit", "--data", data, "--client", "App")


async def test_grants_as_people_write_them(relay_url: str, data: Path) -> None:
    """What is misspelt is refused, not kept as a grant for nothing; a peer may be an npub."""
    async with paired(relay_url, data) as (_, client):
        for bad in ("nip44_decript", "nip44_decrypt:npub1x", "nip44_decrypt:abc"):
            assert bad in await fail("grant", "--data", data, "App", bad)
            assert bad in await fail("pair", "--data", data, "--allow", bad)
        peer = SecretKey.generate()
        await run("grant", "--data", data, "App", f"nip44_encrypt:{encode_npub(peer.pubkey)}")
        assert not (await client.ask("nip44_encrypt", peer.pubkey, "x")).error


async def test_clients_and_grants(relay_url: str, data: Path) -> None:
    """What the owner gives and takes holds for the next request."""
    async with paired(relay_url, data) as (_, client):
        key = client.key.pubkey
        assert key in await run("clients", "--data", data)
        shown = json.loads(await run("clients", "--data", data, "--json"))
        assert (shown["name"], shown["pubkey"]) == ("App", key)
        await run("grant", "--data", data, "App", "sign_event:1", "--rate", "2/h")
        for number in range(3):
            answer = await client.ask("sign_event", NOTE, rid=f"{number}")
            assert answer.error.partition(":")[0] == ("rate-limited" if number == 2 else "")
        await run("grant", "--data", data, key[:8], "sign_event:1", "--deny")
        assert (await client.ask("sign_event", NOTE, rid="d")).error.startswith("denied: ")
        listed = await run("grants", "--data", data, "App")
        assert "deny sign_event:1" in listed
        await run("rename", "--data", data, "App", "My app")
        held = listed.split()[0]
        await run("revoke", "--data", data, "My app", held)
        assert await run("grants", "--data", data, "My app", "--json") == ""
        assert "My app has no grants" in await run("grants", "--data", data, "My app")
        assert "no grant" in await fail("revoke", "--data", data, "My app", held)
        await run("revoke", "--data", data, "My app")
        assert (await client.ask("ping", rid="p")).error.startswith("denied: not connected")
        assert await run("clients", "--data", data, "--json") == ""
        assert "no client is paired" in await run("clients", "--data", data)
        assert "no client" in await fail("revoke", "--data", data, "My app")
        for bad in ("sign_event:x", "sign_event:1,ping", ""):
            assert "not a permission" in await fail("grant", "--data", data, "x", bad)
        actions = await run("audit", "--data", data)
        for action in ("pair", "grant", "revoke", "request"):
            assert f"  {action}  " in actions


async def test_lock_and_pause(relay_url: str, data: Path) -> None:
    """A locked key waits for the unlock, a paused one refuses; both are told by `status`."""
    async with paired(relay_url, data, allow="sign_event") as (_, client):
        assert "default  locked" in await run("lock", "--data", data)
        assert "locked" in await run("status", "--data", data)
        assert "more than paused" in await fail("pause", "--data", data)
        await client.send("sign_event", NOTE, rid="1")
        assert (await client.ask("ping", rid="p")).json["result"] == "pong"
        assert "default  unlocked" in await run("unlock", "--data", data)
        assert not (await client.receive()).error
        assert "default  paused" in await run("pause", "--data", data, "--key", "default")
        assert (await client.ask("sign_event", NOTE, rid="2")).error.startswith("locked: ")
        assert "default  unlocked" in await run("resume", "--data", data)
        assert not (await client.ask("sign_event", NOTE, rid="3")).error
        assert "no key other" in await fail("lock", "--data", data, "--key", "other")


async def test_a_key_with_a_passphrase_starts_locked(relay_url: str, data: Path) -> None:
    """What the master key does not open waits for its passphrase; a wrong one opens nothing."""
    async with running_signer(data, [relay_url]):
        pass
    master = MasterKey.from_file(data / "master.key")
    cheap = Passphrase("correct horse", Argon2(memory_kib=64, passes=1))
    with NSE(storage=FileStorage(data / "keys"), name="work", protector=cheap) as key:
        key.generate()
    master.close()
    cheap.close()
    async with running_signer(data, [relay_url]) as process:
        assert any("work  (locked)" in line for line in process.lines)
        arguments = ("unlock", "--data", data, "--key", "work", "--passphrase-stdin")
        wrong = await asyncio.to_thread(invoke, *arguments, stdin="wrong\n")
        assert wrong.exit_code == 1
        assert "work" in await run("status", "--data", data)
        assert "work  unlocked" in await run(*arguments, stdin="correct horse\n")


async def test_panic(relay_url: str, data: Path) -> None:
    """One command ends everything, says so, and still holds after a restart."""
    async with paired(relay_url, data, allow="sign_event") as (_, client):
        await run("pair", "--data", data)
        said = await run("panic", "--data", data)
        assert said.startswith("locked default; revoked 1 session and 1 unused URI;")
        assert (await client.ask("sign_event", NOTE)).error.startswith("denied: not connected")
    async with running_signer(data, [relay_url]) as process:
        assert any("(locked)" in line for line in process.lines)
        await run("unlock", "--data", data)
    assert "revoked 0 sessions and 1 unused URI;" in await run("panic", "--data", data)
    async with running_signer(data, [relay_url]) as process:
        assert any("(locked)" in line for line in process.lines)


async def test_audit_is_verified_and_exported(relay_url: str, data: Path, tmp_path: Path) -> None:
    """The chain is checked in the database and in an export, and a change in either is found."""
    async with paired(relay_url, data, allow="sign_event") as (_, client):
        for number in range(3):
            await client.ask("sign_event", NOTE, rid=f"{number}")
    said = await run("audit", "verify", "--data", data)
    assert said.startswith("4 entries, unbroken")
    assert await run("audit", "--data", data, "verify") == said
    noted = said.split()[-1]
    assert "4 entries" in await run("audit", "verify", "--data", data, "--expect", noted)
    assert "written anew" in await fail("audit", "verify", "--data", data, "--expect", "0" * 63)
    export = tmp_path / "audit.jsonl"
    export.write_text(await run("audit", "--data", data, "--json"))
    assert "4 entries" in await run("audit", "verify", "--file", export)
    lines = export.read_text().splitlines()
    export.write_text("\n".join([lines[0], *lines[2:]]))
    assert "missing" in await fail("audit", "verify", "--file", export)
    assert len((await run("audit", "--data", data, "--last", "2")).splitlines()) == 2
    said = await run("audit", "--data", data, "--outcome", "denied", "--since", "1h")
    assert said == "nothing was decided yet, or nothing like this\n"


@pytest.mark.parametrize("how", ["argument", "stdin", "image"])
async def test_pairing_by_invitation(relay_url: str, data: Path, tmp_path: Path, how: str) -> None:
    """A nostrconnect:// URI is taken as it is, from standard input, or as a picture."""
    async with running_signer(data, [relay_url]) as process:
        remote = parse_bunker_uri(process.uri).remote_signer_pubkey
        key = SecretKey.generate()
        permissions = (Permission("sign_event", "1"),)
        metadata = ClientMetadata("App")
        uri = str(NostrConnectURI(key.pubkey, (relay_url,), "0s8j2djs", permissions, metadata))
        given, stdin = uri, None
        if how == "stdin":
            given, stdin = "-", uri + "\n"
        elif how == "image":
            given = str(tmp_path / "qr.png")
            segno.make(uri).save(given, scale=4)
        async with wire(relay_url, remote, key) as client:
            said = await run("pair", "--data", data, "--allow-requested", given, stdin=stdin)
            assert said == f"paired client {key.pubkey}\n"
            assert (await client.receive()).json["result"] == "0s8j2djs"
            assert not (await client.ask("sign_event", NOTE)).error


async def test_pairing_that_fails(data: Path, tmp_path: Path, relay_url: str) -> None:
    """What is no invitation is told as such, and without a running signer nothing is paired."""
    Image.new("L", (10, 10)).save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("x")
    assert "no QR code" in await fail("pair", "--data", data, tmp_path / "empty.png")
    assert "no image" in await fail("pair", "--data", data, tmp_path / "text.png")
    assert "neither" in await fail("pair", "--data", data, "nonsense")
    assert "give it to the app" in await fail("pair", "--data", data, "bunker://abc")
    uri = NostrConnectURI("ab" * 32, (relay_url,), "s3cr3t")
    data.mkdir()
    assert "no signer is running" in await fail("pair", "--data", data, uri)


async def test_what_needs_a_running_signer(data: Path) -> None:
    """Without one each command says so in one line."""
    data.mkdir()
    for name in ("status", "requests", "lock", "unlock", "pause", "resume"):
        assert "no signer is running" in await fail(name, "--data", data)
    for name in ("approve", "deny"):
        assert "no signer is running" in await fail(name, "--data", data, "abc")
    for name in ("clients", "panic", "audit"):
        assert "holds no signer" in await fail(name, "--data", data)


async def test_folder_of_another_user_is_a_sentence(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command run as the wrong user says so, in one line."""

    def closed(path: Path, **_options: bool) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.exists", closed)
    with (
        pytest.raises(BunkerError, match="Permission denied; only the signer's own user"),
        database_of(data, ""),
    ):
        pass


async def test_announce(relay_url: str, data: Path) -> None:
    """The signer is made known on request: nostr.json for the web, NIP-89 on the relays."""
    async with running_signer(data, [relay_url]) as process:
        pubkey = parse_bunker_uri(process.uri).remote_signer_pubkey
        page = "https://me.example/<nostrconnect>"
        said = await run("announce", "--data", data, "--nostrconnect-url", page)
        assert json.loads(said) == {
            "names": {"_": pubkey},
            "nip46": {"relays": [relay_url], "nostrconnect_url": page},
        }
        said = await run("announce", "--data", data, "--publish", "--name", "Mine")
        assert f"{relay_url}: accepted" in said


async def test_health_metrics_and_systemd(
    relay_url: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd learns that it is ready and that it stops; /healthz and /metrics tell how it is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        path = str(tmp_path / "notify")
        channel.bind(path)
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")
        async with paired(relay_url, data, "--http", "127.0.0.1:0", allow="sign_event") as (
            process,
            client,
        ):
            told = [channel.recv(100).decode() for _ in range(2)]
            assert told[0] == "READY=1"
            assert told[1].startswith("WATCHDOG=1")
            await client.ask("sign_event", NOTE)
            base = next(line.split()[1] for line in process.lines if line.startswith("http"))
            health = json.loads(await get(f"{base}/healthz"))
            assert health["status"] == "ok"
            assert health["relays"] == {relay_url: True}
            metrics = await get(f"{base}/metrics")
            assert 'bunker_signer_requests_total{method="sign_event",outcome="ok"} 1.0' in metrics
            assert 'bunker_signer_key_unlocked{key="default"} 1.0' in metrics
            assert "bunker_signer_relays 1.0" in metrics
            assert await process.terminate() == 0
        assert channel.recv(100) == b"STOPPING=1"
    assert not (data / "control.sock").exists()


async def get(url: str) -> str:
    def fetch() -> str:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())

    return await asyncio.to_thread(fetch)


async def test_a_credential_of_systemd_opens_the_keys(
    relay_url: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$CREDENTIALS_DIRECTORY/bunker-master-key is used, and no master key is made beside it."""
    (tmp_path / "bunker-master-key").write_text("5f" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    async with running_signer(data, [relay_url]) as process:
        assert any("systemd's credential" in line for line in process.lines)
    assert not (data / "master.key").exists()
