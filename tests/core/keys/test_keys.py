"""keys.py: BIP-340 over borrowed buffers."""

import copy
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core import keys
from bunker_core.errors import InvalidKey
from bunker_core.keys import SecretKey
from support.strategies import SECRET_KEYS, secret_key

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
OFF_CURVE = "eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34"  # BIP-340, row 5


def test_bip340_vectors(bip340_vectors: list[dict[str, str]]) -> None:
    """Every row signs and verifies as BIP-340 says, messages of 0, 1, 17 and 100 bytes included."""
    assert len(bip340_vectors) == 19
    lengths = set()
    for row in bip340_vectors:
        message = bytes.fromhex(row["message"])
        signature = bytes.fromhex(row["signature"])
        pubkey = row["public key"].lower()
        assert keys.verify(pubkey, message, signature) is (row["verification result"] == "TRUE"), (
            row["index"]
        )
        if row["secret key"]:
            key = SecretKey(bytes.fromhex(row["secret key"]))
            assert key.pubkey == pubkey
            assert key.sign(message, bytes.fromhex(row["aux_rand"])) == signature
            lengths.add(len(message))
    assert lengths == {0, 1, 17, 32, 100}


def is_pubkey(text: str) -> bool:
    """Tell whether a text is the x coordinate of a point on the curve, by what needs one."""
    try:
        secret_key(1).shared_x(text)
    except InvalidKey:
        return False
    return True


def test_off_curve_rows_are_no_pubkeys(bip340_vectors: list[dict[str, str]]) -> None:
    """The two BIP-340 pubkeys that are not on the curve are not pubkeys; all others are."""
    wrong = {row["index"] for row in bip340_vectors if not is_pubkey(row["public key"].lower())}
    assert wrong == {"5", "14"}


@given(SECRET_KEYS, st.binary(max_size=80))
def test_a_signature_verifies(key: SecretKey, message: bytes) -> None:
    """What a key signs verifies under its pubkey, and under no other message or key."""
    signature = key.sign(message)
    assert keys.verify(key.pubkey, message, signature)
    assert not keys.verify(key.pubkey, message + b"\0", signature)
    assert not keys.verify(secret_key(2**200).pubkey, message, signature)
    # libsecp256k1 reads 64 bytes whatever it is given
    assert not keys.verify(key.pubkey, message, signature + b"\0")
    assert not keys.verify(key.pubkey, message, signature[:-1])


@given(SECRET_KEYS, SECRET_KEYS)
def test_shared_x_is_the_same_from_both_sides(one: SecretKey, other: SecretKey) -> None:
    """ECDH gives both sides the same 32 bytes."""
    assert one.shared_x(other.pubkey) == other.shared_x(one.pubkey)


def test_signatures_differ_without_aux() -> None:
    """Fresh auxiliary randomness goes into every signature."""
    key = secret_key(7)
    assert key.sign(bytes(32)) != key.sign(bytes(32))


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_a_secret_out_of_range_is_refused(number: int) -> None:
    """Zero, the order and everything above are no private keys."""
    with pytest.raises(InvalidKey, match="private key is out of range"):
        SecretKey(number.to_bytes(32))
    with pytest.raises(InvalidKey):
        keys.shared_x(bytearray(number.to_bytes(32)), secret_key(1).pubkey, bytearray(32))


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_secret_of_the_wrong_size_is_refused(size: int) -> None:
    """libsecp256k1 reads 32 bytes whatever it is given, so the size is checked before."""
    with pytest.raises(InvalidKey, match=f"got {size}"):
        SecretKey(bytes(size))
    with pytest.raises(InvalidKey):
        keys.load_keypair(bytearray(size), bytearray(96))
    with pytest.raises(InvalidKey):
        keys.shared_x(bytearray(32), secret_key(1).pubkey, bytearray(size))
    with pytest.raises(InvalidKey):
        secret_key(1).copy_secret(bytearray(size))
    with pytest.raises(InvalidKey):
        secret_key(1).sign(bytes(32), aux=bytes(size))


@pytest.mark.parametrize("keypair", [bytearray(96), bytearray(95), bytearray()])
def test_a_blank_keypair_is_refused(keypair: bytearray) -> None:
    """A wiped or short keypair raises: libsecp256k1 would abort the process or read past it."""
    program = (
        "import sys; from bunker_core import keys; from bunker_core.errors import InvalidKey\n"
        f"keypair = bytearray({len(keypair)})\n"
        "uses = lambda: keys.sign(keypair, bytes(32)), lambda: keys.keypair_pubkey(keypair)\n"
        "for use in uses:\n"
        "    try: use()\n"
        "    except InvalidKey: continue\n"
        "    sys.exit('accepted')\n"
    )
    # In a process of its own: what this guards against is SIGABRT.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        OFF_CURVE,
        secret_key(1).pubkey.upper(),
        " " + secret_key(1).pubkey,
        secret_key(1).pubkey[:2] + " " + secret_key(1).pubkey[2:],
        "02" + secret_key(1).pubkey,
        "é" * 64,
        "\ud800" * 64,
        "f" * 10_000,
    ],
)
def test_only_64_lower_case_hex_characters_are_a_pubkey(text: str) -> None:
    """A pubkey has one spelling, or the same user would be two."""
    assert not keys.verify(text, bytes(32), bytes(64))
    with pytest.raises(InvalidKey):
        secret_key(1).shared_x(text)


def test_the_secret_is_not_shown() -> None:
    """Neither repr nor error, pickle nor copy shows or moves a private key."""
    text = "ab" * 32
    key = SecretKey(bytes.fromhex(text))
    assert text not in repr(key)
    assert repr(key) == f"SecretKey(pubkey='{key.pubkey}')"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)
    with pytest.raises(InvalidKey) as caught:
        SecretKey(bytes.fromhex(text + "cd"))
    assert text not in str(caught.value)


def test_a_wiped_key_is_gone() -> None:
    """After wipe nothing of the key is left in its buffers, and every use raises."""
    key = secret_key(0xABCDEF)
    key.wipe()
    assert not any(key._secret)
    assert not any(key._keypair)
    for use in (
        lambda: key.sign(bytes(32)),
        lambda: key.shared_x(secret_key(1).pubkey),
        lambda: key.copy_secret(bytearray(32)),
    ):
        with pytest.raises(InvalidKey, match="wiped"):
            use()


def test_generate_makes_different_keys() -> None:
    """Fresh keys come from the system's random source and fit on the curve."""
    made = {SecretKey.generate().pubkey for _ in range(8)}
    assert len(made) == 8
    assert all(map(is_pubkey, made))


def test_wipe_works_in_place_on_part_of_a_buffer() -> None:
    """A view wipes its own part and nothing beside it."""
    buffer = bytearray(b"\xff" * 12)
    keys.wipe(memoryview(buffer)[4:8])
    assert buffer == b"\xff" * 4 + bytes(4) + b"\xff" * 4
