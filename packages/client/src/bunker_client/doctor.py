"""What stands between a client and its signer: each part is tried, and what fails has a remedy.

Nothing is used up: the secret of a bunker:// URI is not sent. Whether the signer is there is found
out by a `ping` from a key that it does not know, which a good signer answers with an error.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from bunker_client.errors import (
    AnswerTooLarge,
    ClientError,
    ClockOff,
    MethodUnknown,
    RelayRefused,
    RelayUnreachable,
    RequestDenied,
    RequestTimeout,
    RequestTooLarge,
    SignerLocked,
    SignerOffline,
    WaitingForApproval,
)
from bunker_client.remote_signer import RemoteSigner
from bunker_client.request.http import fetch_json
from bunker_client.request.link import Link
from bunker_client.request.progress import Step
from bunker_core.errors import BunkerError, PoolError
from bunker_core.event import EventTemplate, VerifiedEvent, parse_template, sign_event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.messages import prefix
from bunker_core.nips.nip46 import Method, Permission
from bunker_core.nips.relay_url import is_loopback
from bunker_core.pool import RelayPool

MAX_SKEW: Final = 60.0  # seconds; many signers drop what is further off
SLOW: Final = 2.0  # seconds for a round trip that a person feels
LARGE_ENOUGH: Final = 128 * 1024  # bytes; a NIP-44 payload of 65,535 bytes is 88 KB of event
ASLEEP: Final = "asleep, and woken by a push:"  # so begins the text of a signer on a phone
_PINGS: Final = 3
# How a relay refuses whom it does not serve (NIP-01, NIP-42).
_NOT_FOR_ALL: Final = frozenset({"restricted", "auth-required", "pow"})
_TRIAL_TEXT: Final = "bunker doctor"


class Health(Enum):
    """How a check went."""

    GOOD = "ok"
    WARNING = "warning"
    BAD = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. `remedy` is what to do about it."""

    check: str
    health: Health
    text: str
    remedy: str = ""


async def examine_relay(
    url: str, timeout: float, clock: Callable[[], float] = time.time
) -> AsyncIterator[Finding]:
    """Yield what is found at one relay; ends early when it can't be reached."""
    sender, receiver = SecretKey.generate(), SecretKey.generate()
    tried: list[EventTemplate] = []

    def answer(template: EventTemplate) -> VerifiedEvent:
        tried.append(template)
        return sign_event(template, receiver)

    async with RelayPool([url], auth=[answer], clock=clock) as pool:
        start = time.monotonic()
        try:
            await pool.connected(timeout)
        except PoolError as error:
            yield Finding(
                f"{url} reachable",
                Health.BAD,
                str(error).removeprefix(f"{url}: "),
                "check the address, that the relay runs, and that no firewall is between",
            )
            return
        yield Finding(f"{url} reachable", Health.GOOD, f"in {_ms(time.monotonic() - start)}")
        yield _tls(url)
        yield _skew(url, pool.clock_skew)
        async for finding in _forwarding(url, pool, sender, receiver, timeout):
            yield finding
        yield Finding(
            f"{url} AUTH",
            Health.GOOD,
            "asks who is there, and took a throw-away key" if tried else "not asked for",
        )
    yield await _information(url, timeout)


async def examine_signer(
    relays: Iterable[str], remote: str, timeout: float
) -> AsyncIterator[Finding]:
    """Yield whether the remote signer listens at `relays`, asked by a key it does not know.

    One that sleeps on a phone is woken by it, and the text says so.
    """
    steps: set[Step] = set()
    link = Link(
        SecretKey.generate(),
        relays,
        remote,
        {
            "timeout": timeout,
            "approval_timeout": 0.0,
            "offline_timeout": 0.0,
            "on_progress": lambda progress: steps.add(progress.step),
        },
    )
    start = time.monotonic()
    try:
        async with link:
            await link.call(Method.PING.value, (), link.patience)
    except RequestDenied:
        pass  # it does not know us, and said so: it is there
    except SignerOffline:
        yield Finding(
            "signer present",
            Health.BAD,
            "nobody is listening for it at the relay",
            "start the signer, and see that it uses one of these relays",
        )
        return
    except RelayRefused as error:
        yield Finding(
            "signer present",
            Health.BAD,
            f"the relay does not serve it: {error}",
            "use a relay that the signer is on; one of your own is told of its signer by --signer",
        )
        return
    except RelayUnreachable as error:
        yield Finding("signer present", Health.UNKNOWN, str(error), "mend the relay first")
        return
    except WaitingForApproval:
        yield Finding(
            "signer present",
            Health.WARNING,
            f"it sleeps on a phone, which was woken and did not answer in {timeout:g} s",
            "look whether the phone is on and may show notifications; its Settings send a test",
        )
        return
    except RequestTimeout as error:
        yield Finding(
            "signer present",
            Health.UNKNOWN,
            f"{error.waited_for}; some signers do not answer a client that they do not know",
            "see whether the signer runs; with `--session` a paired client can tell",
        )
        return
    answers = f"answers in {_ms(time.monotonic() - start)}"
    text = f"{ASLEEP} {answers}" if Step.SIGNER_WOKEN in steps else answers
    yield Finding("signer present", Health.GOOD, text)


