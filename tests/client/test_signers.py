"""signers.py, sync.py, batch.py, qr.py: one app for every kind of signer."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import (
    QR,
    BunkerClient,
    ClientError,
    PairingFailed,
    RemoteSigner,
    RequestDenied,
    Sessions,
    Signer,
    SyncRemoteSigner,
    SyncSigner,
    decrypt_all,
    pair,
    signer_from,
    sync_signer_from,
)
from bunker_client.signers import parse_signer
from bunker_core.errors import BunkerError, InvalidInput, InvalidURI
from bunker_core.nips.bunker_uri import parse_nostrconnect_uri
from bunker_core.nips.nip19 import encode_npub
from bunker_core.nips.nip46 import Permission
from support.scripted import Asked, ScriptedSigner, scripted_relay, scripted_signer
from support.strategies import secret_key

LONG = 10.0  # seconds; a step that takes that long has failed
PEER = secret_key(9).pubkey


async def use(signer: Signer) -> str:
    """The app: written once. Returns the pubkey that it acts for."""
    assert isinstance(signer, Signer)
    pubkey = await signer.get_public_key()
    event = await signer.sign_event({"kind": 1, "content": "hello"})
    assert (event.pubkey, event.content) == (pubkey, "hello")
    assert await signer.nip44_decrypt(PEER, await signer.nip44_encrypt(PEER, "x")) == "x"
    assert await signer.nip04_decrypt(PEER, await signer.nip04_encrypt(PEER, "y")) == "y"
    return pubkey


def use_sync(signer: SyncSigner) -> str:
    assert isinstance(signer, SyncSigner)
    pubkey = signer.get_public_key()
    assert signer.sign_event({"kind": 1, "content": "hello"}).pubkey == pubkey
    assert signer.nip44_decrypt(PEER, signer.nip44_encrypt(PEER, "x")) == "x"
    assert signer.nip04_decrypt(PEER, signer.nip04_encrypt(PEER, "y")) == "y"
    return pubkey


async def test_one_app_for_a_bunker_a_session_and_the_key_itself(tmp_path: Path) -> None:
    """bunker://, session: and nse: end at the same key, asyncio or not."""
    async with running_relay(tmp_path / "relay") as relay:
        data = tmp_path / "signer"
        profile = ["--profile", "full"]
        async with running_signer(data, [relay.url], arguments=profile) as running:
            sessions = Sessions(tmp_path / "sessions")
            async with signer_from(running.uri) as signer:
                pubkey = await use(signer)
                assert isinstance(signer, RemoteSigner)
                sessions.save(signer.session)
            async with signer_from("session:", sessions=sessions) as signer:
                assert await use(signer) == pubkey

            def without_asyncio() -> str:
                with sync_signer_from("session:default", sessions=sessions) as kept:
                    return use_sync(kept)

            assert await asyncio.to_thread(without_asyncio) == pubkey
        async with signer_from(f"nse:{data}") as signer:
            assert await use(signer) == pubkey

        def direct() -> str:
            with sync_signer_from(f"nse:{data}") as sealed:
                return use_sync(sealed)

        assert await asyncio.to_thread(direct) == pubkey


