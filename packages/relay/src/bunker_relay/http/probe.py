"""One real signing request through a relay, with throw-away keys: does it carry NIP-46?

Two clients over the wire, as a signer and an app would be. What a person can do about a failure
stands in the error.
"""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from bunker_core.errors import InvalidMessage
from bunker_core.event import Event, EventTemplate, sign_event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.messages import (
    Closed,
    Delivery,
    Eose,
    Ok,
    RelayMessage,
    Req,
    parse_relay_message,
    serialize,
)

_T = TypeVar("_T")


class ProbeError(Exception):
    """The relay does not carry a signing request; the text says where it stopped."""


async def round_trip(url: str, *, signer: SecretKey, client: SecretKey, timeout: float) -> float:
    """Send a request from `client` to `signer` and an answer back.

    Returns the seconds between sending the request and holding the answer; raises ProbeError.
    """
    step = _Step()
    try:
        async with asyncio.timeout(timeout), _open(url) as listener, _open(url) as app:
            return await _converse(_Peer(listener), _Peer(app), signer, client, step)
    except TimeoutError:
        raise ProbeError(f"{step.fault} within {timeout:g} s") from None
    except InvalidURI:
        raise ProbeError("this is not a ws:// or wss:// URL") from None
    except InvalidStatus as error:
        raise ProbeError(
            f"no relay at this address: it does not speak WebSocket, and says HTTP"
            f" {error.response.status_code}"
        ) from None
    except InvalidHandshake:
        raise ProbeError(
            "it does not speak WebSocket: no relay at this address, or one that wants wss://"
            if url.startswith("ws://")
            else "it does not speak WebSocket: no relay at this address"
        ) from None
    except ConnectionClosed as error:
        said = f", saying {error.rcvd.reason!r:.100}" if error.rcvd and error.rcvd.reason else ""
        code = f" with code {error.rcvd.code}" if error.rcvd else ""
        raise ProbeError(f"it closed the connection{code}{said}") from None
    except OSError as error:
        raise ProbeError(f"can't connect: {_reason(error)}") from None


async def keeps_requests(url: str, *, signer: SecretKey, timeout: float) -> bool:
    """Tell whether the relay replays requests to `signer` that were delivered before."""
    async with asyncio.timeout(timeout), _open(url) as socket:
        peer = _Peer(socket)
        await peer.send(Req("stored", (_addressed_to(signer, limit=None),)))
        reply = await peer.expect(
            lambda message: message if isinstance(message, Delivery | Eose | Closed) else None
        )
        return isinstance(reply, Delivery)


def _hint(reason: str) -> str:
    if reason.startswith("auth-required:"):
        return " (it demands AUTH, NIP-42; many apps and signers can't do that)"
    return ""


def _reason(error: OSError) -> str:
    """Say why there is no connection, and what that may come from."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return "it does not speak TLS; a relay without it has an address with ws://"
        case socket.gaierror():
            return f"there is no such host: {error.strerror}"
        case ConnectionRefusedError():
            return "nobody listens there; is the relay running, and is the port right?"
        case _ if error.errno == errno.ECONNREFUSED or "Connect call failed" in str(error):
            return "nobody listens there; is the relay running, and is the port right?"
        case _:
            return error.strerror or str(error)


def _open(url: str) -> connect:
    # No proxy: what is checked is the relay, from here.
    return connect(url, proxy=None, compression=None, close_timeout=1)


async def _converse(
    listener: "_Peer", app: "_Peer", signer: SecretKey, client: SecretKey, step: "_Step"
) -> float:
    step.fault = "it does not answer a subscription"
    await listener.subscribe(_addressed_to(signer, limit=0))
    await app.subscribe(_addressed_to(client, limit=0))
    started = time.perf_counter()
    step.fault = "it neither delivers a signing request nor refuses it"
    request = _event(client, signer.pubkey, "request")
    await app.send(request)
    # Both at once: a refusal is to be heard while nothing arrives.
    await _first_failure(listener.receive(request), app.accepted(request, step))
    step.fault = "it does not deliver the signer's answer"
    answer = _event(signer, client.pubkey, "answer")
    await listener.send(answer)
    await _first_failure(app.receive(answer), listener.accepted(answer, step))
    return time.perf_counter() - started


async def _first_failure(*waits: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


@dataclass(slots=True)
class _Step:
    """What it would mean if the time were up now."""

    fault: str = "it does not answer"


def _addressed_to(key: SecretKey, limit: int | None) -> Filter:
    return Filter(
        kinds=frozenset({NOSTR_CONNECT}), tags=(("p", frozenset({key.pubkey})),), limit=limit
    )


def _event(author: SecretKey, recipient: str, content: str) -> Event:
    return sign_event(
        EventTemplate(
            kind=NOSTR_CONNECT,
            content=content,
            tags=(("p", recipient),),
            created_at=int(time.time()),
        ),
        author,
    )


class _Peer:
    """One connection of the probe; what comes in the meantime is kept for later."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._later: list[RelayMessage] = []

    async def send(self, message: Event | Req) -> None:
        await self._socket.send(serialize(message))

    async def subscribe(self, wanted: Filter) -> None:
        await self.send(Req("probe", (wanted,)))
        reply = await self.expect(
            lambda message: message if isinstance(message, Eose | Closed) else None
        )
        if isinstance(reply, Closed):
            raise ProbeError(
                f"it refuses to be asked for signing requests: {reply.reason}{_hint(reply.reason)}"
            )

    async def receive(self, event: Event) -> None:
        def wanted(message: RelayMessage) -> bool | None:
            return True if isinstance(message, Delivery) and message.event == event else None

        await self.expect(wanted)

    async def accepted(self, event: Event, step: "_Step") -> None:
        def wanted(message: RelayMessage) -> Ok | None:
            return message if isinstance(message, Ok) and message.event_id == event.id else None

        reply = await self.expect(wanted)
        if not reply.accepted:
            raise ProbeError(f"it refuses a signing request: {reply.reason}{_hint(reply.reason)}")
        step.fault = "it says OK to a signing request, and delivers it to nobody"

    async def expect(self, pick: Callable[[RelayMessage], _T | None]) -> _T:
        """Return what `pick` makes of the first message that it does not pass over."""
        for index, message in enumerate(self._later):
            picked = pick(message)
            if picked is not None:
                del self._later[index]
                return picked
        while True:
            message = _parse(await self._socket.recv())
            picked = pick(message)
            if picked is not None:
                return picked
            self._later.append(message)


def _parse(data: Any) -> RelayMessage:
    try:
        return parse_relay_message(data)
    except (InvalidMessage, orjson.JSONDecodeError):
        raise ProbeError("it sends something that is not a message of NIP-01") from None