async def examine_session(
    signer: RemoteSigner, permissions: Iterable[Permission]
) -> AsyncIterator[Finding]:
    """Yield how a paired signer does, and whether it grants each of `permissions` (by trying)."""
    times: list[float] = []
    try:
        for _ in range(_PINGS):
            start = time.monotonic()
            await signer.ping()
            times.append(time.monotonic() - start)
        pubkey = await signer.get_public_key()
    except BunkerError as error:
        yield Finding("paired", Health.BAD, str(error), _remedy(error))
        return
    middle = statistics.median(times)
    yield Finding("paired", Health.GOOD, f"signs as {pubkey}")
    yield Finding(
        "round trip",
        Health.GOOD if middle < SLOW else Health.WARNING,
        f"{_ms(middle)} (median of {_PINGS})",
        "" if middle < SLOW else "use a relay that is nearer, or a signer on a faster machine",
    )
    for permission in permissions:
        yield await _permission(signer, pubkey, permission)


async def _permission(signer: RemoteSigner, pubkey: str, permission: Permission) -> Finding:
    check = f"permission {permission}"
    try:
        await _try(signer, pubkey, permission)
    except (SignerLocked, MethodUnknown, ClockOff, AnswerTooLarge) as error:
        return Finding(check, Health.BAD, error.reason, _remedy(error))
    except RequestDenied as error:
        return Finding(
            check, Health.BAD, error.reason, "grant it at the signer, or ask for it with --ask"
        )
    except BunkerError as error:
        return Finding(check, Health.UNKNOWN, str(error), "see what the signer shows its owner")
    return Finding(check, Health.GOOD, "granted")


async def _try(signer: RemoteSigner, pubkey: str, permission: Permission) -> None:
    """Do something harmless that needs the permission: what is signed is published nowhere."""
    match permission.method:
        case Method.SIGN_EVENT.value:
            kind = int(permission.param or 1)
            await signer.sign_event(parse_template({"kind": kind, "content": _TRIAL_TEXT}))
        case Method.NIP44_ENCRYPT.value:
            await signer.nip44_encrypt(pubkey, _TRIAL_TEXT)
        case Method.NIP04_ENCRYPT.value:
            await signer.nip04_encrypt(pubkey, _TRIAL_TEXT)
        case Method.NIP44_DECRYPT.value:
            payload = await signer.nip44_encrypt(pubkey, _TRIAL_TEXT)
            await signer.nip44_decrypt(pubkey, payload)
        case Method.NIP04_DECRYPT.value:
            payload = await signer.nip04_encrypt(pubkey, _TRIAL_TEXT)
            await signer.nip04_decrypt(pubkey, payload)
        case _:
            raise ClientError(f"{permission} can't be tried")


async def _forwarding(
    url: str, pool: RelayPool, sender: SecretKey, receiver: SecretKey, timeout: float
) -> AsyncIterator[Finding]:
    """Send a request's kind of event from one throw-away key to another, and look for it."""
    check = f"{url} forwards requests"
    wanted = Filter(kinds=frozenset({NOSTR_CONNECT}), tags=(("p", frozenset({receiver.pubkey})),))
    subscription = pool.subscribe(wanted)
    try:
        await subscription.live(timeout)
    except PoolError as error:
        said = subscription.refusals.get(url, str(error))
        health = Health.UNKNOWN if prefix(said) in _NOT_FOR_ALL else Health.BAD
        yield Finding(check, health, said, "use a relay that serves you kind 24133")
        return
    now = int(time.time() + pool.clock_skew)
    template = EventTemplate(NOSTR_CONNECT, _TRIAL_TEXT, (("p", receiver.pubkey),), now)
    event = sign_event(template, sender)
    start = time.monotonic()
    publication = pool.publish(event)
    try:
        async with asyncio.timeout(timeout):
            async for incoming in subscription:
                if incoming.event.id == event.id:
                    break
    except TimeoutError:
        answers = await publication.answered(0.1)
        said = answers[url].reason if url in answers else "no OK"
        if prefix(said) in _NOT_FOR_ALL:
            # Our own profiles bunker and private, and others that are for their members: two keys
            # that the relay has never seen prove nothing. The signer's own answer does.
            yield Finding(
                check, Health.GOOD, f"for those it serves ({said}): see whether the signer answers"
            )
            return
        yield Finding(
            check,
            Health.BAD,
            f"an event of kind 24133 did not arrive ({said or 'accepted'})",
            "use a relay that forwards ephemeral events, such as `bunker relay run`",
        )
        return
    yield Finding(check, Health.GOOD, f"in {_ms(time.monotonic() - start)}")
    yield await _kept(url, pool, event.id, wanted, timeout)


