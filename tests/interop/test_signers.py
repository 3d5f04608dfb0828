"""Our client against a signer and a relay of other projects."""

from functools import partial
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_client.errors import RequestDenied
from bunker_client.pair.pairing import Pairing
from bunker_core.event import verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip04, nip44
from bunker_core.nips.nip19 import parse_pubkey
from interop.peers import NOT_OFFERED, OK, Row, library_version, node, python, running

GRANTS = "sign_event:1,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"
CONTENT = 'Signed from desktop, key on phone!\n"äöü" 🦊'
TEXTS = ("a", "für dich 🦊", '["e","abc"]')
TIMEOUT = 10.0  # seconds for one operation
LONG_TEXT = "x" * 66_000
# Our client sends no method of its own invention; NDK's backend leaves grants to its owner and
# knows no logout; LocalRelay refuses every event above 65,536 bytes.
NDK_BACKEND_LACKS = ("denied", "unknown method", "logout", "after logout")
# applesauce does not answer a client that it has forgotten, nor what it can't decrypt: NIP-44's
# longer prefix is one such thing.
APPLESAUCE_LACKS = ("unknown method", "after logout", "nip44 66 kB")
LOCAL_RELAY_LACKS = ("unknown method", "nip44 66 kB")


async def use(signer: RemoteSigner, user: str, row: Row, not_offered: tuple[str, ...]) -> None:
    """Do with our client all that NIP-46 has; the third party is a key of this test."""
    other = SecretKey.generate()
    shared_x = other.shared_x(user)
    conversation_key = nip44.conversation_key(shared_x)

    async def get_public_key() -> None:
        assert await signer.get_public_key() == user

    async def sign() -> None:
        event = verify(await signer.request_signature({"kind": 1, "content": CONTENT}))
        assert (event.pubkey, event.content) == (user, CONTENT)

    async def encrypt44(texts: tuple[str, ...]) -> None:
        for text in texts:
            payload = await signer.nip44_encrypt(other.pubkey, text)
            assert nip44.decrypt(payload, conversation_key) == text

    async def decrypt44(texts: tuple[str, ...]) -> None:
        for text in texts:
            payload = nip44.encrypt(text, conversation_key)
            assert await signer.nip44_decrypt(other.pubkey, payload) == text

    async def long_text() -> None:
        await encrypt44((LONG_TEXT,))
        await decrypt44((LONG_TEXT,))

    async def encrypt04() -> None:
        for text in TEXTS:
            payload = await signer.nip04_encrypt(other.pubkey, text)
            assert nip04.decrypt(payload, shared_x) == text

    async def decrypt04() -> None:
        for text in TEXTS:
            payload = nip04.encrypt(text, shared_x)
            assert await signer.nip04_decrypt(other.pubkey, payload) == text

    async def sign_forbidden() -> None:
        with pytest.raises(RequestDenied, match="denied"):
            await signer.sign_event({"kind": 7, "content": "+"})

    async def after_logout() -> None:
        with pytest.raises(RequestDenied):
            await signer.get_public_key()

    await row.attempt("get_public_key", get_public_key)
    await row.attempt("sign_event", sign)
    await row.attempt("nip44_encrypt", partial(encrypt44, TEXTS))
    await row.attempt("nip44_decrypt", partial(decrypt44, TEXTS))
    await row.attempt("nip04_encrypt", encrypt04)
    await row.attempt("nip04_decrypt", decrypt04)
    await row.attempt("ping", signer.ping)
    await row.attempt("switch_relays", signer.switch_relays)
    if "denied" not in not_offered:
        await row.attempt("denied", sign_forbidden)
    if "nip44 66 kB" not in not_offered:
        await row.attempt("nip44 66 kB", long_text)
    if "logout" not in not_offered:
        await row.attempt("logout", signer.logout)
    if "after logout" not in not_offered:
        await row.attempt("after logout", after_logout)
    row.outcomes |= dict.fromkeys(not_offered, NOT_OFFERED)
    row.expect(not_offered=not_offered)


@pytest.mark.parametrize(
    ("library", "what", "script", "lacks"),
    [
        ("NDK", "backend", "ndk_backend.mjs", NDK_BACKEND_LACKS),
        ("applesauce", "provider, bunker://", "applesauce_provider.mjs", APPLESAUCE_LACKS),
    ],
)
async def test_our_client_uses_their_signer(
    library: str, what: str, script: str, lacks: tuple[str, ...], row: Row, tmp_path: Path
) -> None:
    """NDKNip46Backend and NostrConnectProvider serve our client through our relay, by bunker://."""
    row.name = f"our client, {library_version(library)} {what}"
    program = node(script)
    async with (
        running_relay(tmp_path / "relay") as relay,
        running(*program, relay.url) as peer,
    ):
        uri, user = await peer.until("uri"), await peer.until("user")
        async with RemoteSigner.from_uri(uri, timeout=TIMEOUT) as signer:
            row.outcomes["connect"] = OK
            await use(signer, user, row, lacks)


async def test_our_client_invites_applesauce_provider(row: Row, tmp_path: Path) -> None:
    """The same by nostrconnect://, where the client begins."""
    row.name = f"our client, {library_version('applesauce')} provider, nostrconnect://"
    program = node("applesauce_provider.mjs")
    async with (
        running_relay(tmp_path / "relay") as relay,
        Pairing([relay.url], timeout=TIMEOUT) as pairing,
        running(*program, relay.url, str(pairing.uri)) as peer,
    ):
        signer = await pairing.wait(TIMEOUT)
        row.outcomes["connect"] = OK
        await use(signer, await peer.until("user"), row, APPLESAUCE_LACKS)


async def test_our_client_and_signer_meet_at_local_relay(row: Row, tmp_path: Path) -> None:
    """Client and signer of ours need nothing of our relay: rust-nostr's LocalRelay will do."""
    row.name = f"our client, our signer, {library_version('nostr_sdk')} LocalRelay, bunker://"
    async with running(*python("local_relay.py")) as relay:
        url = await relay.until("url")
        async with (
            running_signer(tmp_path / "signer", [url], allow=GRANTS) as agent,
            RemoteSigner.from_uri(agent.uri, timeout=TIMEOUT) as signer,
        ):
            row.outcomes["connect"] = OK
            await use(signer, parse_pubkey(agent.npub), row, LOCAL_RELAY_LACKS)


async def test_our_client_invites_at_local_relay(row: Row, tmp_path: Path) -> None:
    """The same by nostrconnect://, where the client begins."""
    row.name = f"our client, our signer, {library_version('nostr_sdk')} LocalRelay, nostrconnect://"
    async with running(*python("local_relay.py")) as relay:
        url = await relay.until("url")
        async with (
            Pairing([url], timeout=TIMEOUT) as pairing,
            running_signer(
                tmp_path / "signer", [url], allow=GRANTS, arguments=("--connect", str(pairing.uri))
            ) as agent,
        ):
            signer = await pairing.wait(TIMEOUT)
            row.outcomes["connect"] = OK
            await use(signer, parse_pubkey(agent.npub), row, LOCAL_RELAY_LACKS)
