"""channel.py: the encrypted line between client and remote signer."""

import pytest
from hypothesis import given

from bunker_core.errors import CryptoError
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT, is_ephemeral
from bunker_core.nips import nip44
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from support.strategies import SECRET_KEYS, TEXTS, secret_key


def secret(text: str) -> SecretKey:
    """Return a private key of 64 hex characters."""
    return SecretKey(bytes.fromhex(text))


def channel(key: SecretKey, peer: str) -> Channel:
    return Channel(peer, nip44.conversation_key(key.shared_x(peer)), key.shared_x)


def test_a_payload_of_each_scheme_is_read() -> None:
    """The plaintext `a` of NIP-44's own example, and a message of nostr-tools' NIP-04 tests."""
    line = channel(secret_key(2), secret_key(1).pubkey)
    payload = (
        "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABee0G5VSK0/9YypIObAtDKfYEAjD35uVkHyB0F4DwrcNaCXlC"
        "WZKaArsGrY6M9wnuTMxWfp1RTN9Xga8no+kF5Vsb"
    )
    assert line.open(payload) == ("a", Scheme.NIP44)
    one = SecretKey(
        bytes.fromhex("91ba716fa9e7ea2fcbad360cf4f8e0d312f73984da63d90f524ad61a6a1e7dbe")
    )
    other = SecretKey(
        bytes.fromhex("96f6fa197aa07477ab88f6981118466ae3a982faab8ad5db9d5426870c73d220")
    )
    old = "zJxfaJ32rN5Dg1ODjOlEew==?iv=EV5bUjcc4OX2Km/zPp4ndQ=="
    assert channel(one, other.pubkey).open(old) == ("nanana", Scheme.NIP04)


@pytest.mark.parametrize("scheme", list(Scheme))
@given(one=SECRET_KEYS, other=SECRET_KEYS, text=TEXTS.filter(bool))
def test_open_undoes_seal(scheme: Scheme, one: SecretKey, other: SecretKey, text: str) -> None:
    """The other end reads the text and learns the scheme, so that it can reply in the same."""
    content = channel(one, other.pubkey).seal(text, scheme)
    assert channel(other, one.pubkey).open(content) == (text, scheme)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_stranger_reads_nothing(scheme: Scheme) -> None:
    """Another key than the two of the line gets the one error of all crypto."""
    content = channel(secret_key(1), secret_key(2).pubkey).seal("text" * 10, scheme)
    with pytest.raises(CryptoError):
        channel(secret_key(3), secret_key(2).pubkey).open(content)


@pytest.mark.parametrize("content", ["", "text", "?iv=", "a?iv=b", "#" * 132, "\ud800", "A" * 200])
def test_what_is_no_payload_is_refused(content: str) -> None:
    """Whatever an event carries is a payload or CryptoError."""
    with pytest.raises(CryptoError):
        channel(secret_key(1), secret_key(2).pubkey).open(content)


def test_nip44_never_asks_for_the_bare_secret() -> None:
    """The ECDH x leaves its keeper for NIP-04 alone."""
    key, peer = secret_key(1), secret_key(2).pubkey
    asked: list[str] = []

    def shared_x(pubkey: str) -> bytes:
        asked.append(pubkey)
        return key.shared_x(pubkey)

    line = Channel(peer, nip44.conversation_key(key.shared_x(peer)), shared_x)
    line.open(line.seal("text"))
    assert asked == []
    line.open(line.seal("text", Scheme.NIP04))
    assert asked == [peer, peer]


def test_a_message_is_ephemeral_and_names_its_recipient() -> None:
    """Kind 24133, which no relay stores, with the one p tag by which it is delivered."""
    template = rpc_template("payload", secret_key(1).pubkey, 7)
    assert template.kind == NOSTR_CONNECT
    assert is_ephemeral(template.kind)
    assert template.tags == (("p", secret_key(1).pubkey),)
    assert (template.content, template.created_at) == ("payload", 7)


def test_no_key_is_in_a_repr() -> None:
    """A line in a traceback shows neither key nor peer's secret."""
    line = channel(secret_key(1), secret_key(2).pubkey)
    assert nip44.conversation_key(secret_key(1).shared_x(line.peer)).hex() not in repr(line)
    assert "conversation" not in repr(line)
