"""What goes wrong is one line, and the exit code says which; nothing hostile reaches a terminal."""

import json
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import RequestTooLarge
from bunker_client.cli.common import exit_code
from bunker_core.event import EventTemplate, sign_event
from client.cli._bunker import NOTE, bunker, failing, fails, uri
from support.scripted import Answer, Asked, Message, Peer, scripted_relay, scripted_signer
from support.strategies import secret_key


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bunker://abc?relay=wss://x.example", "no public key"),
        (f"bunker://{secret_key(8).pubkey}", "names no relay"),
        (f"bunker://{secret_key(8).pubkey}?relay=http://x.example", "ws:// or wss://"),
    ],
)
async def test_a_malformed_uri_is_one_line(given: str, message: str) -> None:
    """What is wrong with the URI, and nothing of its secret."""
    assert message in await fails("sign", "--uri", given, stdin=NOTE)


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ('{"kind":', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "event is not an object"),
        ('{"kind": "1"}', "kind is not an integer"),
        ('{"content": "x"}', "'kind' is missing"),
    ],
)
async def test_what_is_no_event_is_one_line(dead_url: str, stdin: str, message: str) -> None:
    """A wrong event is refused before any relay is asked."""
    assert message in await fails("sign", "--uri", uri(dead_url), stdin=stdin)


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("sign",), "", "standard input is empty"),
        (("decrypt", "--from", "nsec1x"), "x", "not a"),
        (("encrypt", "--to", "alice"), "x", "not a"),
        (("decrypt", "--batch"), "{}", "line 1 has no `from`"),
        (("decrypt", "--batch"), "x", "line 1 is not JSON"),
    ],
)
async def test_wrong_input_is_one_line(
    arguments: tuple[str, ...], stdin: str, message: str
) -> None:
    """Refused before any relay is asked."""
    assert message in await fails(*arguments, "--uri", uri("ws://127.0.0.1:1"), stdin=stdin)


async def test_an_unreachable_relay_is_one_line(dead_url: str) -> None:
    """Which relay, and why."""
    line = await fails("sign", "--uri", uri(dead_url), "--timeout", "0.5", stdin=NOTE)
    assert dead_url in line
    assert "connection refused" in line


async def test_a_used_secret_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    """A URI pairs one client; the second is told to ask for a new one."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        code, out, err = await bunker("sign", "--uri", signer.uri, stdin=NOTE)
        assert (code, err) == (0, "")
        assert json.loads(out)["content"] == "hello"
        elsewhere = ("--sessions", str(tmp_path / "another home"))
        line = await fails("sign", "--uri", signer.uri, *elsewhere, stdin=NOTE)
        assert "ask for a new bunker URI" in line
        assert "session that `bunker pair` kept" in line


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e"


async def test_a_hostile_auth_url_reaches_no_terminal() -> None:
    """What is no web page is not printed; the request waits, and is answered."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = lambda asked: [
            {"id": asked.id, "result": "auth_url", "error": f"https://example.com/{HOSTILE}"},
            signer.good(asked),
        ]
        code, _, err = await bunker("sign", "--uri", signer.uri, stdin=NOTE)
    assert (code, err) == (0, "")


async def test_a_hostile_reason_reaches_no_terminal() -> None:
    """A relay that refuses the subscription in control characters."""

    async def refuse(peer: Peer, message: Message) -> bool:
        if message[0] == "REQ":
            await peer.send("CLOSED", message[1], f"blocked: {HOSTILE}")
        return bool(message[0] == "REQ")

    async with scripted_relay(refuse) as relay:
        line = await fails("sign", "--uri", uri(relay.url), "--timeout", "0.5", stdin=NOTE)
        code, out, err = await bunker("doctor", uri(relay.url), "--timeout", "0.5")
    assert "blocked:" in line
    assert code == 1
    for character in HOSTILE.replace("]0;owned", "").replace("[2J", ""):
        assert character not in line + out + err


async def test_each_way_to_fail_has_an_exit_code(dead_url: str, tmp_path: Path) -> None:
    """3 no relay, 4 offline, 5 no answer, 6 not approved, 7 denied, 8 locked, 9 no session, ..."""
    short = ("--timeout", "0.5", "--approval-timeout", "0.5")
    sign = ("sign", "--uri")
    assert await failing(*sign, uri(dead_url), *short) == (3, "RelayUnreachable")
    missing = ("--sessions", str(tmp_path / "none"))
    assert await failing("sign", *missing) == (9, "SessionError")
    assert await failing("sign", "--uri", "bunker://x") == (1, "InvalidURI")
    assert exit_code(RequestTooLarge("sign_event")) == 12
    async with scripted_relay() as relay:
        assert await failing(*sign, uri(relay.url), *short) == (4, "SignerOffline")
        async with scripted_signer(relay.url) as signer:

            def but(response: dict[str, str] | None) -> Answer:
                def answer(asked: Asked) -> list[object]:
                    pairing = asked.method in ("connect", "get_public_key")
                    if pairing or (response and asked.method != "sign_event"):
                        return [signer.good(asked)]
                    return [] if response is None else [{"id": asked.id, **response}]

                return answer

            cases: list[tuple[dict[str, str] | None, tuple[int, str]]] = [
                (None, (5, "RequestTimeout")),
                ({"result": "auth_url", "error": "https://x.example"}, (6, "WaitingForApproval")),
                ({"result": "error", "error": "denied: no"}, (7, "RequestDenied")),
                ({"result": "error", "error": "locked: paused"}, (8, "SignerLocked")),
                ({"error": "unsupported: unknown method"}, (10, "MethodUnknown")),
                ({"error": "Method not found"}, (10, "MethodUnknown")),
                ({"error": "invalid: your clock is 400 s behind the relay's"}, (11, "ClockOff")),
                (
                    {"error": "invalid: too large for the relay, 300000 of 131072 bytes"},
                    (12, "AnswerTooLarge"),
                ),
            ]
            for response, expected in cases:
                signer.answer = but(response)
                # Only what never comes is waited for briefly: an answer may take its time.
                waits = short if response is None else ("--approval-timeout", "0.5")
                code, out, err = await bunker(*sign, signer.uri, *waits, "--json", stdin=NOTE)
                told = json.loads(err.splitlines()[-1])
                assert (code, told["type"], out) == (*expected, "")


async def refuse(peer: Peer, message: Message) -> bool:
    if message[0] == "EVENT":
        await peer.send("OK", message[1]["id"], False, "blocked: no")
    return bool(message[0] == "EVENT")


async def test_publish_says_when_no_relay_took_the_event(dead_url: str) -> None:
    """Exit code 3, with each relay's reason on standard output."""
    event = sign_event(EventTemplate(1, "x", (), 1), secret_key(1)).to_json().decode()
    async with scripted_relay(refuse) as relay:
        code, out, err = await bunker(
            *("publish", "--relay", relay.url, "--relay", dead_url, "--timeout", "1"), stdin=event
        )
    assert code == 3
    assert f"{relay.url}  refused  'blocked: no'" in out
    assert f"{dead_url}  refused  'connection refused'" in out
    assert "no relay took" in err
