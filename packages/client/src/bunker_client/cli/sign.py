"""`bunker sign`, `publish`, `encrypt`, `decrypt`, `whoami`: use a signer from the command line."""

import json
import sys
import time
from typing import Any

import click

from bunker_client.cli.common import Common, common_options, gather, read_text, run
from bunker_core.errors import BunkerError
from bunker_core.nips.nip19 import parse_pubkey


@click.command()
@click.option("--kind", type=click.IntRange(0, 65535), default=1, help="Of text.  [default: 1]")
@common_options
def sign(kind: int, **values: Any) -> None:
    """Read an event from standard input and print it signed, as JSON.

    The event is JSON and needs `kind`; `content`, `tags` and `created_at` have defaults. Several,
    one a line, come back one a line. Anything that does not look like JSON is the text of a note.

    Exit codes: 1 error, 3 no relay, 4 signer offline, 5 no answer, 6 not approved in time,
    7 denied, 8 locked, 9 no such session, 10 not known to the signer, 11 this machine's clock is
    off, 12 too large for the relays.
    """
    common = gather(values)
    run(common, _sign(common, kind))


@click.command()
@click.option("--relay", "relays", multiple=True, required=True, metavar="URL", help="Repeatable.")
@click.option("--kind", type=click.IntRange(0, 65535), default=1, help="Of text.  [default: 1]")
@common_options
def publish(relays: tuple[str, ...], kind: int, **values: Any) -> None:
    """Sign what is on standard input (see `bunker sign`) and send it to relays.

    Reports each relay's answer. An event that is signed already is sent as it is. Exit code 3 when
    no relay took it.
    """
    common = gather(values)
    run(common, _publish(common, relays, kind))


@click.command()
@click.option("--to", "peer", required=True, metavar="PUBKEY", help="npub or hex.")
@click.option("--nip04", is_flag=True, help="The deprecated encryption, for old clients.")
@common_options
def encrypt(peer: str, nip04: bool, **values: Any) -> None:
    """Encrypt standard input to someone (NIP-44) and print the payload."""
    common = gather(values)
    run(common, _encrypt(common, peer, nip04))


@click.command()
@click.option("--from", "peer", metavar="PUBKEY", help="npub or hex.")
@click.option("--nip04", is_flag=True, help="The deprecated encryption, of old clients.")
@click.option(
    "--batch",
    is_flag=True,
    help='Standard input is JSON lines {"from": PUBKEY, "payload": TEXT}; the answer is a line '
    'each, {"plaintext": TEXT} or {"error": TEXT}.',
)
@common_options
def decrypt(peer: str | None, nip04: bool, batch: bool, **values: Any) -> None:
    """Decrypt a payload on standard input (NIP-44) and print the text."""
    common = gather(values)
    if batch:
        run(common, _decrypt_batch(common))
    elif peer is None:
        raise click.UsageError("give --from PUBKEY, or --batch")
    else:
        run(common, _decrypt(common, peer, nip04))


@click.command()
@common_options
def whoami(**values: Any) -> None:
    """Print the public key that the signer signs with."""
    common = gather(values)
    run(common, _whoami(common))


async def _sign(common: Common, kind: int) -> None:
    templates = _read_events(kind)  # before anything is sent
    async with common.signer() as signer:
        for template in templates:
            event = await signer.sign_event(template)
            click.echo(event.to_json().decode())


