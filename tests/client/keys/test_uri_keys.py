"""uri_keys.py: a URI's client key is kept, sealed, and used again."""

import asyncio
import json
import logging
import os
import stat
import sys
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import PairingFailed, RemoteSigner, SessionError, URIKeys
from bunker_core.nips.bunker_uri import BunkerURI
from support.scripted import Asked, scripted_relay, scripted_signer
from support.strategies import secret_key

LONG = 10.0  # seconds; a step that takes that long has failed
NOTE = {"kind": 1, "content": "hello"}
URI = BunkerURI(secret_key(1).pubkey, ("wss://r.example",), "0123456789abcdef")


def test_the_key_of_a_uri_is_found_again(tmp_path: Path) -> None:
    """The same remote signer and secret: the same key, whatever relays the URI names."""
    keys = URIKeys(tmp_path / "kept")
    assert keys.load(URI) is None
    keys.save(URI, secret_key(7))
    elsewhere = BunkerURI(URI.remote_signer_pubkey, ("wss://other.example",), URI.secret)
    found = URIKeys(tmp_path / "kept").load(elsewhere)
    assert found is not None
    assert found.pubkey == secret_key(7).pubkey
    assert keys.load(BunkerURI(URI.remote_signer_pubkey, URI.relays, "another")) is None
    keys.forget(URI)
    assert keys.load(URI) is None


def test_what_is_kept_is_sealed_and_private(tmp_path: Path) -> None:
    """Neither the key, nor the URI's secret, nor the signer stands in the file or in its name."""
    URIKeys(tmp_path).save(URI, secret_key(7))
    [path] = (tmp_path / "uris").iterdir()
    secret = bytearray(32)
    secret_key(7).copy_secret(secret)
    told = path.name.encode() + path.read_bytes()
    for hidden in (bytes(secret), secret.hex().encode(), (URI.secret or "").encode()):
        assert hidden not in told
    assert URI.remote_signer_pubkey.encode() not in told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path) -> None:
    """Garbage, and a file under another master key: SessionError."""
    keys = URIKeys(tmp_path)
    keys.save(URI, secret_key(7))
    [path] = (tmp_path / "uris").iterdir()
    for garbage in (b"", b"{}", b"x" * 10_000):
        path.write_bytes(garbage)
        with pytest.raises(SessionError):
            keys.load(URI)


async def test_the_second_run_is_the_same_client(tmp_path: Path) -> None:
    """README's first example, twice: both sign, and the signer has one client."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as running,
    ):
        clients = set()
        for _ in range(2):
            keys = URIKeys(tmp_path / "kept")
            async with RemoteSigner.from_uri(running.uri, uri_keys=keys, timeout=LONG) as signer:
                assert (await signer.request_signature(NOTE)).kind == 1
                clients.add(signer.session.client_key.pubkey)
        assert len(clients) == 1


async def test_after_a_logout_the_key_is_gone(tmp_path: Path) -> None:
    """A client that said goodbye does not come back by its old key."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as scripted:
        keys = URIKeys(tmp_path)
        async with RemoteSigner.from_uri(scripted.uri, uri_keys=keys, timeout=LONG) as signer:
            await signer.logout()
        assert not list((tmp_path / "uris").iterdir())


async def test_a_client_that_is_refused_keeps_no_key(tmp_path: Path) -> None:
    """Nothing is left of a pairing that failed, and the error names the way out."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as scripted:

        def refuse(asked: Asked) -> list[dict[str, str]]:
            return [{"id": asked.id, "result": "error", "error": "denied: the secret is wrong"}]

        scripted.answer = refuse
        signer = RemoteSigner.from_uri(scripted.uri, uri_keys=URIKeys(tmp_path), timeout=LONG)
        with pytest.raises(PairingFailed, match=r"secret is wrong.*a fresh one, or use a session"):
            await signer.__aenter__()
        assert not list((tmp_path / "uris").iterdir())


async def test_a_home_that_can_not_be_written_costs_the_second_run_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A read-only file system: the URI works this once, and the log says why not again."""
    (tmp_path / "file").write_text("")
    keys = URIKeys(tmp_path / "file" / "kept")
    async with scripted_relay() as relay, scripted_signer(relay.url) as scripted:
        with caplog.at_level(logging.WARNING):
            async with RemoteSigner.from_uri(scripted.uri, uri_keys=keys, timeout=LONG) as signer:
                assert (await signer.request_signature(NOTE)).kind == 1
    assert "works this once" in caplog.text


async def test_bunker_sign_by_a_uri_works_every_time(tmp_path: Path) -> None:
    """`BUNKER_URI=... bunker sign`, `bunker pair` with it exported, then `bunker sign` again."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as running,
    ):
        environment = {
            **os.environ,
            "BUNKER_URI": running.uri,
            "BUNKER_SESSIONS": str(tmp_path / "kept"),
        }

        async def run(*command: str) -> tuple[int | None, bytes, bytes]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bunker", *command),
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate(b"hello")
            return process.returncode, out, err

        authors = set()
        for command in ("sign", "sign", "pair", "sign"):
            code, out, err = await run(command)
            assert code == 0, err
            if command == "sign":
                authors.add(json.loads(out)["pubkey"])
        del environment["BUNKER_URI"]
        code, out, err = await run("sign")  # by the session
        assert code == 0, err
        assert authors == {json.loads(out)["pubkey"]}