async def test_direct_errors_are_bunker_errors(tmp_path: Path) -> None:
    """A directory without a key makes nothing, and what the key refuses is a BunkerError."""
    with pytest.raises(BunkerError, match="holds no sealed key"):
        signer_from(f"nse:{tmp_path / 'missing'}")
    assert not (tmp_path / "missing").exists()
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url]),
    ):
        pass
    async with signer_from(f"nse:{tmp_path / 'signer'}") as signer:
        with pytest.raises(BunkerError):
            await signer.nip44_decrypt(PEER, "garbage")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("bunker://nonsense", InvalidURI, "public key"),
        ("ftp:x", InvalidURI, "no kind of signer"),
        ("nostrconnect://?name=x", InvalidURI, "names no relay"),
        (f"nostrconnect://{PEER}?relay=wss://x.example", InvalidURI, "another client's"),
        ("nostrconnect://?relay=wss://x.example", ClientError, "on_invite"),
        ("not a name", InvalidInput, "alice@example.com"),
    ],
)
async def test_what_names_no_signer_is_refused(
    text: str, error: type[Exception], message: str
) -> None:
    """Each with what is wrong with it."""
    with pytest.raises(error, match=message):
        async with signer_from(text):
            pass


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (" BUNKER://abc ", ("bunker", "//abc")),
        ("nostrconnect://?relay=wss://x", ("nostrconnect", "//?relay=wss://x")),
        ("session:work", ("session", "work")),
        ("Session:", ("session", "default")),
        ("nse:/home/a@b.c/data", ("nse", "/home/a@b.c/data")),
        ("alice@example.com", ("nip05", "alice@example.com")),
        ("alice@127.0.0.1:8080", ("nip05", "alice@127.0.0.1:8080")),
        ("example.com", ("nip05", "example.com")),
        ("session", ("nip05", "session")),
        ("ftp:x", ("ftp", "x")),
    ],
)
def test_a_text_names_one_kind_of_signer(text: str, named: tuple[str, str]) -> None:
    """Scheme, name and case decide, for every command alike."""
    assert parse_signer(text) == named


async def test_an_invitation_from_a_text() -> None:
    """nostrconnect:// with relay, permissions and name: a key and a secret are made afresh."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        shown: list[str] = []

        def show(code: QR) -> None:
            shown.append(code.text)
            uri = parse_nostrconnect_uri(code.text)
            answering.append(
                asyncio.create_task(
                    signer.send(uri.client_pubkey, {"id": "1", "result": uri.secret})
                )
            )

        answering: list[asyncio.Task[object]] = []
        text = f"nostrconnect://?relay={relay.url}&perms=sign_event:1&name=An%20app"
        async with signer_from(text, on_invite=show, timeout=LONG) as remote:
            assert await remote.get_public_key() == signer.user.pubkey
        uri = parse_nostrconnect_uri(shown[0])
        assert uri.permissions == (Permission("sign_event", "1"),)
        assert uri.metadata.name == "An app"


async def test_pair_gives_up_when_nobody_scans() -> None:
    """The invitation has a deadline of its own."""
    async with scripted_relay() as relay:
        with pytest.raises(PairingFailed, match="no signer answered"):
            async with pair([relay.url], lambda _: None, timeout_pairing=0.1):
                pass


async def test_the_bunker_client_needs_no_uri() -> None:
    """Pattern B: relay and the signer's npub from configuration, and a secret or a known key."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        npub = encode_npub(signer.transport.pubkey)
        async with BunkerClient.for_relay(relay.url, npub, client_key=secret_key(3)) as client:
            assert await client.get_public_key() == signer.user.pubkey
        assert signer.asked[0].params == [signer.transport.pubkey]
        with pytest.raises(InvalidInput):
            BunkerClient.for_relay(relay.url, "npub1nonsense")


# --- NIP-05 ------------------------------------------------------------------------------------


@asynccontextmanager
async def web(status: str, body: object, *headers: str) -> AsyncIterator[str]:
    """Serve one document; yields host and port."""
    text = body if isinstance(body, str) else json.dumps(body)
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(text)}", *headers])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}\r\nconnection: close\r\n\r\n{text}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def documents(signer: ScriptedSigner) -> list[dict[str, object]]:
    key = signer.transport.pubkey
    return [
        {"names": {"alice": key}, "nip46": {"relays": signer.relays}},
        {"names": {"alice": signer.user.pubkey}, "nip46": {key: signer.relays}},
    ]


