"""`bunker status`: how the whole installation stands."""

import asyncio
import json
import os
import resource
import shutil
import sqlite3
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from bunker.backup.archive import LAST_BACKUP
from bunker.installation import DATABASE, Installation, open_to_others
from bunker.phones import examine as examine_phones
from bunker.phones import lines as phone_lines
from bunker.phones import phones_of, relay_url
from bunker.up.questions import RECOVERY_FILE, data_option, master_key_option
from bunker_client.doctor import Health, examine_signer
from bunker_core.errors import BunkerError
from bunker_signer.control.protocol import ControlError, NotRunning, send
from bunker_signer.key.keystore import key_storage
from bunker_signer.nse import NSE, NSEError
from bunker_signer.nse.wrap.master_key import MasterKey

_READY_TIMEOUT: Final = 5.0  # seconds
_OLD_BACKUP: Final = 30 * 86_400  # seconds
_LITTLE_DISK: Final = 200 * 2**20  # bytes
_LITTLE_MEMLOCK: Final = 2**20  # bytes


class Level(Enum):
    """How a finding is to be taken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


_LEVELS: Final = {
    Health.GOOD: Level.OK,
    Health.WARNING: Level.WARN,
    Health.UNKNOWN: Level.WARN,
    Health.BAD: Level.FAIL,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `text` also says what to do."""

    level: Level
    text: str


@click.command()
@data_option
@master_key_option
@click.option("--json", "as_json", is_flag=True, help="Print it for a program.")
@click.option("--check", is_flag=True, help="Look for what is wrong or weak, and say what to do.")
def status(data: Path, master_key_file: Path | None, as_json: bool, check: bool) -> None:
    """Show what runs, for whom, and how old the backup is.

    Exit code 1 if something does not run; with --check, if something fails. What is wrong on the
    way between an app and its signer, `bunker doctor` says.
    """
    installation = Installation(data)
    phones = phones_of(data)
    if not installation.has_keys and phones:
        _show_phones(data, phones, as_json=as_json, check=check)
    if not installation.has_keys:
        raise click.ClickException(f"there is no installation in {data}; start with `bunker up`")
    now = int(time.time())
    if check:
        findings = list(examine(installation, master_key_file, now))
        findings += [Finding(_LEVELS[health], text) for health, text in examine_phones(data)]
        well = all(finding.level is not Level.FAIL for finding in findings)
        shown = [{"level": item.level.value, "text": item.text} for item in findings]
        lines = [f"{item['level']:<5} {item['text']}" for item in shown]
        facts: Any = shown
    else:
        try:
            facts = gather(installation, now)
        except BunkerError as error:
            raise click.ClickException(str(error)) from None
        well = facts["relay"] == "ready" and facts["signer"] == "running"
        lines = [*_lines(facts), *phone_lines(phones)]
        if phones:
            facts["phones"] = phones
    click.echo(json.dumps(facts) if as_json else "\n".join(lines))
    sys.exit(0 if well else 1)


def _show_phones(
    data: Path, phones: list[dict[str, Any]], *, as_json: bool, check: bool
) -> NoReturn:
    """Show an installation whose keys are all on phones, and exit."""
    if check:
        found = [Finding(_LEVELS[health], text) for health, text in examine_phones(data)]
        facts: Any = [{"level": item.level.value, "text": item.text} for item in found]
        shown = [f"{item.level.value:<5} {item.text}" for item in found]
        well = all(item.level is not Level.FAIL for item in found)
    else:
        facts = {"relay_url": relay_url(data), "phones": phones}
        shown = [f"relay   {relay_url(data) or 'did not run yet'}", *phone_lines(phones)]
        well = True
    click.echo(json.dumps(facts) if as_json else "\n".join(shown))
    sys.exit(0 if well else 1)


def gather(installation: Installation, now: int) -> dict[str, Any]:
    """Return what `status` shows; raises NSEError when there is no installation."""
    facts: dict[str, Any] = {"npub": installation.npub(), "data": str(installation.data)}
    facts["clients"] = _count(installation.signer / DATABASE, "clients")
    facts["events"] = _count(installation.relay / "relay.sqlite3", "events")
    facts["last_backup"] = _last_backup(installation)
    facts["last_backup_days"] = (
        None if facts["last_backup"] is None else (now - facts["last_backup"]) // 86_400
    )
    try:
        said = send(installation.signer, "status")
    except NotRunning:
        return {**facts, "signer": "stopped", "relay": "unknown", "relay_url": None, "keys": []}
    except ControlError as error:
        return {**facts, "signer": str(error), "relay": "unknown", "relay_url": None, "keys": []}
    relay_url, serving = next(iter(said["relays"].items()), (None, "none"))
    facts |= {"signer": "running", "keys": said["keys"], "waiting": said["waiting"]}
    complaint = _not_ready(relay_url, installation) if relay_url else "no relay"
    relay = complaint or ("ready" if serving == "serving" else serving)
    return {**facts, "relay": relay, "relay_url": relay_url}


