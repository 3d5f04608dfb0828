"""Backup and restore: an installation comes back on an empty machine, a bad file does no harm."""

import gzip
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bunker.backup.archive import BackupFailed, make_backup, restore_backup
from bunker.cli import main
from bunker.harness import running_relay, running_signer
from bunker.installation import Installation
from bunker_client import RemoteSigner
from bunker_core.event import EventTemplate, sign_event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.local.files import write_private
from bunker_core.pool import RelayPool
from bunker_relay.event.lists import FILE as LISTS
from bunker_relay.event.lists import Lists


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


async def test_restored_installation_serves_the_old_pairing(tmp_path: Path) -> None:
    """Key, grants, audit log and stored events are back, and the paired app notices nothing."""
    old, new = tmp_path / "old", tmp_path / "new"
    app_key = SecretKey.generate()
    note = sign_event(EventTemplate(1, "kept", (), 1_700_000_000), SecretKey.generate())
    async with running_relay(old / "relay") as relay:
        port = relay.port
        async with running_signer(old / "signer", [relay.url], allow="sign_event:1") as signer:
            async with RemoteSigner.from_uri(signer.uri, client_key=app_key, timeout=10) as app:
                pubkey = (await app.request_signature({"kind": 1})).pubkey
            async with RelayPool([relay.url]) as pool:
                assert await pool.publish(note).delivered(5)
            # while both run
            said = run("backup", "--data", str(old), str(tmp_path / "backup"))
            assert signer.npub in said
    master = (old / "signer" / "master.key").read_bytes()
    assert master not in gzip.decompress((tmp_path / "backup").read_bytes())
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0

    proof = ("--master-key-file", str(old / "signer" / "master.key"))
    said = run("restore", "--data", str(new), *proof, str(tmp_path / "backup"))
    assert "master key" in said
    assert f"{app_key.pubkey[:8]}…{app_key.pubkey[-8:]}" in said  # the list of apps
    assert "not proved" not in said
    write_private(new / "signer" / "master.key", master, replace=False)
    async with (
        running_relay(new / "relay", port=port) as relay,
        running_signer(new / "signer", [relay.url]) as signer,
        RemoteSigner.from_uri(signer.uri, client_key=app_key, timeout=10) as app,
        RelayPool([relay.url]) as pool,
    ):
        assert (await app.request_signature({"kind": 1})).pubkey == pubkey
        subscription = pool.subscribe(Filter(kinds=frozenset({1})))
        assert (await anext(subscription)).event.id == note.id
    assert "sign_event" in run("signer", "audit", "--data", str(new / "signer"))
    for path in new.rglob("*"):
        private = path.is_dir() or path.is_relative_to(new / "signer" / "keys")
        assert not private or path.stat().st_mode & 0o077 == 0, path


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    run("init", "--data", str(tmp_path / "data"), "--yes")
    return Installation(tmp_path / "data")


def test_backup_has_the_keys_and_nothing_that_opens_them(
    installation: Installation, tmp_path: Path
) -> None:
    """Whatever lies in the data directory, only what is on the list goes into the file."""
    (installation.data / "recovery.txt").write_text("ncryptsec1…")
    (installation.signer / "notes.txt").write_text("my passphrase")
    (installation.keys / "link").symlink_to(installation.master_key)
    manifest = make_backup(installation, tmp_path / "backup", 1_700_000_000)
    assert manifest["npub"] == installation.npub()
    assert manifest["files"]
    assert all(name.startswith("signer/keys/") for name in manifest["files"])
    assert "signer/keys/link" not in manifest["files"]
    with pytest.raises(BackupFailed, match="is there already"):
        make_backup(installation, tmp_path / "backup", 1_700_000_000)
    with pytest.raises(BackupFailed, match="not empty"):
        restore_backup(tmp_path / "backup", installation)
    with pytest.raises(BackupFailed, match="no installation"):
        make_backup(Installation(tmp_path / "nothing"), tmp_path / "other", 0)


