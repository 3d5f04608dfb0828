"""`bunker key`: make, guard, move and remove sealed keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bunker_core.local.commands import Program
from bunker_signer.cli.key_context import (
    Context,
    common,
    guard_option,
    guarded,
    parse_spec,
    protectors,
    read_secret,
    unrecoverable_option,
)

if TYPE_CHECKING:
    from bunker_signer.nse import NSE

CONFIRM_CHARACTERS: Final = 8

_PATH: Final = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Program)
def key() -> None:
    """Make, guard, move and remove sealed keys."""


@key.command()
@common
@guard_option
@unrecoverable_option
def new(context: Context, guards: tuple[str, ...], unrecoverable: bool) -> None:
    """Make a key."""
    with guarded(context, guards) as (nse, recovery, more):
        nse.generate(recovery=recovery, unrecoverable=unrecoverable)
        for protector in more:
            nse.add_slot(protector)
        _show(nse)


@key.command("import")
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--account",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Which key of the seed words (NIP-06).",
)
@common
@guard_option
@unrecoverable_option
def import_(
    context: Context,
    source: Path | None,
    account: int,
    guards: tuple[str, ...],
    unrecoverable: bool,
) -> None:
    """Seal an existing key: an nsec, ncryptsec, hex, seed words (NIP-06, without a passphrase), or
    JSON with one of them, in the file SOURCE, from standard input when SOURCE is -, or typed at a
    hidden prompt."""
    from bunker_core.keys import wipe

    secret = _private_key(_read_key_text(context, source), context, account)
    try:
        with guarded(context, guards) as (nse, recovery, more):
            nse.import_key(secret, recovery=recovery, unrecoverable=unrecoverable)
            for protector in more:
                nse.add_slot(protector)
            _show(nse)
    finally:
        wipe(secret)
    click.echo("the text that it came from is not sealed: remove it", err=True)


@key.command("list")
@common
def list_(context: Context) -> None:
    """List the keys."""
    from bunker_signer.nse import NSE, NSEError, key_names

    storage = context.storage()
    for name in key_names(storage):
        with NSE(storage=storage, name=name) as nse:
            try:
                types = ", ".join(slot.type for slot in nse.slots()) or "master key (version 1)"
                click.echo(f"{name:20} {nse.get_npub()}  {types}")
            except NSEError as error:
                click.echo(f"{name:20} {error}")


@key.command()
@common
@click.option("--qr/--no-qr", default=True, show_default=True, help="Show the npub as a QR code.")
def show(context: Context, qr: bool) -> None:
    """Show a key's public half, its slots and how well its memory is protected."""
    from bunker_signer.nse import NSE

    with NSE(storage=context.storage(), name=context.name) as nse:
        _show(nse)
        if qr:
            import segno

            segno.make(f"nostr:{nse.get_npub()}", error="l").terminal(compact=True)


@key.command()
@common
def slots(context: Context) -> None:
    """List what opens a key."""
    from bunker_signer.nse import NSE

    with NSE(storage=context.storage(), name=context.name) as nse:
        _show_slots(nse)


@key.command("add-slot")
@click.argument("guard", metavar="'TYPE OPTION=VALUE...'")
@common
def add_slot(context: Context, guard: str) -> None:
    """Let one more thing open the key."""
    with context.opened() as nse, context.protector(guard, new=True) as protector:
        added = nse.add_slot(protector)
        click.echo(f"added slot {added.id} ({added.type})")


@key.command("remove-slot")
@click.argument("slot")
@common
@unrecoverable_option
def remove_slot(context: Context, slot: str, unrecoverable: bool) -> None:
    """Remove the slot with the id SLOT (see `bunker key slots`)."""
    with context.opened() as nse:
        nse.remove_slot(slot, unrecoverable=unrecoverable)
        click.echo(f"removed slot {slot}")


@key.command()
@common
def rotate(context: Context) -> None:
    """Replace the data key. Give --with for every slot."""
    from bunker_signer.nse import NSE

    with NSE(storage=context.storage(), name=context.name) as nse:
        specs = list(context.openers or (slot.type for slot in nse.slots()))
    with (
        protectors(context, specs) as made,
        NSE(storage=context.storage(), name=context.name, protector=made[0]) as nse,
    ):
        nse.rotate(*made[1:])
    click.echo("rotated: a copy of the old file opens still, a copy of its data key does not")


@key.command()
@common
def rescue(context: Context) -> None:
    """Rewrite a key whose file is damaged in a slot that is not needed to open it.

    Opens it by --with, and keeps that slot alone."""
    from bunker_signer.nse import NSE

    with NSE(storage=context.storage(), name=context.name) as nse:
        types = [slot.type for slot in nse.slots()]
        spec = context.openers[0] if context.openers else context.opener(types)
        with context.protector(spec) as protector:
            nse.rescue(protector)
        _show(nse)


@key.command()
@common
@click.option("--output", type=_PATH, help="A new file to write to instead of the terminal.")
@click.option("--nsec", is_flag=True, help="Not encrypted: whoever reads it has the key for good.")
@click.option("--confirm", help=f"For --nsec: the npub's last {CONFIRM_CHARACTERS} characters.")
def export(context: Context, output: Path | None, nsec: bool, confirm: str | None) -> None:
    """Print the key as ncryptsec (NIP-49), encrypted under a passphrase.

    With --nsec it is not encrypted; asks for the last characters of its npub first."""
    from bunker_core.local.files import write_private

    if confirm is not None and not nsec:
        raise click.UsageError("--confirm is for --nsec")
    if nsec:
        _confirm(context, confirm, "shows the private key", "nothing was shown")
    with context.opened() as nse:
        text = _nsec(nse) if nsec else _ncryptsec(nse, context)
    if output is None:
        click.echo(text)
        return
    try:
        write_private(output, f"{text}\n".encode(), replace=False)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None


