"""`bunker doctor`: find out what keeps a request from its signer, and how to mend it."""

from typing import TYPE_CHECKING, Any, cast

import click

from bunker_client.cli.common import Common, common_options, gather, run
from bunker_core.describe import plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bunker_client.doctor import Finding
    from bunker_client.remote_signer import RemoteSigner

MAX_TEXT = 400  # characters of a finding that are shown: it may quote a relay


@click.command()
@click.argument("uri_argument", metavar="[URI]", required=False)
@click.option(
    "--try",
    "permissions",
    default="",
    metavar="PERMISSIONS",
    help="Try these on a session: sign_event:1,nip44_decrypt. What is signed is not published, "
    "but the signer may ask its owner.",
)
@common_options
def doctor(uri_argument: str | None, permissions: str, **values: Any) -> None:
    """Check relays, signer and pairing, and say what is wrong and how to mend it.

    With a bunker:// URI or a name: relay reachability, TLS, clock, forwarding of ephemeral events,
    AUTH, NIP-11, and whether the signer is there; the URI's secret is not used up. For a session
    (without a URI, by session:NAME or as nbunksec1...) the same, its round-trip time and
    permissions too. Exit code 1 when something failed.
    """
    common = gather(values)
    failed = run(common, _doctor(common, uri_argument or common.chosen_uri, permissions))
    if failed:
        raise click.exceptions.Exit(1)


async def _doctor(common: Common, uri: str | None, permissions: str) -> bool:
    from bunker_client.doctor import Health

    findings = []
    async for finding in _findings(common, uri, permissions):
        findings.append(finding)
        if not common.as_json:
            said = plain.line(finding.text, MAX_TEXT)
            click.echo(f"{finding.health.value:<8} {finding.check}: {said}")
    wrong = [item for item in findings if item.health is not Health.GOOD]
    if common.as_json:
        told = [
            {
                "check": item.check,
                "health": item.health.value,
                "text": item.text,
                "remedy": item.remedy,
            }
            for item in findings
        ]
        common.result("", told)
    elif not wrong:
        click.echo("\nall is well")
    else:
        click.echo("\nwhat is wrong, and how to mend it:")
        for item in wrong:
            said = plain.line(item.text, MAX_TEXT)
            click.echo(f"- {item.check}: {said}\n  {item.remedy or 'nothing to do'}")
    return any(item.health is Health.BAD for item in findings)


async def _findings(common: Common, uri: str | None, permissions: str) -> "AsyncIterator[Finding]":
    from bunker_client.doctor import (
        Finding,
        Health,
        examine_relay,
        examine_session,
        examine_signer,
    )
    from bunker_client.signers import signer_from
    from bunker_core.errors import BunkerError
    from bunker_core.nips.nip46 import parse_permissions

    text = uri or f"session:{common.session}"
    relays, remote, paired = await _named(common, text)
    for relay in relays:
        async for finding in examine_relay(relay, common.timeout):
            yield finding
    async for finding in examine_signer(relays, remote, common.timeout):
        yield finding
    if not paired:
        if permissions:
            yield Finding("permissions", Health.UNKNOWN, "not tried", "pair first: `bunker pair`")
        return
    try:
        opening = signer_from(text, sessions=common.sessions(), **common.options())
        async with opening as signer:
            paired_signer = cast("RemoteSigner", signer)  # as both ways to be paired lead to one
            async for finding in examine_session(paired_signer, parse_permissions(permissions)):
                yield finding
    except BunkerError as error:
        yield Finding("paired", Health.UNKNOWN, str(error), "mend what failed above first")


async def _named(common: Common, text: str) -> tuple[tuple[str, ...], str, bool]:
    """Return the relays and the key of the signer that `text` names, and whether it knows us."""
    from bunker_client.errors import client_errors
    from bunker_client.signers import parse_signer, resolve
    from bunker_core.nips.bunker_uri import parse_bunker_uri
    from bunker_core.nips.nbunksec import parse_nbunksec

    kind, rest = parse_signer(text)
    if kind == "session":
        session = common.sessions().load(rest)
        return session.relays, session.remote_signer_pubkey, True
    with client_errors():
        match kind:
            case "nbunksec":
                found, paired = parse_nbunksec(rest)[0], True
            case "nip05":
                found, paired = await resolve(rest), False
            case _:
                found, paired = parse_bunker_uri(text.strip()), False
    return found.relays, found.remote_signer_pubkey, paired
