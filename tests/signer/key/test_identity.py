"""One key that is served: whose it is, what it does, and what is forgotten of its clients."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from bunker_core.event import Event, EventTemplate
from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import Method
from bunker_signer.key.access import Access, KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import KeyStore
from bunker_signer.nse import NSEError
from bunker_signer.policy import Action
from bunker_signer.store import Database

PEER = SecretKey.generate().pubkey


@pytest.fixture
def identity(data: Path) -> Iterator[Identity]:
    data.mkdir()
    (pair,) = KeyStore(data, None).open()
    database = Database(data / "signer.sqlite3")
    access = Access("default", pair.user, database)
    held = Identity("default", pair.transport, pair.user, access)
    yield held
    held.close()
    database.close()


def test_whoever_wants_to_know_is_told_of_a_signature(identity: Identity) -> None:
    """With the event itself; nobody has to want it."""
    template = EventTemplate(1, "hello", (), 1_700_000_000)
    assert identity.sign(template).pubkey == identity.user_pubkey
    told: list[Event] = []
    identity.on_signed = told.append
    assert told == [identity.sign(template)] != []


def test_its_state_is_its_accesss(identity: Identity) -> None:
    """Whoever asks the key asks the owner of that; its two pubkeys are two."""
    assert identity.remote_signer_pubkey == identity.transport.get_public_key()
    assert identity.user_pubkey == identity.user.get_public_key() != identity.remote_signer_pubkey
    assert (identity.state, identity.waiting) == (KeyState.UNLOCKED, 0)
    identity.access.pause("test")
    assert identity.state is KeyState.PAUSED


@pytest.mark.parametrize(
    ("encrypt", "decrypt"),
    [
        (Method.NIP44_ENCRYPT, Method.NIP44_DECRYPT),
        (Method.NIP04_ENCRYPT, Method.NIP04_DECRYPT),
    ],
)
def test_a_text_between_the_user_and_a_peer(
    identity: Identity, encrypt: Method, decrypt: Method
) -> None:
    """What was encrypted to a peer the same key reads, and no other."""
    payload = identity.crypt(Action(encrypt, peer=PEER), PEER, "text")
    assert identity.crypt(Action(decrypt, peer=PEER), PEER, payload) == "text"
    assert identity.user.nip44_encrypt(PEER, "x") != payload
    with pytest.raises(NSEError):
        identity.crypt(Action(decrypt, peer=PEER), PEER, "garbage")


@pytest.mark.parametrize("context", [None, (0, ""), (7, "scope")])
def test_bytes_with_a_kind_and_a_scope(identity: Identity, context: tuple[int, str] | None) -> None:
    """NIP-44 version 3 in base64; without a context it is kind 0 and no scope."""
    kind, scope = context or (0, "")
    encrypt = Action(Method.NIP44V3_ENCRYPT, peer=PEER, context=context)
    decrypt = Action(Method.NIP44V3_DECRYPT, peer=PEER, context=context)
    payload = identity.crypt(encrypt, PEER, b64encode(b"\x00\xff").decode())
    assert identity.user.nip44v3_decrypt(PEER, payload, kind, scope) == b"\x00\xff"
    assert b64decode(identity.crypt(decrypt, PEER, payload)) == b"\x00\xff"
    other = Action(Method.NIP44V3_DECRYPT, peer=PEER, context=(8, "scope"))
    with pytest.raises(NSEError):
        identity.crypt(other, PEER, payload)


@pytest.mark.parametrize(("text", "told"), [("", True), ("text", False)])
def test_an_empty_text_is_in_the_log(
    identity: Identity, caplog: pytest.LogCaptureFixture, text: str, told: bool
) -> None:
    """It hangs some clients, whose users then look here for the reason."""
    caplog.set_level("INFO")
    payload = identity.user.nip04_encrypt(PEER, text)
    assert identity.crypt(Action(Method.NIP04_DECRYPT, peer=PEER), PEER, payload) == text
    assert ("empty text decrypted" in caplog.text) is told


def test_what_is_no_encryption_is_no_crypt(identity: Identity) -> None:
    """A caller's mistake is not answered with nothing."""
    with pytest.raises(ValueError, match="SIGN_EVENT"):
        identity.crypt(Action(Method.SIGN_EVENT, kind=1), PEER, "text")


def test_a_channel_is_kept_until_it_is_forgotten(identity: Identity) -> None:
    """One client's, or all of them; who is no key has none."""
    other = SecretKey.generate().pubkey
    first, second = identity.channel(PEER), identity.channel(other)
    assert identity.channel(PEER) is first
    identity.forget_channel(PEER)
    assert identity.channel(PEER) is not first
    assert identity.channel(other) is second
    identity.forget_channels()
    assert identity.channel(other) is not second
    with pytest.raises(NSEError):
        identity.channel("ff" * 32)


def test_nothing_is_left_of_a_closed_one(identity: Identity) -> None:
    """Neither key does anything any more."""
    identity.close()
    for key in (identity.user, identity.transport):
        with pytest.raises(NSEError):
            key.sign(EventTemplate(1, "", (), 1))