def test_signer_is_restored_beside_a_relay_that_serves(
    installation: Installation, tmp_path: Path
) -> None:
    """Where relay and signer have a place of their own, each comes back without the other."""
    said = run("backup", "--data", str(installation.data), str(tmp_path / "backup"))
    assert "not in it: the relay's events" in said
    there = Installation(tmp_path / "there")
    (there.relay / "events").mkdir(parents=True)
    restore_backup(tmp_path / "backup", there)
    assert there.npub() == installation.npub()
    assert [path.name for path in there.signer.iterdir()] == ["keys"]


def _planted(backup: Path, target: Path, pubkey: str) -> None:
    """Write `backup` anew with an app more in it, all digests right: what S11's attacker can do."""
    with tarfile.open(backup) as archive:
        content = {item.name: archive.extractfile(item) for item in archive.getmembers()}
        files = {name: stream.read() for name, stream in content.items() if stream}
    manifest = json.loads(files.pop("manifest.json"))
    database = target.with_suffix(".sqlite3")
    database.write_bytes(files["signer/signer.sqlite3"])
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("PRAGMA journal_mode = DELETE")
        opened.execute(
            "INSERT INTO clients VALUES ('default', ?, 'Notes', '', '', 0, '[]', '', 0, 0)",
            (pubkey,),
        )
        opened.execute(
            "INSERT INTO grants (key_name, client_pubkey, method, param, effect, created_at, "
            "window_start, window_used) VALUES ('default', ?, 'sign_event', '', 'allow', 0, 0, 0)",
            (pubkey,),
        )
        opened.commit()
    files["signer/signer.sqlite3"] = database.read_bytes()
    manifest["files"]["signer/signer.sqlite3"] = sha256(database.read_bytes()).hexdigest()
    with tarfile.open(target, "w:gz") as archive:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_lists_of_a_relay_that_nobody_vouches_for_wait_too(
    installation: Installation, tmp_path: Path
) -> None:
    """Whoever changed a backup could let themselves publish, or shut the owner's address out."""
    intruder = SecretKey.generate().pubkey
    lists = Lists(installation.relay / LISTS)
    installation.relay.mkdir(exist_ok=True)
    with lists.change():
        lists.allowed_pubkeys[intruder] = ""
        lists.block_ip("192.0.2.7", "the owner's")
    run("backup", "--data", str(installation.data), str(tmp_path / "backup"))
    there = Installation(tmp_path / "there")
    said = run("restore", "--data", str(there.data), str(tmp_path / "backup"))
    assert f"relay    allowed pubkeys: {intruder}" in said
    assert "relay    blocked ips: 192.0.2.7" in said
    assert not (there.relay / LISTS).exists()
    run("restore", "--data", str(there.data), "--confirm", "--yes")
    assert Lists(there.relay / LISTS).allowed_pubkeys == {intruder: ""}
    proved = Installation(tmp_path / "proved")
    restore_backup(tmp_path / "backup", proved, installation.master_key)
    assert (proved.relay / LISTS).exists()


@pytest.fixture
async def served(tmp_path: Path) -> Installation:
    """An installation that has run."""
    data = tmp_path / "data"
    async with running_relay(data / "relay") as relay, running_signer(data / "signer", [relay.url]):
        pass
    return Installation(data)


async def test_an_app_that_was_put_into_a_backup_signs_nothing(
    served: Installation, tmp_path: Path
) -> None:
    """With the master key the change is found; without, nobody's rights count until confirmed."""
    intruder = SecretKey.generate().pubkey
    run("backup", "--data", str(served.data), str(tmp_path / "good"))
    _planted(tmp_path / "good", tmp_path / "bad", intruder)
    with pytest.raises(BackupFailed, match="changed since"):
        restore_backup(tmp_path / "bad", Installation(tmp_path / "a"), served.master_key)
    assert not [path for path in (tmp_path / "a").rglob("*") if not path.is_dir()]

    there = Installation(tmp_path / "b")
    said = run("restore", "--data", str(there.data), str(tmp_path / "bad"))
    assert "not proved to be yours" in said
    assert (
        f"Notes  {intruder[:8]}…{intruder[-8:]}  key default, 1 rule" in said
    )  # seen, not in force
    assert not (there.signer / "signer.sqlite3").exists()
    run("restore", "--data", str(there.data), "--confirm", "--yes")
    assert intruder in run("signer", "clients", "--data", str(there.signer), "--json")


