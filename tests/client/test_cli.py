"""cli.py: the commands, as processes of their own: output, errors and exit codes."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import RequestTooLarge, Session, Sessions
from bunker_client.cli.common import exit_code
from bunker_core.event import EventTemplate, parse_event_json, sign_event, verify
from bunker_core.nips import nip44
from bunker_core.nips.bunker_uri import BunkerURI, parse_nostrconnect_uri
from bunker_core.nips.nip19 import encode_npub
from support import commands
from support.scripted import Answer, Asked, Message, Peer, scripted_relay, scripted_signer
from support.strategies import secret_key

NOTE = '{"kind": 1, "content": "hello"}'


async def bunker(
    *arguments: str, stdin: str = "", environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `bunker` and return its exit code, standard output and standard error."""
    done = await asyncio.to_thread(
        commands.run, arguments, stdin.encode(), {**os.environ, **(environment or {})}
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def fails(*arguments: str, stdin: str = "") -> str:
    """Run `bunker`, which has to fail with one line on standard error; return that line."""
    code, out, err = await bunker(*arguments, stdin=stdin)
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1, err
    return err


def uri(*relays: str, secret: str = "0123456789abcdef") -> str:
    return str(BunkerURI(secret_key(8).pubkey, relays, secret))


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


async def test_an_auth_url_is_shown_on_standard_error() -> None:
    """The page where the owner has to agree; standard output has the event alone."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = lambda asked: [
            {"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"},
            signer.good(asked),
        ]
        code, out, err = await bunker("sign", "--uri", signer.uri, stdin=NOTE)
    assert code == 0
    assert json.loads(out)["pubkey"] == signer.user.pubkey
    assert "https://example.com/yes" in err


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


# --- exit codes --------------------------------------------------------------------------------


async def failing(*arguments: str, stdin: str = NOTE) -> tuple[int, str]:
    """Return the exit code and the `type` of the error, which --json has on one line."""
    code, out, err = await bunker(*arguments, "--json", stdin=stdin)
    assert out == ""
    told = json.loads(err)
    assert told["exit_code"] == code
    assert told["error"]
    return code, told["type"]


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


# --- with a session ----------------------------------------------------------------------------


async def test_pair_once_then_use_everything(tmp_path: Path) -> None:
    """pair, sessions, whoami, sign, publish, encrypt, decrypt, forget: over relay and signer."""
    kept = ("--sessions", str(tmp_path / "sessions"))
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], arguments=["--profile", "full"]) as signer,
    ):
        code, out, err = await bunker("pair", "-", *kept, stdin=signer.uri + "\n")
        assert (code, err) == (0, "")
        assert signer.npub in out

        code, out, _ = await bunker("sessions", *kept, "--json")
        [session] = json.loads(out)
        assert (session["name"], session["npub"], session["relays"]) == (
            "default",
            signer.npub,
            [relay.url],
        )
        code, out, _ = await bunker("whoami", *kept)
        assert (code, out) == (0, signer.npub + "\n")
        code, out, _ = await bunker("whoami", *kept, "--json")
        me = json.loads(out)["pubkey"]

        lines = '{"kind":1,"content":"a"}\n{"kind":7,"content":"+"}\n'
        code, out, _ = await bunker("sign", *kept, stdin=lines)
        events = [verify(parse_event_json(line)) for line in out.splitlines()]
        assert [(event.kind, event.pubkey) for event in events] == [(1, me), (7, me)]

        code, out, _ = await bunker("publish", "--relay", relay.url, *kept, stdin="Grüße\n")
        assert code == 0
        assert f"{relay.url}  ok" in out
        code, out, _ = await bunker(
            "publish", "--relay", relay.url, *kept, "--json", stdin=events[0].to_json().decode()
        )
        published = json.loads(out)
        assert published["event"]["id"] == events[0].id
        assert published["receipts"][0]["accepted"] is True

        peer = secret_key(9)
        code, payload, _ = await bunker("encrypt", "--to", peer.pubkey, *kept, stdin="secret\n")
        key = nip44.conversation_key(peer.shared_x(me))
        assert nip44.decrypt(payload.strip(), key) == "secret\n"
        code, out, _ = await bunker("decrypt", "--from", peer.pubkey, *kept, stdin=payload)
        assert (code, out) == (0, "secret\n")
        batch = json.dumps({"from": peer.pubkey, "payload": payload.strip()})
        bad = json.dumps({"from": peer.pubkey, "payload": "x"})
        code, out, err = await bunker("decrypt", "--batch", *kept, stdin=f"{batch}\n{bad}\n")
        first, second = map(json.loads, out.splitlines())
        assert first == {"plaintext": "secret\n"}
        assert "error" in second
        assert err == ""

        code, out, _ = await bunker(
            "doctor", *kept, "--session", "default", "--try", "sign_event:1,nip44_decrypt"
        )
        assert (code, out.splitlines()[-1]) == (0, "all is well"), out
        for check in ("reachable", "TLS", "clock", "forwards", "keeps no", "AUTH", "NIP-11"):
            assert f"{relay.url} {check}" in out
        for check in ("signer present", "round trip", "permission sign_event:1: granted"):
            assert check in out

        code, out, err = await bunker("sessions", *kept, "forget")
        assert (code, err) == (0, "")
        assert "no session" in await fails("whoami", *kept)


async def test_doctor_does_not_use_up_the_secret(tmp_path: Path) -> None:
    """`bunker doctor URI`: what is examined can still be paired; a dead signer is exit code 1."""
    kept = ("--sessions", str(tmp_path / "sessions"))
    async with running_relay(tmp_path / "relay") as relay:
        async with running_signer(tmp_path / "signer", [relay.url]) as signer:
            code, out, _ = await bunker("doctor", signer.uri)
            assert (code, out.splitlines()[-1]) == (0, "all is well"), out
            code, _, _ = await bunker("pair", "-", *kept, stdin=signer.uri)
            assert code == 0
        code, out, _ = await bunker("doctor", signer.uri, "--json", "--timeout", "2")
        [failed] = [item for item in json.loads(out) if item["health"] == "failed"]
        assert code == 1
        assert failed["check"] == "signer present"
        assert failed["remedy"].startswith("start the signer")


async def test_the_uri_need_not_be_on_the_command_line(tmp_path: Path) -> None:
    """By environment, by file and by standard input: a command line is public on the machine."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        file = tmp_path / "uri"
        file.write_text(signer.uri + "\n")
        code, _, _ = await bunker("whoami", "--uri-file", str(file))
        assert code == 0
        code, _, _ = await bunker("whoami", "--uri-file", "-", stdin=signer.uri)
        assert code == 0
        code, out, _ = await bunker("whoami", environment={"BUNKER_URI": signer.uri})
        assert code == 0
        assert out.startswith("npub1")


async def test_what_is_typed_wins_over_an_exported_uri(tmp_path: Path) -> None:
    """$BUNKER_URI before the session `default`, a typed --session before $BUNKER_URI."""
    kept = ("--sessions", str(tmp_path / "s"))
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as mine,
        scripted_signer(relay.url) as other,
    ):
        other.user = secret_key(40)
        exported = {"BUNKER_URI": other.uri}
        code, _, err = await bunker("pair", mine.uri, *kept, environment=exported)
        assert code == 0, err
        assert "$BUNKER_URI is set, and the other commands use it" in err
        assert "`unset BUNKER_URI`, or give them --session default" in err
        for typed, user in (((), other.user), (("--session", "default"), mine.user)):
            code, out, err = await bunker("whoami", *typed, *kept, environment=exported)
            assert (code, out.strip()) == (0, encode_npub(user.pubkey)), err
        assert (await bunker("pair", mine.uri, *kept))[2] == ""  # nothing exported, nothing said


