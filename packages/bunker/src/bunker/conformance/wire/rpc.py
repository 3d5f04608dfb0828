"""One end of the encrypted channel of NIP-46, which may write what no library would."""

import json
import time
from dataclasses import dataclass
from typing import Any

from bunker.conformance.case import expect
from bunker.conformance.wire.peer import Message
from bunker_core.errors import BunkerError
from bunker_core.event import Event, VerifiedEvent, parse_event, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from bunker_core.nips.nip44 import conversation_key


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came: `value` is the JSON object, whatever is in it."""

    event: Event
    scheme: Scheme
    value: dict[str, Any]

    @property
    def error(self) -> Any:
        """The error, None when there is none."""
        return self.value.get("error") or None

    @property
    def result(self) -> str:
        """The result of a request that went well; raises Failed."""
        expect(not self.error, f"answered with an error: {self.error}")
        expect("result" in self.value, "the response has no result")
        result = self.value["result"]
        expect(isinstance(result, str), f"the result is not a text but {result!r}")
        return str(result)

    def refused(self) -> str:
        """Return the error's text; raises Failed unless the request was refused."""
        expect(self.error, f"not refused: {_short(self.value)}")
        expect(isinstance(self.error, str), f"the error is not a text but {self.error!r}")
        return str(self.error)


def channel(key: SecretKey, peer: str) -> Channel:
    """Return the channel between `key` and another's pubkey."""
    return Channel(peer, conversation_key(key.shared_x(peer)), key.shared_x)


def seal(
    key: SecretKey,
    recipient: str,
    value: Any,
    *,
    scheme: Scheme = Scheme.NIP44,
    created_at: int | None = None,
) -> tuple[VerifiedEvent, str]:
    """Return the event that carries `value` (JSON, or text as it is), and its plaintext."""
    text = value if isinstance(value, str) else json.dumps(value)
    content = channel(key, recipient).seal(text, scheme)
    at = int(time.time()) if created_at is None else created_at
    return sign_event(rpc_template(content, recipient, at), key), text


def open_event(key: SecretKey, event: Event) -> tuple[str, Scheme]:
    """Return the plaintext of an event that was sent to `key`; raises BunkerError."""
    return channel(key, event.pubkey).open(event.content)


def reveal(key: SecretKey, message: Message) -> str:
    """Return the plaintext in a relay's EVENT message, or ""."""
    try:
        event = parse_event(message[2])
        return open_event(key, event)[0] if event.kind == NOSTR_CONNECT else ""
    except (BunkerError, IndexError):
        return ""


def answer(key: SecretKey, value: Any) -> Answer | None:
    """Read an event that came to `key` as a response; None if it is not one."""
    try:
        event = parse_event(value)
        text, scheme = open_event(key, event)
        found = json.loads(text)
    except (BunkerError, ValueError):
        return None
    return Answer(event, scheme, found) if isinstance(found, dict) else None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else f"{text[:200]}…"
