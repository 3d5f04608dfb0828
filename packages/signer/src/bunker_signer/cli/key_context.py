"""What the commands of `bunker key` share: options, where secrets come from, what opens a key.

No secret is taken from the command line or the environment, where others can read it: secrets come
from a file, from standard input or from a hidden prompt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from io import FileIO
from pathlib import Path
from shlex import split
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from bunker_signer.cli.options import one_line_errors
from bunker_signer.process.data import default_data

if TYPE_CHECKING:
    from bunker_signer.nse import NSE
    from bunker_signer.nse.wrap import Protector

MASTER_KEY_FILE: Final = "master.key"
MAX_SECRET_FILE: Final = 8192  # bytes
# What opens a key when nothing is said, the first that it has a slot for.
_ASKED_FOR: Final = ("passphrase", "keyring")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Context:
    """The options that every command has."""

    data: Path
    name: str
    master_key_file: Path | None
    openers: tuple[str, ...]
    secrets: Secrets

    def storage(self) -> Any:
        from bunker_signer.key.keystore import key_storage

        return key_storage(self.data)

    def master_key_path(self) -> Path:
        return self.master_key_file or self.data / MASTER_KEY_FILE

    @contextmanager
    def opened(self, *, slots: bool = True) -> Iterator[NSE]:
        """Have the enclave unlocked by `--with`, or by what its slots say."""
        from bunker_signer.nse import NSE

        spec = self.openers[0] if self.openers else None
        with one_line_errors(), NSE(storage=self.storage(), name=self.name) as nse:
            guess = spec or self.opener([slot.type for slot in nse.slots()])
            with self.protector(guess) as protector:
                if slots:
                    nse.unlock(protector)
                    yield nse
                else:  # the enclave needs the protector itself
                    with NSE(storage=self.storage(), name=self.name, protector=protector) as own:
                        yield own

    @contextmanager
    def protector(self, spec: str, *, new: bool = False) -> Iterator[Protector]:
        """Make the protector of a word list such as `tpm2 pcrs=sha256:7`."""
        from bunker_signer.nse.wrap import make_protector

        slot_type, options = parse_spec(spec)
        if slot_type == "raw" and not options:
            options = {"file": str(self.master_key_path())}
            if new and not self.master_key_path().exists():
                self._create_master_key()
        ask = self.secrets.ask_new if new else self.secrets.ask
        protector = make_protector(slot_type, options, ask)
        try:
            yield protector
        finally:
            close = getattr(protector, "close", None)
            if close is not None:
                close()

    def _create_master_key(self) -> None:
        from bunker_signer.nse.wrap.master_key import create_master_key_file

        create_master_key_file(self.master_key_path())
        click.echo(f"made master key {self.master_key_path()}: keep a copy elsewhere", err=True)

    def opener(self, types: list[str]) -> str:
        # A version 1 key has no slots: its master key opens it.
        if not types or ("raw" in types and self.master_key_path().exists()):
            return "raw"
        for candidate in (*_ASKED_FOR, "raw"):
            if candidate in types:
                return candidate
        raise click.ClickException(
            f"the key opens by {', '.join(types)}: say how with --with, such as --with '{types[0]}'"
        )


class Secrets:
    """Where secrets come from: the lines of a file in turn, else hidden prompts."""

    def __init__(self, path: Path | None) -> None:
        self._lines = None if path is None else _read_lines(path)

    def ask(self, label: str) -> bytearray:
        """Return a secret; who asked for it wipes it."""
        if self._lines is None:
            return _prompt(label)
        if not self._lines:
            raise click.ClickException(f"the secret file has no line for: {label}")
        return self._lines.pop(0)

    def ask_new(self, label: str) -> bytearray:
        """Return a secret that is typed twice when it is typed."""
        from bunker_core.keys import wipe

        secret = self.ask(label)
        if self._lines is None:
            again = _prompt(f"{label}, once more")
            same = secret == again
            wipe(again)
            if not same:
                wipe(secret)
                raise click.ClickException("the two are not the same")
        return secret


def common(command: F) -> F:
    """Give a command the options that all have; it gets them as one `Context`."""

    @wraps(command)
    def run(
        data: Path,
        name: str,
        master_key_file: Path | None,
        openers: tuple[str, ...],
        secret_file: Path | None,
        **rest: Any,
    ) -> Any:
        from bunker_signer.nse import harden_process

        harden_process()
        with one_line_errors():
            secrets = Secrets(secret_file)
            return command(Context(data, name, master_key_file, openers, secrets), **rest)

    wrapped: Any = run
    for option in reversed(_COMMON):
        wrapped = option(wrapped)
    return cast(F, wrapped)


_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_COMMON: Final = (
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_data,
        envvar="BUNKER_SIGNER_DATA",
        help="The signer's data directory; the keys are in its folder `keys`.  "
        "[default: that of `bunker up`]",
    ),
    click.option("--name", default="default", show_default=True, help="Which of its keys."),
    click.option(
        "--master-key-file",
        type=_PATH,
        envvar="BUNKER_MASTER_KEY_FILE",
        help="32 bytes, or 64 hex characters. Without it: master.key in the data directory.",
    ),
    click.option(
        "--with",
        "openers",
        multiple=True,
        metavar="'TYPE OPTION=VALUE...'",
        help="What opens the key: raw, passphrase, 'tpm2 tcti=NAME', 'pkcs11 module=PATH "
        "token=LABEL', 'aws-kms key=ID', keyring. Without it: what the key has a slot for.",
    ),
    click.option(
        "--secret-file",
        type=_PATH,
        help="Take passphrases and PINs from the lines of this file instead of asking.",
    ),
)
guard_option = click.option(
    "--guard",
    "guards",
    multiple=True,
    metavar="'TYPE OPTION=VALUE...'",
    help="What shall open the new key, as for --with; repeat it for a recovery slot. "
    "Without it: the master key, which is made when there is none.",
)
unrecoverable_option = click.option(
    "--unrecoverable",
    is_flag=True,
    help="Want no slot that outlives a device: losing it loses the key.",
)


@contextmanager
def guarded(
    context: Context, guards: tuple[str, ...]
) -> Iterator[tuple[NSE, Protector | None, list[Protector]]]:
    """Have an enclave for a new key, its recovery protector and any further ones."""
    from bunker_signer.nse import NSE, NSEError, NSEErrorCode

    with NSE(storage=context.storage(), name=context.name) as nse:
        if nse.exists():  # before anybody is asked for a passphrase
            raise NSEError(
                f"there is a key named {context.name!r} already", NSEErrorCode.KEY_EXISTS
            )
    with protectors(context, list(guards or ("raw",)), new=True) as made:
        first, *rest = made
        with NSE(storage=context.storage(), name=context.name, protector=first) as nse:
            yield nse, rest[0] if rest else None, rest[1:]


@contextmanager
def protectors(
    context: Context, specs: list[str], *, new: bool = False
) -> Iterator[list[Protector]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield [stack.enter_context(context.protector(spec, new=new)) for spec in specs]


def parse_spec(spec: str) -> tuple[str, Mapping[str, str]]:
    try:
        slot_type, *words = split(spec)
    except ValueError:
        raise click.ClickException("expected 'TYPE OPTION=VALUE...'") from None
    if any("=" not in word for word in words):
        raise click.ClickException(f"expected OPTION=VALUE after {slot_type!r}")
    return slot_type, {name: value for name, _, value in (word.partition("=") for word in words)}


def _prompt(label: str) -> bytearray:
    from bunker_signer.nse.memory import wipe_str

    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:  # getpass would read on, with a warning and an echo
        raise click.ClickException(
            f"no terminal to ask for: {label} (--secret-file takes it from a file)"
        ) from None
    text = click.prompt(label, hide_input=True, err=True, default="", show_default=False)
    secret = bytearray(text, "utf-8", "replace")
    wipe_str(text)
    return secret


def read_secret(path: Path) -> bytearray:
    """Return a file's content, or standard input's for `-`, in a buffer that is wiped."""
    content = bytearray(MAX_SECRET_FILE + 1)
    view, length = memoryview(content), 0
    try:
        with open_raw(path) as file:
            while read := file.readinto(view[length:]):
                length += read
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    if length > MAX_SECRET_FILE:
        raise click.ClickException(f"{path}: too large")
    return content[:length]


def open_raw(path: Path) -> FileIO:
    """Open a file, or standard input for `-`, without a buffer that keeps a copy."""
    return FileIO(sys.stdin.fileno(), closefd=False) if str(path) == "-" else FileIO(path)


def _read_lines(path: Path) -> list[bytearray]:
    content = read_secret(path)
    lines = content.splitlines()
    content[:] = bytes(len(content))
    return lines