async def test_an_error_says_that_the_uri_was_exported(tmp_path: Path) -> None:
    """A used-up URI that is still exported: the error names it, and the session that is there."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        exported = {"BUNKER_URI": signer.uri}

        def refuse(asked: Asked) -> list[object]:
            return [{"id": asked.id, "error": "denied: the secret is wrong, used or too old"}]

        kept = ("--sessions", str(tmp_path / "s"))
        assert (await bunker("pair", signer.uri, *kept))[0] == 0
        (tmp_path / "s" / "uris").rename(tmp_path / "moved")  # another client from now on
        signer.answer = refuse
        code, _, err = await bunker("sign", *kept, stdin=NOTE, environment=exported)
        assert code == 9
        assert "wins over the session 'default'" in err
        assert "`unset BUNKER_URI`, or give --session default" in err
        none = ("--sessions", str(tmp_path / "none"))
        _, _, err = await bunker("sign", *none, stdin=NOTE, environment=exported)
        assert "(the URI is the one in $BUNKER_URI)" in err
        assert "session 'default'" not in err
        _, _, err = await bunker("sign", "--uri", signer.uri, *none, stdin=NOTE)
        assert "BUNKER_URI" not in err


async def test_an_exported_uri_does_not_stand_in_the_way_of_an_invitation(dead_url: str) -> None:
    """`bunker pair --relay` with $BUNKER_URI set invites; it is no wrong use of the command."""
    command = ("pair", "--relay", dead_url, "--timeout", "0.5")
    code, _, err = await bunker(*command, environment={"BUNKER_URI": uri(dead_url)})
    assert code == 3, err


async def test_doctor_takes_every_text_that_names_a_remote_signer(tmp_path: Path) -> None:
    """session:NAME, without the NAME too, and nbunksec1... are examined with their pairing."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        kept = ("--sessions", str(tmp_path / "s"))
        assert (await bunker("pair", signer.uri, *kept, "--session", "work"))[0] == 0
        _, text, _ = await bunker("sessions", *kept, "nbunksec", "work")
        shutil.copy(tmp_path / "s" / "work.session", tmp_path / "s" / "default.session")
        for given in ("session:work", "session:", " Session:default", text.strip()):
            tried = ("--try", "sign_event:1")
            code, out, err = await bunker("doctor", given, *kept, *tried, "--json")
            assert code == 0, out + err
            found = {item["check"]: item["health"] for item in json.loads(out)}
            assert found["paired"] == found["permission sign_event:1"] == "ok"


