"""A push goes only to where it may, for keys that are a browser's."""

from typing import Any

import pytest

from bunker_core.nips.webpush import PushTarget, encode
from bunker_signer.approvers.push_service import PushError, deliver, parse_target

# RFC 8291, appendix A.
BROWSER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SECRET = "BTBZMqHH6r4Tts7J_aSIgg"
SERVICE = "https://push.example/p/abc"


def target(endpoint: str = SERVICE) -> PushTarget:
    return parse_target(endpoint, BROWSER, SECRET)


@pytest.mark.parametrize(
    ("endpoint", "key", "secret"),
    [
        ("http://push.example/x", BROWSER, SECRET),
        ("https://user@push.example/x", BROWSER, SECRET),
        ("ftp://push.example/x", BROWSER, SECRET),
        ("", BROWSER, SECRET),
        ("https://[::1/x", BROWSER, SECRET),
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

    with pytest.raises(PushError, match="within a network"):
        deliver(target(), b"", {}, resolve=resolve)
