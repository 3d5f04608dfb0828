"""`bunker pair` and `bunker sessions`: make, list and end the pairings that are kept."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from bunker_client.cli.common import (
    URI_VARIABLE,
    Common,
    common_options,
    gather,
    one_line_errors,
    run,
)
from bunker_core.errors import BunkerError

# Seconds to learn the signer's relays before a session is kept; nostr-tools waits as long.
RELAYS_TIMEOUT: Final = 1.0
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("invitation", required=False, metavar="[bunker://... | -]")
@click.option(
    "--relay",
    "relays",
    multiple=True,
    metavar="URL",
    help="Invite a signer over this relay: shows a nostrconnect:// URI to scan. Repeatable.",
)
@click.option("--ask", "permissions", default="", metavar="PERMISSIONS", help="sign_event:1,...")
@click.option("--name", default="bunker", show_default=True, help="What the signer's owner reads.")
@click.option("--qr-svg", type=_FILE, help="Write the QR code to a file.")
@click.option("--qr-png", type=_FILE, help="Write the QR code to a file.")
@click.option("--pairing-timeout", type=click.FloatRange(min=0.1), default=180.0, show_default=True)
@common_options
def pair(
    invitation: str | None,
    relays: tuple[str, ...],
    permissions: str,
    name: str,
    qr_svg: Path | None,
    qr_png: Path | None,
    pairing_timeout: float,
    **values: Any,
) -> None:
    """Pair with a signer and keep the session for the other commands.

    With a bunker:// URI (as an argument, - for standard input, in $BUNKER_URI or by --uri-file), or
    with --relay, which shows an invitation for the signer to scan. A pairing in one text,
    nbunksec1..., is kept as a session too.
    """
    common = gather(values)
    if invitation == "-":
        invitation = sys.stdin.readline().strip()
    # what is typed wins over what was exported
    if common.exported and (invitation or relays):
        common = replace(common, uri=None, exported=False)
    uri = invitation or common.uri
    if bool(uri) == bool(relays):
        raise click.UsageError("give a bunker:// URI, or --relay to invite a signer")
    if uri:
        run(common, _accept(common, uri, permissions, name))
    else:
        pictures = (qr_svg, qr_png)
        run(common, _invite(common, relays, permissions, name, pictures, pairing_timeout))


@click.group(invoke_without_command=True)
@click.pass_context
@common_options
def sessions(context: click.Context, /, **values: Any) -> None:
    """List the pairings that are kept; `bunker sessions forget NAME` ends one."""
    common = context.obj = gather(values)
    if context.invoked_subcommand is not None:
        return
    with one_line_errors(common):
        kept = common.sessions()
        told = [_describe(name, kept.load(name)) for name in kept.names()]
    lines = [f"{item['name']}  {item['npub']}  {' '.join(item['relays'])}" for item in told]
    if common.as_json or told:
        common.result("\n".join(lines), told)
    else:
        click.echo("no sessions; make one with `bunker pair`", err=True)


@sessions.command()
@click.argument("name", default="default")
@click.option("--local", is_flag=True, help="Only delete it here; do not tell the signer.")
@click.pass_obj
def forget(common: Common, name: str, local: bool) -> None:
    """Log out: tell the signer to forget this client, and delete the session."""
    with one_line_errors(common):
        kept = common.sessions()
        kept.load(name)
        if local:
            kept.delete(name)
    if not local:
        run(common, _log_out(common, name))
    common.result(f"session {name} is deleted", {"deleted": name})


@sessions.command()
@click.argument("name", default="default")
@click.pass_obj
def nbunksec(common: Common, name: str) -> None:
    """Print a session as one text, for the secret store of a CI.

    Whoever has it may do what this client may. It is good for --uri-file, $BUNKER_URI, and for
    other tools that take nbunksec1...
    """
    from bunker_core.nips.bunker_uri import BunkerURI
    from bunker_core.nips.nbunksec import encode_nbunksec

    with one_line_errors(common):
        session = common.sessions().load(name)
        uri = BunkerURI(session.remote_signer_pubkey, session.relays)
        text = encode_nbunksec(uri, session.client_key)
    common.result(text, {"nbunksec": text})


async def _accept(common: Common, uri: str, permissions: str, name: str) -> None:
    from bunker_client.remote_signer import RemoteSigner
    from bunker_core.nips.nbunksec import is_nbunksec, parse_nbunksec
    from bunker_core.nips.nip46 import ClientMetadata, parse_permissions

    parsed, key = parse_nbunksec(uri) if is_nbunksec(uri) else (uri, None)
    signer = RemoteSigner.from_uri(
        parsed,
        client_key=key,
        uri_keys=common.sessions().uri_keys,
        permissions=parse_permissions(permissions),
        metadata=ClientMetadata(name=name),
        **common.options(),
    )
    async with signer:
        await signer.relays_checked(RELAYS_TIMEOUT)
        _keep(common, signer.session)


async def _invite(
    common: Common,
    relays: tuple[str, ...],
    permissions: str,
    name: str,
    pictures: tuple[Path | None, Path | None],
    timeout: float,
) -> None:
    from bunker_client.pair.qr import QR
    from bunker_client.signers import pair as invite
    from bunker_core.nips.nip46 import ClientMetadata, parse_permissions

    def show(code: QR) -> None:
        svg, png = pictures
        try:
            if svg:
                svg.write_text(code.svg())
            if png:
                png.write_bytes(code.png())
        except OSError as error:
            raise BunkerError(f"the QR code can't be written: {error.strerror}") from None
        if not svg and not png and not common.quiet:
            click.echo(code.terminal(), err=True)
        click.echo("scan this, or paste it into your signer:", err=True)
        click.echo(code.text, err=True)

    async with invite(
        relays,
        show,
        timeout_pairing=timeout,
        permissions=parse_permissions(permissions),
        metadata=ClientMetadata(name=name),
        **common.options(),
    ) as signer:
        await signer.relays_checked(RELAYS_TIMEOUT)
        _keep(common, signer.session)


async def _log_out(common: Common, name: str) -> None:
    from bunker_client.errors import ClientError

    kept = common.sessions()
    try:
        async with kept.signer(name, **common.options()) as signer:
            await signer.logout()
    except ClientError as error:
        # NIP-46: the client deletes its key whatever the answer
        click.echo(f"the signer was not told: {error}", err=True)
        kept.delete(name)


def _keep(common: Common, session: Any) -> None:
    common.sessions().save(session, common.session)
    told = _describe(common.session, session)
    common.result(f"paired: {told['npub']}, kept as session {common.session}", told)
    if os.environ.get(URI_VARIABLE) and not common.quiet:
        click.echo(
            f"${URI_VARIABLE} is set, and the other commands use it instead of this session: "
            f"`unset {URI_VARIABLE}`, or give them --session {common.session}",
            err=True,
        )


def _describe(name: str, session: Any) -> dict[str, Any]:
    from bunker_core.nips.nip19 import encode_npub

    return {
        "name": name,
        "npub": encode_npub(session.user_pubkey),
        "pubkey": session.user_pubkey,
        "remote_signer": session.remote_signer_pubkey,
        "client": session.client_key.pubkey,
        "relays": list(session.relays),
    }
