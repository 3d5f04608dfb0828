"""cli/common.py: which signer is meant, by what is typed, exported or kept."""

import json
import shutil
from pathlib import Path

from bunker.harness import running_relay, running_signer
from bunker_client import Session, Sessions
from bunker_core.nips.nip19 import encode_npub
from client.cli._bunker import NOTE, bunker, fails, uri
from support.scripted import Asked, scripted_relay, scripted_signer
from support.strategies import secret_key


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
