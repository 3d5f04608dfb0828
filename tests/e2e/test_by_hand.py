"""The commands of the README, typed one after the other, as processes of their own."""

import asyncio
import json
import os
import sys
from pathlib import Path

from bunker.harness import running_relay, running_signer
from bunker_core.event import parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_signer.nse import NSE, FileStorage


async def bunker(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bunker",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_event_on_stdin_comes_back_signed_by_the_sealed_key(tmp_path: Path) -> None:
    """`bunker sign` prints the event, signed by the key that the signer's npub names."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        event = json.dumps({"kind": 1, "content": "Grüße, 世界", "tags": [["t", "x"]]})
        code, out, err = await bunker("sign", "--uri", signer.uri, stdin=event)
        assert (code, err) == (0, "")
        signed = verify(parse_event_json(out))
        assert (signed.kind, signed.content, signed.tags) == (1, "Grüße, 世界", (("t", "x"),))
        assert encode_npub(signed.pubkey) == signer.npub


async def test_running_signer_is_paired_with_a_second_client(tmp_path: Path) -> None:
    """`bunker signer pair` gives a running signer's next URI, with grants of its own."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url]) as signer,
    ):
        data = str(tmp_path / "signer")
        code, out, _ = await bunker("signer", "pair", "--data", data, "--allow", "sign_event:7")
        assert code == 0
        uri = out.strip().splitlines()[-1]
        assert uri.startswith(signer.uri.partition("&secret=")[0])
        code, out, _ = await bunker("sign", "--uri", uri, stdin='{"kind":7,"content":"+"}')
        assert code == 0
        assert json.loads(out)["kind"] == 7


async def test_ungranted_request_is_denied_with_the_reason(tmp_path: Path) -> None:
    """Without a grant and with nobody at the terminal, the client learns that it was denied."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        code, out, err = await bunker("sign", "--uri", signer.uri, stdin='{"kind":0}')
        assert code != 0
        assert out == ""
        assert "denied:" in err


async def test_same_key_signs_after_a_restart(tmp_path: Path) -> None:
    """The sealed key survives the process: the same npub, opened by the same master key."""
    async with running_relay(tmp_path / "relay") as relay:
        async with running_signer(tmp_path / "signer", [relay.url]) as first:
            npub = first.npub
        async with running_signer(tmp_path / "signer", [relay.url]) as second:
            assert second.npub == npub


async def test_relay_writes_nothing_of_a_request_to_disk(tmp_path: Path) -> None:
    """After a signature over the relay, no file of the relay names the signer."""
    async with running_relay(tmp_path / "relay") as relay:
        async with running_signer(tmp_path / "signer", [relay.url], allow="sign_event") as signer:
            code, _, _ = await bunker("sign", "--uri", signer.uri, stdin='{"kind":1}')
            assert code == 0
        await relay.terminate()
    pubkey = signer.uri.removeprefix("bunker://")[:64]
    files = [path for path in (tmp_path / "relay").rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert pubkey.encode() not in content
        assert bytes.fromhex(pubkey) not in content


async def test_private_key_is_in_no_file_in_the_clear(tmp_path: Path) -> None:
    """Nothing that relay and signer write holds the user key: as bytes, hex or nsec."""
    secret = os.urandom(32)
    forms = (secret, secret.hex().encode(), encode_nsec(bytearray(secret)).encode())
    pubkey = SecretKey(secret).pubkey
    data = tmp_path / "signer"
    data.mkdir()
    master = os.urandom(32)
    (data / "master.key").write_bytes(master)
    with NSE(master_key=bytearray(master), storage=FileStorage(str(data / "keys"))) as nse:
        assert nse.import_key(bytearray(secret)).pubkey == pubkey
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(data, [relay.url], allow="sign_event") as signer,
    ):
        assert signer.npub == encode_npub(pubkey)
        code, out, _ = await bunker("sign", "--uri", signer.uri, stdin='{"kind":1}')
        assert code == 0
        assert json.loads(out)["pubkey"] == pubkey
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) > 3
        for path in files:
            content = path.read_bytes()
            assert not any(form in content for form in forms), path.name


async def test_master_key_is_where_the_environment_says(tmp_path: Path) -> None:
    """BUNKER_MASTER_KEY_FILE names the key file: none lies beside the keys, no other opens them."""
    key_file = tmp_path / "elsewhere" / "master.key"
    key_file.parent.mkdir()
    data = tmp_path / "signer"

    async def first_words(relay_url: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "signer", "run", "--pair", "--data", str(data)),
            *("--relay", relay_url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "BUNKER_MASTER_KEY_FILE": str(key_file)},
        )
        assert process.stdout
        said = ""
        async with asyncio.timeout(30):
            async for line in process.stdout:
                said += line.decode()
                if line.startswith(b"bunker://"):
                    break
        if process.returncode is None:
            process.terminate()
        await process.communicate()
        return said

    async with running_relay(tmp_path / "relay") as relay:
        assert "bunker://" in await first_words(relay.url)
        assert key_file.stat().st_mode & 0o777 == 0o600
        assert not (data / "master.key").exists()
        key_file.write_bytes(os.urandom(32))
        refused = await first_words(relay.url)
        assert refused.startswith("Error: ")
        assert "bunker://" not in refused
        assert refused.count("\n") == 1