async def test_doctor_reads_a_name_as_every_command_does() -> None:
    """The domain of a name may have a port, and the name itself may be left out."""
    for name, asked in (("alice@127.0.0.1:1", "alice"), ("127.0.0.1:1", "_")):
        assert f"/.well-known/nostr.json?name={asked}: " in await fails("doctor", name)


async def test_pair_invites_a_signer_with_a_qr_code(tmp_path: Path) -> None:
    """--relay shows a nostrconnect:// URI, as text and picture, and keeps who answers."""
    kept = ("--sessions", str(tmp_path / "s"))
    svg, png = tmp_path / "qr.svg", tmp_path / "qr.png"
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "pair", "--relay", relay.url, *kept),
            *("--ask", "sign_event:1", "--qr-svg", str(svg), "--qr-png", str(png)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr
        async with asyncio.timeout(30):
            async for line in process.stderr:
                if line.startswith(b"nostrconnect://"):
                    break
            invitation = parse_nostrconnect_uri(line.decode())
            assert svg.read_text().startswith("<?xml")
            assert png.read_bytes().startswith(b"\x89PNG")
            response = {"id": "1", "result": invitation.secret}
            await signer.send(invitation.client_pubkey, response)
            out, _ = await process.communicate()
        assert process.returncode == 0
        assert encode_npub(signer.user.pubkey).encode() in out
        code, out_text, _ = await bunker("whoami", *kept)
        assert (code, out_text.strip()) == (0, encode_npub(signer.user.pubkey))


async def test_forgetting_works_without_the_signer(tmp_path: Path) -> None:
    """The session is deleted whatever the signer says, and the person is told."""
    kept = ("--sessions", str(tmp_path / "s"))
    async with scripted_relay() as relay:
        async with scripted_signer(relay.url) as signer:
            code, _, _ = await bunker("pair", *kept, environment={"BUNKER_URI": signer.uri})
            assert code == 0
        code, _, err = await bunker("sessions", *kept, "--timeout", "0.5", "forget")
    assert code == 0
    assert "the signer was not told" in err
    code, out, _ = await bunker("sessions", *kept, "--json")
    assert json.loads(out) == []


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


async def refuse(peer: Peer, message: Message) -> bool:
    if message[0] == "EVENT":
        await peer.send("OK", message[1]["id"], False, "blocked: no")
    return bool(message[0] == "EVENT")


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


async def test_completion_knows_the_sessions(tmp_path: Path) -> None:
    """The shell completes `--session` with the names that are kept."""
    sessions = Sessions(tmp_path)
    for name in ("work", "home"):
        sessions.save(
            Session(secret_key(1), secret_key(2).pubkey, secret_key(3).pubkey, ("wss://x.y",)), name
        )
    completion = {
        "_BUNKER_COMPLETE": "bash_complete",
        "COMP_WORDS": f"bunker sign --sessions {tmp_path} --session w",
        "COMP_CWORD": "5",
    }
    _, out, _ = await bunker(environment=completion)
    assert out.split() == ["plain,work"]


async def test_a_pairing_in_one_text_signs_in_a_ci(tmp_path: Path) -> None:
    """`bunker sessions nbunksec` here, a file with it there, and no session: signed, every time."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        kept = ("--sessions", str(tmp_path / "kept"))
        code, _, err = await bunker("pair", signer.uri, *kept)
        assert code == 0, err
        code, text, err = await bunker("sessions", *kept, "nbunksec")
        assert code == 0, err
        assert text.startswith("nbunksec1")
        (tmp_path / "secret").write_text(text)
        code, _, err = await bunker("pair", text.strip(), "--sessions", str(tmp_path / "again"))
        assert code == 0, err  # kept as a session, sealed
        code, out, err = await bunker("sign", "--sessions", str(tmp_path / "again"), stdin=NOTE)
        assert code == 0, err
        for _ in range(2):
            elsewhere = ("--sessions", str(tmp_path / "ci"), "--uri-file", str(tmp_path / "secret"))
            code, out, err = await bunker("sign", *elsewhere, stdin=NOTE)
            assert code == 0, err
            assert json.loads(out)["content"] == "hello"
        assert not (tmp_path / "ci").exists()
