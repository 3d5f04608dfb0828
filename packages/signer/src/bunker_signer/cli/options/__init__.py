"""What the commands share: options, grants as people write them, errors as one line."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click
from click.core import ParameterSource

from bunker_core.errors import BunkerError, InvalidEntity, InvalidURI
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import Method, Permission, parse_permissions
from bunker_signer.policy import Effect, Grant, Profile, Rate, grants_of, profile_grants
from bunker_signer.process.data import default_data

if TYPE_CHECKING:
    from bunker_signer.store import Database

_Value = TypeVar("_Value")
_METHODS: Final = frozenset(method.value for method in Method)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION: Final = re.compile(r"(\d{1,6})([smhdw]?)")
_PASSWORD: Final = re.compile(r"://[^/@]*:[^/@]+@|[?&]password=")
_HEX: Final = re.compile(r"\b[0-9a-f]{64}\b")
_RATE: Final = re.compile(r"(\d{1,6})/(\d{0,6}[smhdw])")


class Duration(click.ParamType[int]):
    """Seconds, or a number with a unit: 90, 10m, 12h, 30d."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a duration such as 90s, 10m, 12h or 30d", param, ctx)
        return int(found[1]) * _UNITS[found[2] or "s"]


class RateType(click.ParamType[Rate]):
    """A number per time: 10/m, 100/24h."""

    name = "rate"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rate:
        if isinstance(value, Rate):
            return value
        found = _RATE.fullmatch(str(value))
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is not a rate such as 10/m or 100/24h", param, ctx)
        seconds = int(found[2][:-1] or 1) * _UNITS[found[2][-1]]
        if not seconds:
            self.fail(f"{value!r} is not a rate such as 10/m or 100/24h", param, ctx)
        return Rate(int(found[1]), seconds)


def given_to(context: click.Context, name: str, value: _Value) -> _Value:
    """Return the `value` of a subcommand's option, or of its group's where that alone was typed.

    `audit --data X verify` and `audit verify --data X` are the same.
    """
    if context.get_parameter_source(name) is ParameterSource.COMMANDLINE or context.parent is None:
        return value
    above: _Value = context.parent.params[name]
    return above


def _without_password(ctx: click.Context, param: click.Parameter, url: str) -> str:
    """Refuse a password among the arguments, where every user of the machine can read it."""
    given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    if given and _PASSWORD.search(url):
        raise click.BadParameter(
            "every user of this machine can read the password there; set BUNKER_SIGNER_DATABASE, "
            "or keep it in ~/.pgpass",
            ctx,
            param,
        )
    return url


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data,
    envvar="BUNKER_SIGNER_DATA",
    help="Directory of the sealed keys and the signer's database.  [default: that of `bunker up`]",
)
database_option = click.option(
    "--database",
    default="",
    metavar="URL",
    envvar="BUNKER_SIGNER_DATABASE",
    callback=_without_password,
    help="postgresql+psycopg://... instead of SQLite in the data directory.",
)
key_option = click.option(
    "--key", "key_name", default="default", show_default=True, help="Name of the user key."
)
any_key_option = click.option(
    "--key", "key_name", default=None, help="Name of a user key.  [default: all]"
)
profile_option = click.option(
    "--profile",
    type=click.Choice([profile.value for profile in Profile]),
    default=Profile.ASK.value,
    show_default=True,
    help="What a client that pairs may do: ask (nothing without asking), basic (sign notes, "
    "reactions and the like), full (sign, encrypt and decrypt everything).",
)
allow_option = click.option(
    "--allow",
    metavar="PERMISSIONS",
    default="",
    help="More that it may do, as NIP-46 writes it: sign_event:1,nip44_encrypt",
)
qr_option = click.option("--qr", is_flag=True, help="Show the URI as a QR code too.")
expires_option = click.option(
    "--expires", type=Duration(), help="After this time it asks again: 12h, 30d."
)
uses_option = click.option(
    "--uses", type=click.IntRange(1), help="After so many uses it asks again."
)
rate_option = click.option(
    "--rate", type=RateType(), help="At most so often, more is refused: 10/m, 100/24h."
)


def granted(profile: str, allow: str) -> tuple[Grant, ...]:
    """Return what a profile and a permission list grant; raises BunkerError."""
    extra = parse_permissions(allow)
    if allow and len(extra) != len(allow.split(",")):
        raise BunkerError(f"--allow {allow}: not a list like sign_event:1,nip44_encrypt")
    return (*profile_grants(Profile(profile)), *grants_of(map(_meant, extra)))


def parse_grant(
    text: str, effect: Effect, now: int, expires: int | None, uses: int | None, rate: Rate | None
) -> Grant:
    """Read `method[:kind or peer]` with its limits; raises BunkerError."""
    found = parse_permissions(text)
    if len(found) != 1 or "," in text:
        raise BunkerError(f"{text}: not a permission like sign_event:1 or nip44_decrypt")
    permission = _meant(found[0])
    until = None if expires is None else now + expires
    return Grant(permission.method, permission.param, effect, until, uses, rate)


def _meant(permission: Permission) -> Permission:
    """Return a permission that can be of use: a misspelt one would never be; raises BunkerError."""
    if permission.method not in _METHODS:
        raise BunkerError(f"{permission.method} is no method of NIP-46")
    if permission.param is None or permission.method in _BY_KIND:
        return permission
    try:
        return Permission(permission.method, parse_pubkey(permission.param))
    except InvalidEntity as error:
        raise BunkerError(f"{permission}: {error}") from None


# Their parameter is a kind, or a kind and a scope; of all others it is a peer.
_BY_KIND: Final = (
    Method.SIGN_EVENT.value,
    Method.NIP44V3_ENCRYPT.value,
    Method.NIP44V3_DECRYPT.value,
)


@contextmanager
def database_of(data: Path, url: str) -> "Iterator[Database]":
    """Yield the database of the signer in `data`, whether it runs or not; raises BunkerError."""
    from bunker_signer.service.service import open_database
    from bunker_signer.store.database.engine import FILE_NAME

    try:
        there = bool(url) or (data / FILE_NAME).exists()
    except OSError as error:
        raise BunkerError(
            f"{data}: {error.strerror}; only the signer's own user and root may look there"
        ) from None
    if not there:
        raise BunkerError(f"{data} holds no signer; start one with `bunker signer run`")
    database = open_database(data, url)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what can go wrong into one line on standard error and exit code 1."""
    try:
        yield
    except InvalidURI as error:
        raise click.ClickException(f"{error}; check the address") from None
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


def show_uri(uri: object, qr: bool) -> None:
    """Print a URI, as a QR code before if wanted."""
    if qr:
        draw(uri)
    click.echo(str(uri))


def draw(uri: object) -> None:
    """Print a URI as a QR code."""
    import segno

    segno.make(str(uri), error="l").terminal(compact=True)


def short_hex(text: str) -> str:
    """Return `text` with keys and ids cut to what a person compares."""
    return _HEX.sub(lambda found: f"{found[0][:8]}…", text)


def operator() -> str:
    """Return who runs this command, for the audit log."""
    return f"shell of uid {os.geteuid()}"


def flush() -> None:
    """Send what was printed, so that whoever waits for a line has it."""
    sys.stdout.flush()
