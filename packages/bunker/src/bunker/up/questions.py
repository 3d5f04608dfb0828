"""What is asked before there is a key, at the terminal or by options; `bunker init`, `recovery`."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from bunker.installation import Installation, default_data
from bunker.installation import shown as shown_path
from bunker.up.first_run import (
    ImportedKey,
    make_keys,
    make_missing,
    new_passphrase,
    write_recovery,
)
from bunker.up.strength import strength_of
from bunker_core.errors import BunkerError
from bunker_core.nips.key_text import MAX_TEXT, decode_text
from bunker_signer.cli.options import granted
from bunker_signer.nse import harden_process
from bunker_signer.policy import Profile

RECOVERY_FILE: Final = "recovery.txt"
# A host name, also one that is not written in ASCII; no scheme, port or path.
_DOMAIN: Final = re.compile(r"\w([\w-]*\w)?(\.\w([\w-]*\w)?)*")

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data,
    help="Directory of the relay's and the signer's data.  [default: ~/.local/share/nostr-bunker]",
)
master_key_option = click.option(
    "--master-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BUNKER_MASTER_KEY_FILE",
    help="File of the master key, made on the first run; best on another disk than the data.",
)


def first_run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that answer the questions about the key."""
    options = [
        click.option(
            "--import-key",
            type=click.File("rb"),
            help="First run: take the key in this file, nsec1… or ncryptsec1…, and make none.",
        ),
        click.option(
            "--import-passphrase-file",
            type=click.File("rb"),
            help="First run: the passphrase of an ncryptsec1….",
        ),
        click.option(
            "--recovery-passphrase-file",
            type=click.File("rb"),
            help="First run: write the recovery copy under the passphrase in this file.",
        ),
        click.option("--yes", is_flag=True, help="Ask no questions; take the defaults."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Answers:
    """What the options say; `asks` is whether a person is there to say the rest."""

    import_key: BinaryIO | None
    import_passphrase_file: BinaryIO | None
    recovery_passphrase_file: BinaryIO | None
    yes: bool

    @property
    def asks(self) -> bool:
        return sys.stdin.isatty() and not self.yes


def check_flags(allow: str, domain: str | None) -> None:
    """Raise BunkerError for what could not work, before a question is asked or a key is made."""
    granted(Profile.ASK.value, allow)
    if domain is not None and not _DOMAIN.fullmatch(domain):
        raise BunkerError(f"--domain {domain}: not a name like relay.example.org")


def check_port(port: int) -> None:
    """Raise BunkerError when the relay could not listen."""
    from bunker_relay.nodes.exclusive import StartError, bind

    try:
        for listener in bind("127.0.0.1", port):
            listener.close()
    except StartError as error:
        raise BunkerError(str(error)) from None


def first_run(
    installation: Installation,
    master_key_file: Path | None,
    answers: Answers,
    last_question: Callable[[], None] = lambda: None,
) -> str:
    """Make or take in the key, and write the recovery copy; return what to say of that.

    `last_question` is asked before anything is made. Raises BunkerError.
    """
    harden_process()  # before the first secret is here: no other process of this user reads along
    imported = _given_key(answers.import_key, answers.import_passphrase_file)
    file = answers.recovery_passphrase_file
    passphrase = _text_of(file) if file else ""
    if answers.asks:
        imported = imported or _ask_key()
        passphrase = passphrase or _ask_passphrase("2. ")
    last_question()
    make_keys(installation, master_key_file, imported)
    return _recover(installation, master_key_file, passphrase, answers.asks)


@click.command()
@data_option
@master_key_option
@first_run_options
def init(data: Path, master_key_file: Path | None, **options: Any) -> None:
    """Make the key without starting anything, for services that are set up by hand.

    Prints what the relay has to know: the pubkey of this signer, and that of its user.
    """
    installation = Installation(data)
    try:
        if installation.has_keys:
            if installation.is_complete:
                raise BunkerError(f"there is a key in {installation.keys} already")
            make_missing(installation, master_key_file)  # `bunker key` made the user's
            recovery = ""
        else:
            recovery = first_run(installation, master_key_file, Answers(**options))
        click.echo(f"you       {installation.npub()}")
        said = recovery or "none; `bunker recovery` writes one"
        click.echo("recovery  " + said.replace("\n", f"\n{' ' * 10}"))
        click.echo(f"BUNKER_RELAY_SIGNERS={installation.remote_signer_pubkey()}")
        click.echo(f"BUNKER_RELAY_OWNER={installation.user_pubkey()}")
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@data_option
@master_key_option
@click.option(
    "--passphrase-file",
    type=click.File("rb"),
    help="File of the passphrase. Without it you are asked; without a terminal one is made.",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def recovery(
    data: Path,
    master_key_file: Path | None,
    passphrase_file: BinaryIO | None,
    file: Path,
) -> None:
    """Write a recovery copy of the key to FILE, encrypted under a passphrase (NIP-49)."""
    installation = Installation(data)
    harden_process()
    try:
        if passphrase_file is not None:
            passphrase = _text_of(passphrase_file)
        elif sys.stdin.isatty():
            passphrase = _ask_passphrase()
        else:
            passphrase = ""  # nobody to ask: one is made and shown
        shown = "" if passphrase else new_passphrase()
        write_recovery(installation, master_key_file, passphrase or shown, file)
    except BunkerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{installation.npub()} is in {file}, encrypted under your passphrase")
    if shown:
        click.echo(f"passphrase, shown once, write it down: {shown}")


def _given_key(file: BinaryIO | None, passphrase: BinaryIO | None) -> ImportedKey | None:
    if file is None:
        return None
    return ImportedKey(_text_of(file), _text_of(passphrase) if passphrase else "")


def _text_of(file: BinaryIO) -> str:
    """Return what a file holds, as editors write it; raises BunkerError."""
    data = file.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise BunkerError(f"{file.name} is too long for a key or a passphrase")
    try:
        return decode_text(data).strip()
    except UnicodeDecodeError:
        raise BunkerError(f"{file.name} is not text in UTF-8") from None


def _ask_key() -> ImportedKey | None:
    question = "1. Your key, not shown: Enter makes a new one, or paste nsec1…, ncryptsec1…"
    while text := _ask_hidden(question):
        passphrase = ""
        if "ncryptsec1" in text.lower():  # perhaps with `nostr:` or quotes around it
            passphrase = click.prompt("   Its passphrase", hide_input=True)
        imported = ImportedKey(text, passphrase)
        try:
            npub = imported.npub()
        except BunkerError as error:
            click.echo(f"   {error}. Once more, or Enter for a new key.")
        else:
            click.echo(f"   {npub}")
            return imported
    return None


def _ask_passphrase(number: str = "") -> str:
    question = (
        f"{number}A passphrase for the recovery copy, not shown: Enter makes one, or type yours"
    )
    while True:
        first = _ask_hidden(question)
        if not first:
            return ""
        strength = strength_of(first)
        click.echo(f"   {strength}")
        if strength.weak:
            click.echo("   Whoever finds the copy would have the key. Once more, or Enter.")
        elif first == _ask_hidden("   The same again"):
            return first
        else:
            click.echo("   These differ; once more.")


def _ask_hidden(question: str) -> str:
    answer = click.prompt(question, default="", hide_input=True, show_default=False)
    return str(answer).strip()


def _recover(
    installation: Installation, master_key_file: Path | None, passphrase: str, asks: bool
) -> str:
    """Write the recovery copy if there is a passphrase; return what to say of it."""
    if not passphrase and not asks:
        return ""
    shown = "" if passphrase else new_passphrase()
    path = installation.data / RECOVERY_FILE
    write_recovery(installation, master_key_file, passphrase or shown, path)
    hint = f"{shown_path(path)}: move it away or print it"
    return f"{hint}\npassphrase, shown once, write it down: {shown}" if shown else hint
