"""What `window.nostr` is asked for (NIP-07), read from a page's untrusted words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bunker_core.errors import InvalidInput
from bunker_core.event import EventTemplate, parse_template
from bunker_core.kinds import MAX_KIND
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import Method, Permission
from bunker_core.signer import Signer

# NIP-07's methods and what NIP-46 calls the same thing.
METHODS: Final[Mapping[str, Method]] = {
    "getPublicKey": Method.GET_PUBLIC_KEY,
    "signEvent": Method.SIGN_EVENT,
    "nip04.encrypt": Method.NIP04_ENCRYPT,
    "nip04.decrypt": Method.NIP04_DECRYPT,
    "nip44.encrypt": Method.NIP44_ENCRYPT,
    "nip44.decrypt": Method.NIP44_DECRYPT,
}
MAX_SHOWN: Final = 4000  # characters of a content that the question shows

_WORDS: Final[Mapping[Method, str]] = {
    Method.GET_PUBLIC_KEY: "see your public key",
    Method.NIP04_ENCRYPT: "encrypt a message to someone",
    Method.NIP04_DECRYPT: "read messages that you exchanged with someone",
    Method.NIP44_ENCRYPT: "encrypt a message to someone",
    Method.NIP44_DECRYPT: "read messages that you exchanged with someone",
}
_KINDS: Final[Mapping[int, str]] = {
    0: "change your profile",
    1: "post a note",
    3: "replace the list of those you follow",
    4: "send a direct message",
    5: "delete what you published",
    6: "repost a note",
    7: "react to something",
    1111: "post a comment",
    10002: "replace the list of your relays",
    22242: "log in to a relay as you",
    24242: "store a file as you",
    27235: "log in to a web server as you",
    30023: "publish an article",
    30078: "replace an app's stored settings",
}


@dataclass(frozen=True, slots=True, repr=False)
class Operation:
    """One use of the signer. No repr: `text` is what a user encrypts."""

    method: Method
    template: EventTemplate | None = None
    peer: str = ""
    text: str = ""
    author: str = ""  # whom the page wants the event to be of, if it says

    @property
    def permission(self) -> Permission:
        """What a site needs for it: to sign is granted kind by kind."""
        param = None if self.template is None else str(self.template.kind)
        return Permission(self.method.value, param)

    @property
    def size(self) -> int:
        """About how many characters it holds."""
        if self.template is None:
            return len(self.text)
        tags = sum(len(value) for tag in self.template.tags for value in tag)
        return len(self.template.content) + tags

    @property
    def words(self) -> str:
        """What the site wants to do, as in "example.com wants to ..."."""
        if self.template is None:
            return _WORDS[self.method]
        kind = self.template.kind
        return _KINDS.get(kind, f"sign an event of kind {kind}")

    @property
    def shown(self) -> dict[str, Any]:
        """What the user needs to see to decide; a page shows it as plain text."""
        if self.template is None:
            return {"peer": self.peer} if self.peer else {}
        content = self.template.content
        return {
            "kind": self.template.kind,
            "content": content[:MAX_SHOWN],
            "cut": max(0, len(content) - MAX_SHOWN),
            "tags": len(self.template.tags),
        }

    async def perform(self, signer: Signer) -> Any:
        """Ask `signer` for it and return what the page gets; raises BunkerError."""
        match self.method:
            case Method.GET_PUBLIC_KEY:
                return await signer.get_public_key()
            case Method.SIGN_EVENT if self.template is not None:
                await self._check_author(signer)
                return (await signer.sign_event(self.template)).to_dict()
            case Method.NIP04_ENCRYPT:
                return await signer.nip04_encrypt(self.peer, self.text)
            case Method.NIP04_DECRYPT:
                return await signer.nip04_decrypt(self.peer, self.text)
            case Method.NIP44_ENCRYPT:
                return await signer.nip44_encrypt(self.peer, self.text)
            case Method.NIP44_DECRYPT:
                return await signer.nip44_decrypt(self.peer, self.text)
        raise AssertionError  # `parse_operation` makes no other

    async def _check_author(self, signer: Signer) -> None:
        """Refuse to sign as somebody else than the page names: it would be told later, or never."""
        if self.author and self.author != await signer.get_public_key():
            raise InvalidInput("invalid: the event is of another author than this signer's user")


def parse_operation(method: object, params: object, now: int) -> Operation:
    """Read a call of `window.nostr`; raises InvalidInput.

    `now` (Unix seconds) dates an event that comes without `created_at`.
    """
    known = METHODS.get(method) if isinstance(method, str) else None
    if known is None:
        raise InvalidInput("unsupported: window.nostr has no such method")
    if not isinstance(params, list):
        raise InvalidInput("params are not an array")
    if known is Method.GET_PUBLIC_KEY:
        return Operation(known)
    if known is Method.SIGN_EVENT:
        event = params[0] if params else None
        template = parse_template(event, now=now)
        if not 0 <= template.kind <= MAX_KIND:
            raise InvalidInput("kind is out of range")
        author = event.get("pubkey") if isinstance(event, dict) else None
        if author is not None and not isinstance(author, str):
            raise InvalidInput("pubkey is not a text")
        return Operation(known, template, author=(author or "").lower())
    match params:
        case [str(peer), str(text), *_]:
            return Operation(known, None, parse_pubkey(peer), text)
    raise InvalidInput("a pubkey and a text are needed")
