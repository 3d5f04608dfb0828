"""Web Push as the RFCs have it: what leaves is for one browser alone."""

import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from bunker_core.errors import InvalidInput
from bunker_core.nips import webpush
from bunker_core.nips.webpush import MAX_MESSAGE, check_keys, decode, encode, encrypt, vapid
from support.modules import modules_after

# RFC 8291, appendix A.
SALT = decode("DGv6ra1nlYgDCS1FRnbzlw")
SENDER = decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
BROWSER = decode(
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
SECRET = decode("BTBZMqHH6r4Tts7J_aSIgg")
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
    "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
    "lcy4a-fN"
)
SERVICE = "https://push.example/p/abc"


def test_the_example_of_the_rfc() -> None:
    """RFC 8291, appendix A, byte for byte."""
    key = webpush.new_key(int.from_bytes(SENDER))
    body = encrypt(
        b"When I grow up, I want to be a watermelon", BROWSER, SECRET, key=key, salt=SALT
    )
    # The RFC's header names a record of 4096 bytes, as ours does.
    assert body == decode(BODY)


def test_each_message_is_fresh() -> None:
    """Neither key nor salt is used twice, and nothing of the text is to be seen."""
    one, two = encrypt(b"x" * 900, BROWSER, SECRET), encrypt(b"x" * 900, BROWSER, SECRET)
    assert one[:86] != two[:86]
    assert b"xxxx" not in one
    with pytest.raises(ValueError, match="3000"):
        encrypt(b"x" * (MAX_MESSAGE + 1), BROWSER, SECRET)


def test_who_sends() -> None:
    """RFC 8292: a token for this push service alone, signed by the key that is shown."""
    key = ec.generate_private_key(ec.SECP256R1())
    header = vapid(SERVICE, key, "https://bunker.example", 1000)
    scheme, _, rest = header.partition(" ")
    token, shown = (part.partition("=")[2] for part in rest.split(", "))
    head, claims, signature = token.split(".")
    assert scheme == "vapid"
    assert json.loads(decode(head)) == {"typ": "JWT", "alg": "ES256"}
    assert json.loads(decode(claims)) == {
        "aud": "https://push.example",
        "exp": 1000 + webpush.TOKEN_LIFETIME,
        "sub": "https://bunker.example",
    }
    raw = decode(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(shown))
    public.verify(
        encode_dss_signature(r, s), f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256())
    )


@pytest.mark.parametrize(
    ("point", "auth"),
    [
        (BROWSER[:-1], SECRET),
        (BROWSER, SECRET + b"x"),
        (b"\x04" + b"\x01" * 64, SECRET),
        (b"\x02" + BROWSER[1:33], SECRET),
        (b"", b""),
    ],
)
def test_keys_of_a_subscription(point: bytes, auth: bytes) -> None:
    """A point of the curve, uncompressed, and 16 bytes; nothing else."""
    check_keys(BROWSER, SECRET)
    with pytest.raises(ValueError, match="not the keys"):
        check_keys(point, auth)


def test_padding_hides_the_length() -> None:
    """Messages up to the padding have one length, a longer one has its own."""
    lengths = {len(encrypt(b"x" * n, BROWSER, SECRET, padded=32)) for n in (0, 4, 32)}
    assert lengths == {16 + 5 + 65 + 33 + 16}
    assert len(encrypt(b"x" * 33, BROWSER, SECRET, padded=32)) not in lengths


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_base64url_with_and_without_padding(data: bytes) -> None:
    """Browsers write none; who adds it is understood."""
    text = encode(data)
    assert "=" not in text
    assert decode(text) == decode(text + "=" * (-len(text) % 4)) == data


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.7",
        "127.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "239.1.1.1",
        "::1",
        "fd00::1",
        "fe80::1%eth0",
        "::ffff:10.0.0.7",
        "ff0e::1",
    ],
)
def test_one_address_within_a_network_is_one_too_many(address: str) -> None:
    """A name is not pushed to that also leads inside; a network of one's own has to be allowed."""
    public = {"8.8.8.8", "2606:4700::1111"}
    assert webpush.address_of("push.example", public, private=False) == "8.8.8.8"
    with pytest.raises(InvalidInput, match=r"push\.example is an address within a network"):
        webpush.address_of("push.example", {*public, address}, private=False)
    assert webpush.address_of("push.lan", {address}, private=True) == address


def test_the_cryptography_is_loaded_with_the_first_key() -> None:
    """A signer that wakes nobody has nothing of it in memory."""
    code = "from bunker_core.nips import webpush"
    assert "cryptography" not in modules_after(code)
    assert "cryptography" in modules_after(f"{code}; webpush.new_key()")
