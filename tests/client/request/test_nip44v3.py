"""NIP-44 version 3 over NIP-46, through our signer: bound to a kind and a scope, and granted so."""

from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner, RequestDenied
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44v3
from support.strategies import secret_key

LONG = 10.0  # seconds; a step that takes that long has failed
PEER = secret_key(9)


def payload_from(sender: SecretKey, to: str, text: bytes, kind: int, scope: str) -> str:
    keys = bytearray(nip44v3.MESSAGE_KEYS_BYTES)
    nonce = nip44v3.new_nonce()
    nip44v3.derive_message_keys(sender.shared_x(to), nonce, keys)
    return nip44v3.encrypt_with(text, nonce, keys, kind, scope)


async def test_grants_are_by_kind_and_scope(tmp_path: Path) -> None:
    """A grant for one scope of a kind, one for a whole kind: what lies beside them is refused."""
    grants = "nip44v3_encrypt:30078,nip44v3_decrypt:30078/an app"
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow=grants) as running,
        RemoteSigner.from_uri(running.uri, timeout=LONG) as app,
    ):
        for scope in ("an app", "another", ""):
            payload = await app.nip44v3_encrypt(PEER.pubkey, b"\0\xff", 30078, scope)
            keys = bytearray(nip44v3.MESSAGE_KEYS_BYTES)
            nonce = nip44v3.payload_nonce(payload)
            nip44v3.derive_message_keys(PEER.shared_x(app.user_pubkey), nonce, keys)
            assert nip44v3.decrypt_with(payload, keys, 30078, scope) == b"\0\xff"
        with pytest.raises(RequestDenied, match="nip44v3_encrypt:30079/an app is not allowed"):
            await app.nip44v3_encrypt(PEER.pubkey, b"x", 30079, "an app")

        def sent(kind: int, scope: str) -> str:
            return payload_from(PEER, app.user_pubkey, b"hello", kind, scope)

        mine = sent(30078, "an app")
        assert await app.nip44v3_decrypt(PEER.pubkey, mine, 30078, "an app") == b"hello"
        with pytest.raises(RequestDenied, match="not allowed"):
            await app.nip44v3_decrypt(PEER.pubkey, sent(30078, "other"), 30078, "other")
        # A payload of another scope, presented under the granted one: the MAC is of its own.
        with pytest.raises(RequestDenied, match="failed"):
            await app.nip44v3_decrypt(PEER.pubkey, sent(30078, "other"), 30078, "an app")
        with pytest.raises(RequestDenied, match="not a kind"):
            await app.nip44v3_encrypt(PEER.pubkey, b"x", 65536, "")
