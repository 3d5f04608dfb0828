"""Web Push as the RFCs have it: what leaves is for one browser alone, and only to where it may."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from bunker_signer.approvers import webpush
from bunker_signer.approvers.webpush import (
    MAX_MESSAGE,
    PushError,
    PushTarget,
    authorization,
    decode,
    deliver,
    encode,
    encrypt,
    parse_target,
)

# RFC 8291, appendix A.
SALT = decode("DGv6ra1nlYgDCS1FRnbzlw")
SENDER = decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
BROWSER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SECRET = "BTBZMqHH6r4Tts7J_aSIgg"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
    "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
    "lcy4a-fN"
)
SERVICE = "https://push.example/p/abc"


def target(endpoint: str = SERVICE) -> PushTarget:
    return parse_target(endpoint, BROWSER, SECRET)


def test_the_example_of_the_rfc() -> None:
    """RFC 8291, appendix A, byte for byte."""
    key = ec.derive_private_key(int.from_bytes(SENDER, "big"), ec.SECP256R1())
    body = encrypt(b"When I grow up, I want to be a watermelon", target(), key=key, salt=SALT)
    # The RFC's header names a record of 4096 bytes, as ours does.
    assert body == decode(BODY)


def test_each_message_is_fresh() -> None:
    """Neither key nor salt is used twice, and nothing of the text is to be seen."""
    one, two = encrypt(b"x" * 900, target()), encrypt(b"x" * 900, target())
    assert one[:86] != two[:86]
    assert b"xxxx" not in one
    with pytest.raises(PushError):
        encrypt(b"x" * (MAX_MESSAGE + 1), target())


def test_who_sends() -> None:
    """RFC 8292: a token for this push service alone, signed by the key that is shown."""
    key = ec.generate_private_key(ec.SECP256R1())
    header = authorization(SERVICE, key, "https://bunker.example", 1000)
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
    ("endpoint", "key", "secret"),
    [
        ("http://push.example/x", BROWSER, SECRET),
        ("https://user@push.example/x", BROWSER, SECRET),
        ("ftp://push.example/x", BROWSER, SECRET),
        ("", BROWSER, SECRET),
        ("https://push.example/" + "x" * 1100, BROWSER, SECRET),
        ("https://push.example/\n", BROWSER, SECRET),
        (SERVICE, "AAAA", SECRET),
        (SERVICE, encode(b"\x04" + b"\x01" * 64), SECRET),
        (SERVICE, "not base64!", SECRET),
        (SERVICE, BROWSER, "AAAA"),
        (SERVICE, BROWSER, ""),
    ],
)
def test_what_a_browser_may_say(endpoint: str, key: str, secret: str) -> None:
    """An endpoint that is not https, and keys that are none, are refused."""
    with pytest.raises(PushError):
        parse_target(endpoint, key, secret)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "fd00::1", "100.64.0.1", "0.0.0.0"],
)
def test_nothing_inside_is_reached(address: str) -> None:
    """A public name that leads into the owner's network is not connected to."""

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, 443))]

    with pytest.raises(PushError, match="no public address"):
        deliver(target(), b"", {}, resolve=resolve)