@pytest.mark.parametrize("shape", [0, 1])
async def test_a_name_leads_to_its_remote_signer(shape: int) -> None:
    """alice@example.com, in today's shape of the document and in the one before."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        web("200 OK", documents(signer)[shape]) as host,
        signer_from(f"alice@{host}", timeout=LONG) as remote,
    ):
        assert await remote.get_public_key() == signer.user.pubkey


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        ("404 Not Found", "", "HTTP status 404"),
        ("302 Found", "", "HTTP status 302"),
        ("200 OK", "no json", "not JSON"),
        ("200 OK", "[1]", "no public key"),
        ("200 OK", {"names": {"alice": PEER}}, "names no remote signer"),
        ("200 OK", "x" * 300_000, "too large"),
    ],
)
async def test_a_name_without_a_signer_says_why(status: str, body: object, message: str) -> None:
    """Every way in which the lookup fails is one line; redirects are not followed (NIP-05)."""
    async with web(status, body, "location: http://127.0.0.1:1/") as host:
        with pytest.raises(BunkerError, match=message):
            async with signer_from(f"alice@{host}"):
                pass


# --- without asyncio ---------------------------------------------------------------------------


async def test_sync_has_the_same_names_and_threads_may_share_it() -> None:
    """Every method of RemoteSigner without asyncio, from two threads at once."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:

        def program() -> None:
            remote = SyncRemoteSigner.from_uri(signer.uri, timeout=LONG)
            with pytest.raises(ClientError, match="with"):
                remote.get_public_key()
            with remote:
                assert remote.user_pubkey == signer.user.pubkey == use_sync(remote)
                remote.ping()
                assert remote.switch_relays() == remote.relays == (relay.url,)
                threads = [threading.Thread(target=use_sync, args=(remote,)) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                session = remote.session
                remote.logout()
            with pytest.raises(ClientError, match="with"):
                remote.get_public_key()
            with SyncRemoteSigner.from_session(session, timeout=LONG) as resumed:
                assert resumed.sign_event({"kind": 1}).pubkey == signer.user.pubkey

        await asyncio.to_thread(program)
        assert "bunker" not in [thread.name for thread in threading.enumerate()]


async def test_sync_leaves_no_thread_when_it_can_not_connect(dead_url: str) -> None:
    """A failed `with` has ended its thread."""
    signer = ScriptedSigner([dead_url])

    def program() -> None:
        remote = SyncRemoteSigner.from_uri(signer.uri, timeout=0.3)
        with pytest.raises(ClientError, match="refused"), remote:
            pass

    await asyncio.to_thread(program)
    assert "bunker" not in [thread.name for thread in threading.enumerate()]


# --- many at once ------------------------------------------------------------------------------


async def test_many_decryptions_are_bounded_and_one_failure_keeps_none() -> None:
    """In order, at most `concurrency` at a time, with the error in the place of a bad one."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=LONG) as remote,
    ):
        messages = [(PEER, await remote.nip44_encrypt(PEER, str(n))) for n in range(12)]
        signer.asked.clear()
        held: list[Asked] = []
        most = 0

        def slow(asked: Asked) -> list[object]:
            nonlocal most
            held.append(asked)
            most = max(most, len(remote._link._calls))
            if len(held) < 4:
                return []
            done, held[:] = held[:], []
            return [answer(item) for item in done]

        def answer(asked: Asked) -> object:
            if asked.params[1] == messages[5][1]:
                return {"id": asked.id, "result": "error", "error": "denied"}
            return signer.good(asked)

        signer.answer = slow
        told: list[tuple[int, int]] = []
        found = await decrypt_all(
            remote, messages, concurrency=4, on_progress=lambda *n: told.append(n)
        )
        assert [item for item in found if isinstance(item, str)] == [
            str(n) for n in range(12) if n != 5
        ]
        assert isinstance(found[5], RequestDenied)
        assert most == 4
        assert told == [(n, 12) for n in range(1, 13)]


# --- QR codes ----------------------------------------------------------------------------------


def test_a_qr_code_as_text_svg_and_png() -> None:
    """Three forms of one code, and the text, which has a secret, in no repr."""
    code = QR("nostrconnect://secret")
    assert "█" in code.terminal() or "▀" in code.terminal()
    assert ElementTree.fromstring(code.svg()).tag.endswith("svg")
    assert code.png().startswith(b"\x89PNG\r\n\x1a\n")
    assert "secret" not in repr(code)
