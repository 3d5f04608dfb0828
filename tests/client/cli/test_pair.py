"""cli/pair.py, cli/sign.py: paired once, then every command; a pairing is carried and forgotten."""

import asyncio
import json
import sys
from pathlib import Path

from bunker.harness import running_relay, running_signer
from bunker_core.event import parse_event_json, verify
from bunker_core.nips import nip44
from bunker_core.nips.bunker_uri import parse_nostrconnect_uri
from bunker_core.nips.nip19 import encode_npub
from client.cli._bunker import NOTE, bunker, fails
from support.scripted import scripted_relay, scripted_signer
from support.strategies import secret_key


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
