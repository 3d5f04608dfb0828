"""payload.py: what is wrong with a text is told before a key has to do with it."""

import pytest

from bunker_core.nips import nip04, nip44
from bunker_core.nips.nip46 import Method
from bunker_core.nips.payload import fault
from support.strategies import secret_key

KEY = secret_key(1)
NIP44 = nip44.encrypt("x", nip44.conversation_key(KEY.shared_x(KEY.pubkey)), bytes(32))
NIP04 = nip04.encrypt("x", KEY.shared_x(KEY.pubkey), bytes(16))


@pytest.mark.parametrize(
    ("method", "text", "said"),
    [
        (Method.NIP44_ENCRYPT, "", "is empty"),
        (Method.NIP44_ENCRYPT, "\ud83d", "not Unicode"),
        (Method.NIP04_ENCRYPT, "\ud83d", "not Unicode"),
        (Method.NIP44_DECRYPT, " \n", "nothing to decrypt"),
        (Method.NIP44_DECRYPT, NIP04, "ask for nip04_decrypt"),
        (Method.NIP04_DECRYPT, NIP44, "ask for nip44_decrypt"),
    ],
)
def test_a_fault_is_named(method: Method, text: str, said: str) -> None:
    """Empty, not Unicode, of the other scheme: each in words, with the way out."""
    assert said in (fault(method, text) or "")


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (Method.NIP44_ENCRYPT, "x"),
        (Method.NIP04_ENCRYPT, ""),  # NIP-04 has an empty message
        (Method.NIP44_DECRYPT, NIP44 + "\n"),
        (Method.NIP04_DECRYPT, NIP04 + "\n"),
    ],
)
def test_what_can_be_done_has_no_fault(method: Method, text: str) -> None:
    """A good text passes, and a payload with a newline at its end is decrypted."""
    assert fault(method, text) is None
    if method is Method.NIP44_DECRYPT:
        assert nip44.decrypt(text, nip44.conversation_key(KEY.shared_x(KEY.pubkey))) == "x"
    if method is Method.NIP04_DECRYPT:
        assert nip04.decrypt(text, KEY.shared_x(KEY.pubkey)) == "x"
