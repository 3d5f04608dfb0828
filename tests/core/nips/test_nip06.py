"""nip06.py: NIP-06's own vectors, accounts as nostr-tools derives them, and words that are none."""

import unicodedata
from typing import Literal

import pytest
from mnemonic import Mnemonic

from bunker_core.errors import InvalidEntity
from bunker_core.keys import SecretKey
from bunker_core.nips.key_text import parse_key_text
from bunker_core.nips.nip06 import MAX_ACCOUNT, secret_from_words

LEADER = "leader monkey parrot ring guide accident before fence cannon height naive bean"
BLEAK = (
    "what bleak badge arrange retreat wolf trade produce cricket blur garlic valid proud rude "
    "strong choose busy staff weather area salt hollow arm fade"
)

# Those of BIP-39 itself; the library has more.
LANGUAGES = [
    *("chinese_simplified", "chinese_traditional", "czech", "english", "french", "italian"),
    *("japanese", "korean", "portuguese", "spanish"),
]


def derived(words: str, account: int = 0) -> bytearray:
    out = bytearray(32)
    secret_from_words(words, out, account)
    return out


@pytest.mark.parametrize(
    ("words", "secret", "pubkey"),
    [
        (
            LEADER,
            "7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a",
            "17162c921dc4d2518f9a101db33695df1afb56ab82f5ff3e5da6eec3ca5cd917",
        ),
        (
            BLEAK,
            "c15d739894c81a2fcfd3a2df85a0d2c0dbc47a280d092799f144d73d7ae78add",
            "d41b22899549e1f3d335a31002cfd382174006e166d3e658e3a5eecdb6463573",
        ),
    ],
)
def test_vectors(words: str, secret: str, pubkey: str) -> None:
    """The two of NIP-06, and the same words as a person types them."""
    assert derived(words).hex() == secret
    assert SecretKey(derived(words)).pubkey == pubkey
    typed = f"  {words.upper()}\r\n".replace(" ", "\n").encode()
    assert parse_key_text(typed).secret == bytearray.fromhex(secret)


# privateKeyFromSeedWords(LEADER, "", account) of nostr-tools
@pytest.mark.parametrize(
    ("account", "secret"),
    [
        (1, "3790c23940f62b23754115ef70f16e63cca8e9015a532b8a891171ccdadcf910"),
        (7, "44361afb72c24c889c0f2cbc08c89be0830d47b84a49791ea05832520f7f6aba"),
        (2147483647, "3349ef5d5c4ccffb35d4b0074ddac8df33a24d9d883c1aa7b4b8e0c437cf1683"),
    ],
)
def test_accounts(account: int, secret: str) -> None:
    """Another account is another key, the one that nostr-tools has."""
    assert parse_key_text(LEADER.encode(), account).secret == bytearray.fromhex(secret)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["NFC", "NFKD"])
def test_every_language(language: str, form: Literal["NFC", "NFKD"]) -> None:
    """Words are taken composed and decomposed, and give one key."""
    words = Mnemonic(language).to_mnemonic(bytes(range(16)))
    typed = unicodedata.normalize(form, words).encode()
    assert parse_key_text(typed).secret == derived(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (LEADER.replace("monkey", "parrot"), "checksum is wrong"),
        (LEADER.replace("monkey", "monky").replace("bean", "been"), "number 2, 12 are not"),
        (" ".join(["xyzzy"] * 12), "none of them"),
        ("bean bean", "not 2"),
    ],
)
def test_wrong_words(words: str, said: str) -> None:
    """A wrong word is named by its place: the message repeats none of them."""
    with pytest.raises(InvalidEntity, match=said) as caught:
        derived(words)
    assert not {word for word in words.split() if word in str(caught.value).split()}


@pytest.mark.parametrize("account", [-1, MAX_ACCOUNT + 1])
def test_account_out_of_range(account: int) -> None:
    """An index above is a hardened one, which the path adds itself."""
    with pytest.raises(InvalidEntity, match="account"):
        derived(LEADER, account)