async def _kept(
    url: str, pool: RelayPool, event_id: str, wanted: Filter, timeout: float
) -> Finding:
    check = f"{url} keeps no requests"
    again = pool.subscribe(wanted)
    try:
        await again.live(timeout)
    except PoolError as error:
        return Finding(check, Health.UNKNOWN, str(error))
    again.close()
    kept = any([incoming.event.id == event_id async for incoming in again])
    if kept:
        return Finding(
            check,
            Health.WARNING,
            "it stores ephemeral events",
            "who reads its database sees who asks whom, and when; use a relay that does not",
        )
    return Finding(check, Health.GOOD, "ephemeral events are not stored")


def _tls(url: str) -> Finding:
    check = f"{url} TLS"
    if url.startswith("wss://"):
        return Finding(check, Health.GOOD, "certificate and name are verified")
    if is_loopback(url):
        return Finding(check, Health.GOOD, "none, and none is needed on this machine")
    return Finding(
        check,
        Health.WARNING,
        "none: whoever is on the way sees who talks to whom, not what",
        "put the relay behind TLS and use wss://",
    )


def _skew(url: str, skew: float) -> Finding:
    check = f"{url} clock"
    if abs(skew) <= MAX_SKEW:
        return Finding(check, Health.GOOD, f"{abs(skew):.0f} s off ours")
    side = "ahead of" if skew > 0 else "behind"
    return Finding(
        check,
        Health.WARNING,
        f"{abs(skew):.0f} s {side} ours",
        "set this machine's clock by NTP; if it is right, the relay's is wrong",
    )


async def _information(url: str, timeout: float) -> Finding:
    check = f"{url} NIP-11"
    address = url.replace("ws", "http", 1)
    try:
        document = (
            await fetch_json(address, accept="application/nostr+json", timeout=timeout)
        ).value
    except ClientError as error:
        return Finding(check, Health.WARNING, str(error), "not needed, but most relays have one")
    limits = document.get("limitation") if isinstance(document, dict) else None
    limits = limits if isinstance(limits, dict) else {}
    name = document.get("name") if isinstance(document, dict) else None
    said = repr(str(name)[:60]) if name else "no name"
    size = limits.get("max_message_length")
    if isinstance(size, int) and size < LARGE_ENOUGH:
        return Finding(
            check,
            Health.WARNING,
            f"{said}; takes messages up to {size} bytes",
            "a long text can't be signed or encrypted over it",
        )
    if limits.get("payment_required") is True:
        return Finding(
            check, Health.WARNING, f"{said}; for who pays", "see that both ends may write"
        )
    closed = limits.get("restricted_writes") is True
    return Finding(check, Health.GOOD, f"{said}; not open to everyone" if closed else said)


def _remedy(error: BunkerError) -> str:
    """Return what helps a paired client that has no answer."""
    match error:
        case SignerLocked():
            return "unlock the key at the signer (`bunker signer unlock`)"
        case WaitingForApproval():
            return "see what the signer shows its owner"
        case MethodUnknown():
            return "the signer does not know this method: update it, or use another"
        case ClockOff():
            return "set this machine's clock by NTP"
        case AnswerTooLarge() | RequestTooLarge():
            return "use a relay that takes larger messages, or send less at a time"
        case RequestDenied():
            return "if the signer does not know this client any more, pair anew: `bunker pair`"
        case SignerOffline():
            return "start the signer, and see that it uses one of these relays"
        case RequestTimeout():
            return "see the signer's log (`bunker signer status`) and both machines' clocks"
        case _:
            return "mend what failed above first"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
