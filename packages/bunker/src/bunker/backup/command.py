"""`bunker backup` and `bunker restore`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from bunker.backup.archive import (
    UNCONFIRMED,
    BackupFailed,
    make_backup,
    restore_backup,
    unconfirmed,
)
from bunker.backup.rights import relay_rights, rights
from bunker.installation import Installation
from bunker.up.questions import data_option, master_key_option
from bunker_core.describe import plain
from bunker_core.errors import BunkerError


@click.command()
@data_option
@master_key_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(data: Path, master_key_file: Path | None, file: Path) -> None:
    """Write sealed keys, grants, audit log and the relay's events to FILE, also while they run.

    The master key is not in it: keep a copy of that elsewhere, or the recovery copy.
    """
    installation = Installation(data)
    master = master_key_file or (
        installation.master_key if installation.master_key.exists() else None
    )
    try:
        manifest = make_backup(installation, file, int(time.time()), master)
    except BunkerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{len(manifest['files'])} files of {plain.line(manifest['npub'])} are in {file}")
    click.echo("not in it: the master key; keep that on another disk than this file")
    if not any(name.startswith("relay/") for name in manifest["files"]):
        click.echo("not in it: the relay's events; there are none in reach (`bunker relay export`)")
    if master is None:
        click.echo(
            "not authenticated, as the master key is out of reach (--master-key-file): whoever "
            "restores it has to confirm its apps and devices"
        )


@click.command()
@data_option
@master_key_option
@click.option("--confirm", is_flag=True, help="Accept the rights that were laid aside.")
@click.option("--yes", is_flag=True, help="With --confirm: without a question.")
@click.argument(
    "file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
def restore(
    data: Path, master_key_file: Path | None, confirm: bool, yes: bool, file: Path | None
) -> None:
    """Put the backup in FILE into an empty place.

    With the master key of the backup it is proved that nobody changed it. Without, its apps, its
    devices and the lists of its relay count for nothing until you have seen them and said so:
    `bunker restore --confirm`.
    """
    installation = Installation(data)
    if confirm == (file is not None):
        raise click.UsageError("give a FILE, or --confirm after a restore")
    try:
        if confirm:
            _confirm(installation, yes)
            return
        manifest, ours = restore_backup(Path(str(file)), installation, master_key_file)
    except BunkerError as error:
        raise click.ClickException(str(error)) from None
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(manifest["created_at"]))
    click.echo(f"{len(manifest['files'])} files of {plain.line(manifest['npub'])}, from {made}")
    _list(_rights(installation, "" if ours else UNCONFIRMED))
    if not ours:
        click.echo(
            "not proved to be yours: none of these counts yet. If you know them all, "
            f"say so before the first start: bunker restore --data {data} --confirm"
        )
    if not installation.master_key.exists():
        click.echo(f"put your master key at {installation.master_key}, or name it to `bunker up`")


def _confirm(installation: Installation, yes: bool) -> None:
    """Put in place what was laid aside; raises BackupFailed."""
    found = unconfirmed(installation)
    if not found:
        raise BackupFailed(f"nothing waits to be confirmed in {installation.data}")
    taken = next((place for _, place in found if place.exists()), None)
    if taken is not None:
        raise BackupFailed(
            f"the {taken.parent.name} was started since and has {taken.name} of its own: stop it, "
            "and move that away if what it holds may be lost"
        )
    _list(_rights(installation, UNCONFIRMED))
    if not yes:
        if not sys.stdin.isatty():
            raise BackupFailed("without a terminal, --yes says that you know them all")
        click.confirm("Are these all yours?", abort=True)
    for path, place in found:
        path.rename(place)
    for folder in {path.parent for path, _ in found}:
        folder.rmdir()
    click.echo("confirmed")


def _rights(installation: Installation, folder: str) -> list[str]:
    """Return a line for each right that the restored files give; `folder` is where in its place."""
    return [
        *rights(installation.signer / folder),
        *relay_rights(installation.relay / folder / "lists.json"),
    ]


def _list(lines: Sequence[str]) -> None:
    click.echo("\n".join(f"  {line}" for line in lines) or "  no apps and no devices")