@key.command()
@common
@click.option("--guard", metavar="'TYPE OPTION=VALUE...'", help="A recovery slot for the new file.")
def migrate(context: Context, guard: str | None) -> None:
    """Turn a version 1 file (nostr-secure-enclave) into version 2, once that has signed."""
    with context.opened(slots=False) as nse:
        if guard is None:
            nse.migrate()
        else:
            with context.protector(guard, new=True) as recovery:
                nse.migrate(recovery=recovery)
        _show(nse)


@key.command()
@common
def lock(context: Context) -> None:
    """Lock the key in the running signer: it signs nothing until it is unlocked."""
    from bunker_signer.control.protocol import send

    send(context.data, "lock", key=context.name)
    click.echo("locked")


@key.command()
@common
def unlock(context: Context) -> None:
    """Unlock the key in the running signer, by its master key or a passphrase."""
    from bunker_core.keys import wipe
    from bunker_signer.control.protocol import send
    from bunker_signer.nse import NSE

    with NSE(storage=context.storage(), name=context.name) as nse:
        types = [slot.type for slot in nse.slots()]
    slot_type, _ = parse_spec(context.openers[0] if context.openers else context.opener(types))
    if slot_type not in ("raw", "passphrase"):
        raise click.ClickException("the running signer unlocks by its master key or a passphrase")
    secret = context.secrets.ask("Passphrase") if slot_type == "passphrase" else None
    try:
        send(context.data, "unlock", secret, key=context.name)
    finally:
        if secret is not None:
            wipe(secret)
    click.echo("unlocked")


@key.command()
@common
@click.option("--confirm", help=f"The npub's last {CONFIRM_CHARACTERS} characters.")
def destroy(context: Context, confirm: str | None) -> None:
    """Remove a key for good. Asks for the last characters of its npub."""
    from bunker_signer.nse import NSE

    _confirm(context, confirm, "removes the key for good", "nothing was removed")
    with NSE(storage=context.storage(), name=context.name) as nse:
        nse.destroy()
    click.echo("removed")


def _confirm(context: Context, confirm: str | None, what: str, otherwise: str) -> None:
    """Go on only when the last characters of the key's npub are given, or typed."""
    from bunker_signer.nse import NSE

    with NSE(storage=context.storage(), name=context.name) as nse:
        npub = nse.get_npub()
    if confirm is None:
        click.echo(f"this {what}: {npub}", err=True)
        confirm = click.prompt(
            f"Last {CONFIRM_CHARACTERS} characters of the npub", err=True, default=""
        )
    if confirm != npub[-CONFIRM_CHARACTERS:]:
        raise click.ClickException(f"not the last characters of this npub: {otherwise}")


def _ncryptsec(nse: NSE, context: Context) -> str:
    from bunker_core.keys import wipe

    passphrase = context.secrets.ask_new("Passphrase of the backup")
    try:
        return nse.export_ncryptsec(passphrase)
    finally:
        wipe(passphrase)


def _nsec(nse: NSE) -> str:
    from bunker_core.keys import SECRET_BYTES, wipe
    from bunker_core.nips.nip19 import encode_nsec

    secret = bytearray(SECRET_BYTES)
    try:
        nse.export_secret(secret)
        return encode_nsec(secret)
    finally:
        wipe(secret)


def _private_key(text: bytearray, context: Context, account: int) -> bytearray:
    """Return the 32 bytes in whatever a person has, before anything is made; wipes `text`."""
    from bunker_core.errors import CryptoError, InvalidEntity
    from bunker_core.keys import wipe
    from bunker_core.nips import nip49
    from bunker_core.nips.key_text import parse_key_text

    try:
        found = parse_key_text(text, account)
        if found.secret is not None:
            return found.secret
        secret = bytearray(32)
        passphrase = context.secrets.ask("Passphrase of the ncryptsec")
        try:
            nip49.decrypt(found.ncryptsec, passphrase, secret)
        finally:
            wipe(passphrase)
        return secret
    except InvalidEntity as error:
        raise click.ClickException(str(error)) from None
    except CryptoError:
        raise click.ClickException("wrong passphrase for the ncryptsec") from None
    finally:
        wipe(text)


def _read_key_text(context: Context, source: Path | None) -> bytearray:
    if source is None:
        return context.secrets.ask("nsec, ncryptsec, hex or seed words")
    if str(source).lower().startswith(("nsec1", "ncryptsec1")):
        raise click.ClickException(
            "a key on the command line is seen by others and kept in the shell's history: "
            "give a file, - for standard input, or nothing to be asked"
        )
    return read_secret(source)


def _show(nse: NSE) -> None:
    from datetime import UTC, datetime

    info = nse.info()
    created = datetime.fromtimestamp(info.created_at, UTC).isoformat(" ", "seconds")
    click.echo(f"name      {nse.name}")
    click.echo(f"npub      {info.npub}")
    click.echo(f"pubkey    {info.pubkey}")
    click.echo(f"created   {created}")
    click.echo(f"hardware  {'yes' if info.hardware_backed else 'no'}")
    click.echo(f"memory    {nse.memory_level.value}")
    _show_slots(nse)


def _show_slots(nse: NSE) -> None:
    found = nse.slots()
    if not found:
        click.echo("slots     none: a version 1 file, opened by its master key")
    for slot in found:
        notes = ["in hardware"] * slot.hardware + ["lost with its device"] * slot.device_bound
        click.echo(f"slot      {slot.id:4} {slot.type:12} {', '.join(notes)}".rstrip())


if __name__ == "__main__":
    key()