async def _publish(common: Common, relays: tuple[str, ...], kind: int) -> None:
    from bunker_client.errors import RelayRefused, RelayUnreachable
    from bunker_core.event import parse_event, sign_event, verify
    from bunker_core.keys import SecretKey
    from bunker_core.pool import RelayPool

    events = []
    values = _read_values(kind)
    if any("sig" not in value for value in values):
        async with common.signer() as signer:
            for value in values:
                events.append(
                    verify(parse_event(value)) if "sig" in value else await signer.sign_event(value)
                )
    else:
        events = [verify(parse_event(value)) for value in values]
    key = SecretKey.generate()  # a relay that insists on AUTH is told a throw-away name
    async with RelayPool(relays, auth=[lambda template: sign_event(template, key)]) as pool:
        for event in events:
            receipts = await pool.publish(event).answered(common.timeout)
            told = []
            for url in pool.relay_urls:
                receipt = receipts.get(url)
                silent = pool.status()[url][1] or "no answer"
                told.append(
                    {
                        "relay": url,
                        "accepted": bool(receipt and receipt.accepted),
                        "reason": receipt.reason if receipt else silent,
                    }
                )
            lines = "\n".join(
                f"{item['relay']}  {'ok' if item['accepted'] else 'refused'}"
                f"{'  ' + repr(item['reason']) if item['reason'] else ''}"
                for item in told
            )
            common.result(f"{event.id}\n{lines}", {"event": event.to_dict(), "receipts": told})
            if not any(item["accepted"] for item in told):
                kind_of = RelayRefused if receipts else RelayUnreachable
                raise kind_of(f"no relay took event {event.id}")


async def _encrypt(common: Common, peer: str, nip04: bool) -> None:
    pubkey, text = parse_pubkey(peer), read_text()
    async with common.signer() as signer:
        payload = await (signer.nip04_encrypt if nip04 else signer.nip44_encrypt)(pubkey, text)
    common.result(payload, {"payload": payload})


async def _decrypt(common: Common, peer: str, nip04: bool) -> None:
    pubkey, payload = parse_pubkey(peer), read_text().strip()
    async with common.signer() as signer:
        text = await (signer.nip04_decrypt if nip04 else signer.nip44_decrypt)(pubkey, payload)
    if common.as_json:
        common.result("", {"plaintext": text})
    else:
        click.echo(text, nl=not text.endswith("\n"))


async def _decrypt_batch(common: Common) -> None:
    from bunker_client.request.batch import decrypt_all

    messages = []
    for number, line in enumerate(filter(None, map(str.strip, read_text().splitlines())), 1):
        match _json(line, f"line {number} is not JSON"):
            case {"from": str(peer), "payload": str(payload)}:
                messages.append((parse_pubkey(peer), payload))
            case _:
                raise BunkerError(f"line {number} has no `from` and `payload`")
    async with common.signer() as signer:
        # click shows the bar at a terminal alone
        with click.progressbar(
            length=len(messages),
            label="decrypting",
            file=sys.stderr,
            hidden=common.quiet or not sys.stderr.isatty(),
        ) as bar:
            found = await decrypt_all(signer, messages, on_progress=lambda *_: bar.update(1))
    for item in found:
        told = {"plaintext": item} if isinstance(item, str) else {"error": str(item)}
        click.echo(json.dumps(told, ensure_ascii=False))


async def _whoami(common: Common) -> None:
    from bunker_core.nips.nip19 import encode_npub

    async with common.signer() as signer:
        pubkey = await signer.get_public_key()
    common.result(encode_npub(pubkey), {"pubkey": pubkey, "npub": encode_npub(pubkey)})


def _read_events(kind: int) -> list[Any]:
    from bunker_core.event import parse_template

    return [parse_template(value, now=int(time.time())) for value in _read_values(kind)]


def _read_values(kind: int) -> list[Any]:
    """Return the events on standard input: one JSON value, JSON lines, or the text of a note."""
    text = read_text()
    if not text.strip():
        raise BunkerError("standard input is empty; give an event or a text")
    if text.lstrip()[0] not in "{[":
        return [{"kind": kind, "content": text.rstrip("\n")}]
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        values = [json.loads(text)]
    except (ValueError, RecursionError):
        values = [_json(line, "standard input is not JSON; give an event") for line in lines]
    if not all(isinstance(value, dict) for value in values):
        raise BunkerError("event is not an object")
    return values


def _json(text: str, wrong: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BunkerError(wrong) from None
