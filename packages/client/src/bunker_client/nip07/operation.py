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