async def test_what_is_not_confirmed_is_not_put_over_what_came_since(
    served: Installation, tmp_path: Path
) -> None:
    """A signer that was started meanwhile keeps its apps; the way out is said."""
    make_backup(served, tmp_path / "unsealed", 1_700_000_000)
    there = Installation(tmp_path / "there")
    run("restore", "--data", str(there.data), str(tmp_path / "unsealed"))
    (there.signer / "signer.sqlite3").touch()
    result = CliRunner().invoke(main, ["restore", "--data", str(there.data), "--confirm", "--yes"])
    assert result.exit_code == 1
    assert "started since" in result.output
    result = CliRunner().invoke(main, ["restore", "--data", str(served.data), "--confirm"])
    assert "nothing waits" in result.output


def test_a_backup_is_private_from_its_first_byte(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask, and however it fails: never readable, never half a file."""
    before = os.umask(0)
    modes: list[int] = []
    opened = tarfile.open

    def watched(*arguments: Any, **named: Any) -> Any:
        modes.append((tmp_path / "backup").stat().st_mode & 0o777)
        return opened(*arguments, **named)

    try:
        monkeypatch.setattr(tarfile, "open", watched)
        make_backup(installation, tmp_path / "backup", 0)
        assert modes == [0o600]
        monkeypatch.setattr(tarfile, "open", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_backup(installation, tmp_path / "other", 0)
    finally:
        os.umask(before)
    assert not (tmp_path / "other").exists()


Change = Callable[[dict[str, bytes], dict[str, str]], None]


def _damage(files: dict[str, bytes], _: dict[str, str]) -> None:
    name = next(iter(files))
    files[name] = files[name][:-1] + b"?"


def _lose(files: dict[str, bytes], _: dict[str, str]) -> None:
    del files[next(iter(files))]


def _add(files: dict[str, bytes], _: dict[str, str]) -> None:
    files["signer/keys/more"] = b"x"


def _climb(files: dict[str, bytes], digests: dict[str, str]) -> None:
    name = next(iter(files))
    files["../escaped"] = files.pop(name)
    digests["../escaped"] = digests.pop(name)


def _plant(files: dict[str, bytes], digests: dict[str, str]) -> None:
    name = next(iter(files))
    files["signer/master.key"] = files.pop(name)
    digests["signer/master.key"] = digests.pop(name)


@pytest.mark.parametrize("change", [_damage, _lose, _add, _climb, _plant])
def test_tampered_backup_is_refused_and_nothing_written(
    installation: Installation, tmp_path: Path, change: Change
) -> None:
    """A file that was damaged or made by another writes nothing, inside or outside."""
    make_backup(installation, tmp_path / "good", 1_700_000_000)
    with tarfile.open(tmp_path / "good") as archive:
        content = {item.name: archive.extractfile(item) for item in archive.getmembers()}
        files = {name: stream.read() for name, stream in content.items() if stream}
    manifest = json.loads(files.pop("manifest.json"))
    change(files, manifest["files"])
    with tarfile.open(tmp_path / "bad", "w:gz") as archive:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    target = tmp_path / "target" / "data"
    with pytest.raises(BackupFailed):
        restore_backup(tmp_path / "bad", Installation(target))
    assert not [path for path in target.parent.rglob("*") if not path.is_dir()]
    restore_backup(tmp_path / "good", Installation(target))


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"\0" * 2048, mtime=0)])
def test_what_is_no_backup_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    """Any other file is refused without a traceback."""
    (tmp_path / "file").write_bytes(content)
    arguments = ["restore", "--data", str(tmp_path / "data"), str(tmp_path / "file")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