def examine(
    installation: Installation, master_key_file: Path | None, now: int
) -> Iterator[Finding]:
    """Yield what was found, the gravest matters first."""
    master = master_key_file or installation.master_key
    yield _opens(installation, master)
    yield from _files(installation, master)
    for path, name in (
        (installation.signer / DATABASE, "the signer's database"),
        (installation.relay / "relay.sqlite3", "the relay's database"),
    ):
        if _there(path):
            yield _database(path, name)
    try:
        facts = gather(installation, now)
    except BunkerError as error:
        yield Finding(Level.FAIL, f"{error}; `bunker restore` takes it out of a backup")
        return
    if facts["signer"] == "stopped":
        yield Finding(Level.WARN, "the signer is not running: `bunker up` starts it")
    elif facts["relay"] == "ready":
        yield Finding(Level.OK, f"a request goes through {facts['relay_url']} and back")
        if not _own_root(installation).exists():
            yield from _answers(facts["relay_url"], installation)
    else:
        yield Finding(Level.FAIL, f"{facts['relay_url']}: {facts['relay']}")
    yield from _memory(facts["keys"])
    yield _backup(facts["last_backup_days"])
    if (installation.data / RECOVERY_FILE).exists():
        text = f"the recovery copy is still here: move {installation.data / RECOVERY_FILE} away"
        yield Finding(Level.WARN, text)
    free = shutil.disk_usage(installation.data).free
    if free < _LITTLE_DISK:
        yield Finding(Level.FAIL, f"only {free >> 20} MiB are free on the disk")


def _opens(installation: Installation, master: Path) -> Finding:
    try:
        protector = MasterKey.from_file(master)
    except NSEError as error:
        return Finding(Level.FAIL, f"{error}; --master-key-file can name another")
    storage = key_storage(installation.signer)
    try:
        with NSE(storage=storage, protector=protector) as key:
            key.conversation_key(key.get_public_key())
    except NSEError as error:
        return Finding(Level.FAIL, f"the key does not open: {error}; is {master} the right one?")
    finally:
        protector.close()
    return Finding(Level.OK, f"the key of {installation.npub()} opens")


def _files(installation: Installation, master: Path) -> Iterator[Finding]:
    private = [installation.signer, installation.keys, master]
    private += installation.keys.iterdir()
    loose = [path for path in private if path.exists() and open_to_others(path)]
    for path in loose:
        yield Finding(Level.FAIL, f"other users may read {path}: chmod go-rwx {path}")
    if not loose:
        yield Finding(Level.OK, "only you can read the keys")
    if master.exists() and master.stat().st_dev == installation.keys.stat().st_dev:
        text = f"the master key {master} lies on the same disk as the keys it opens: "
        text += "whoever has one has both; --master-key-file can name another place"
        yield Finding(Level.WARN, text)


def _database(path: Path, name: str) -> Finding:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (result,) = database.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        result = str(error)
    if result == "ok":
        return Finding(Level.OK, f"{name} is whole")
    return Finding(Level.FAIL, f"{name} is damaged ({result}): restore a backup")


def _memory(keys: list[dict[str, Any]]) -> Iterator[Finding]:
    for key in keys:
        level = Level.WARN if key["memory"] == "plain" else Level.OK
        yield Finding(level, f"memory of the opened key {key['name']}: {key['memory']}")
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and limit < _LITTLE_MEMLOCK:
        text = f"only {limit} bytes can be locked in memory: raise it (ulimit -l)"
        yield Finding(Level.WARN, text)


def _backup(days: int | None) -> Finding:
    if days is None:
        return Finding(Level.WARN, "there is no backup yet: `bunker backup FILE` makes one")
    level = Level.WARN if days * 86_400 > _OLD_BACKUP else Level.OK
    return Finding(level, f"the last backup is {days} days old")


def _own_root(installation: Installation) -> Path:
    """Return where Caddy has its own authority's certificate, if it is one."""
    return installation.caddy / "pki" / "authorities" / "local" / "root.crt"


def _answers(relay_url: str, installation: Installation) -> Iterator[Finding]:
    """Ask the signer as a stranger would, all the way over the relay: as `bunker doctor` does."""
    remote = installation.remote_signer_pubkey()

    async def ask() -> list[Finding]:
        return [
            Finding(_LEVELS[item.health], f"{item.check}: {item.text} {item.remedy}".strip())
            async for item in examine_signer([relay_url], remote, _READY_TIMEOUT)
        ]

    yield from asyncio.run(ask())


def _not_ready(relay_url: str, installation: Installation) -> str:
    """Ask the relay to send a request to itself; return what is wrong, or ""."""
    url = f"http{relay_url.removeprefix('ws').rstrip('/')}/readyz"
    root = _own_root(installation)
    context = ssl.create_default_context(cafile=None if not root.exists() else str(root))
    if root.exists():
        context.load_default_certs()
    try:
        with urllib.request.urlopen(url, timeout=_READY_TIMEOUT, context=context):  # noqa: S310 -- http(s) by construction
            return ""
    except urllib.error.HTTPError as error:
        return f"not ready ({error.code})"
    except OSError as error:
        return str(getattr(error, "reason", error))


def _count(path: Path, table: str) -> int | None:
    if not _there(path):
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 -- our own names
            return int(count)
    except sqlite3.Error:
        return None


def _there(path: Path) -> bool:
    """Tell whether a file is there for us: the relay's may belong to another user."""
    return os.access(path, os.R_OK)


def _last_backup(installation: Installation) -> int | None:
    try:
        return int((installation.signer / LAST_BACKUP).read_text())
    except (OSError, ValueError):
        return None


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"you     {facts['npub']}"
    yield f"relay   {facts['relay']}" + (f", {facts['relay_url']}" if facts["relay_url"] else "")
    yield f"signer  {facts['signer']}"
    for key in facts["keys"]:
        yield f"key     {key['name']}: {key['state']}, memory {key['memory']}"
    if facts["signer"] == "running":
        yield f"asks    {facts['waiting']} requests wait for you"
    yield f"apps    {facts['clients'] if facts['clients'] is not None else 'none'} paired"
    yield f"events  {facts['events'] if facts['events'] is not None else 'none'} stored"
    days = facts["last_backup_days"]
    yield f"backup  {'none yet' if days is None else f'{days} days old'}"
