"""`bunker status`, beside a running installation and without one."""

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bunker.cli import main
from bunker.harness import running_relay, running_signer
from bunker.installation import Installation
from bunker_client import RemoteSigner

CHECK = ("status", "--check", "--data")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    assert invoke("init", "--data", str(tmp_path / "data"), "--yes").exit_code == 0
    return Installation(tmp_path / "data")


async def test_status_of_what_runs(installation: Installation) -> None:
    """It names the relay that carries requests just now, the key's state and the paired apps."""
    data = str(installation.data)
    arguments = ("--profile", "private", "--signer", installation.remote_signer_pubkey())
    async with (
        running_relay(installation.relay, arguments=arguments) as relay,
        running_signer(installation.signer, [relay.url]) as signer,
    ):
        async with RemoteSigner.from_uri(signer.uri, timeout=10):
            result = await asyncio.to_thread(invoke, "status", "--data", data, "--json")
        assert result.exit_code == 0, result.output
        facts = json.loads(result.output)
        assert facts["relay"] == "ready"
        assert facts["relay_url"] == relay.url
        assert facts["signer"] == "running"
        assert facts["clients"] == 1
        assert facts["keys"][0]["state"] == "unlocked"
        shown = await asyncio.to_thread(invoke, "status", "--data", data)
        assert f"relay   ready, {relay.url}" in shown.output
        found = await asyncio.to_thread(invoke, *CHECK, data)
        assert found.exit_code == 0, found.output
        assert f"ok    a request goes through {relay.url} and back" in found.output
        assert "ok    signer present" in found.output
        assert "ok    the signer's database is whole" in found.output
        await relay.terminate()
        result = await asyncio.to_thread(invoke, *CHECK, data)
        assert result.exit_code == 1
        assert f"FAIL  {relay.url}" in result.output


def test_status_of_what_does_not_run(installation: Installation, tmp_path: Path) -> None:
    """A stopped installation is told from none at all, and both by the exit code."""
    stopped = invoke("status", "--data", str(installation.data))
    assert stopped.exit_code == 1
    assert "signer  stopped" in stopped.output
    for flags in ((), ("--check",)):
        nothing = invoke("status", *flags, "--data", str(tmp_path / "nothing"))
        assert nothing.exit_code == 1
        assert nothing.output.startswith("Error: there is no")
    assert not (tmp_path / "nothing").exists()


def test_check_finds_what_is_weak(installation: Installation) -> None:
    """Loose permissions and a damaged database fail; no backup and a master key beside it warn."""
    data = str(installation.data)
    healthy = invoke(*CHECK, data)
    assert healthy.exit_code == 0, healthy.output
    for said in ("same disk", "no backup yet", "not running"):
        assert f"{said}" in healthy.output
    installation.master_key.chmod(0o644)
    assert "FAIL  other users may read" in invoke(*CHECK, data).output
    installation.master_key.chmod(0o600)
    with sqlite3.connect(installation.signer / "signer.sqlite3") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    path = installation.signer / "signer.sqlite3"
    path.write_bytes(path.read_bytes()[:-2000] + bytes(2000))
    path.write_bytes(b"SQLite format 4" + path.read_bytes()[15:])
    assert "FAIL  the signer's database is damaged" in invoke(*CHECK, data).output


def test_check_finds_a_wrong_master_key(installation: Installation, tmp_path: Path) -> None:
    """A master key that does not open the key is said to be wrong before it is needed."""
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(bytes(32))
    wrong.chmod(0o600)
    arguments = (*CHECK, str(installation.data), "--master-key-file")
    result = invoke(*arguments, str(wrong))
    assert result.exit_code == 1
    assert "FAIL  the key does not open" in result.output
    assert "FAIL  master key" in invoke(*arguments, str(tmp_path / "no")).output


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_damaged_keys_are_said(installation: Installation, content: bytes) -> None:
    """A file that a full disk left empty, or another program's: one line, and with 1."""
    for file in installation.keys.iterdir():
        file.write_bytes(content)
    data = str(installation.data)
    for arguments in (CHECK, ("status", "--data")):
        result = invoke(*arguments, data)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), result.exception
        assert "is damaged" in result.output


def test_backup_ages(installation: Installation, tmp_path: Path) -> None:
    """A backup is remembered, and after a month asked for again."""
    data = str(installation.data)
    assert invoke("backup", "--data", data, str(tmp_path / "backup")).exit_code == 0
    assert "ok    the last backup is 0 days old" in invoke(*CHECK, data).output
    (installation.signer / "last-backup").write_text(f"{int(time.time()) - 40 * 86_400}\n")
    assert "warn  the last backup is 40 days old" in invoke(*CHECK, data).output
