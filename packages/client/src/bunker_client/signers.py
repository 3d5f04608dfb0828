"""One call for every kind of signer: an app is written once, and a line of configuration decides.

| text | signer |
|---|---|
| `bunker://...` | the remote signer that printed the URI |
| `nostrconnect://?relay=wss://...` | the remote signer that scans the invitation |
| `alice@example.com` | the remote signer that the domain names for alice (NIP-05) |
| `session:NAME` | a pairing that was kept |
| `nbunksec1...` | a pairing in one text, of `bunker sessions nbunksec` or another tool |
| `nse:PATH` | the sealed key in that directory, in this process (needs nostr-bunker-signer) |
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import entry_points
from typing import Final, Self, Unpack, cast
from urllib.parse import parse_qsl

from bunker_client.errors import ClientError, InvalidURI, client_errors
from bunker_client.keys.uri_keys import URIKeys
from bunker_client.pair.pairing import PAIRING_TIMEOUT, Pairing
from bunker_client.pair.qr import QR
from bunker_client.remote_signer import RemoteSigner
from bunker_client.request.http import fetch_json
from bunker_client.request.options import Options
from bunker_client.sessions import DEFAULT_NAME, Sessions
from bunker_client.sync import SyncOf
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import BunkerURI
from bunker_core.nips.nbunksec import is_nbunksec, parse_nbunksec
from bunker_core.nips.nip05 import parse_document, parse_identifier
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import ClientMetadata, Permission, metadata_from, parse_permissions
from bunker_core.nips.relay_url import parse_relay_url
from bunker_core.signer import Signer

# Other packages offer signers here: the name is the scheme, the object takes what follows it.
GROUP: Final = "bunker.signers"

Invite = Callable[[QR], None]


def signer_from(
    text: str,
    *,
    sessions: Sessions | None = None,
    on_invite: Invite | None = None,
    **options: Unpack[Options],
) -> AbstractAsyncContextManager[Signer]:
    """Return the signer that `text` names (see above); entering it connects.

    `on_invite` is given the nostrconnect:// URI, as text and as QR code, to show to the user.
    Raises ClientError.
    """
    kind, rest = parse_signer(text)
    match kind:
        case "nbunksec":
            with client_errors():
                uri, key = parse_nbunksec(rest)
            return RemoteSigner.from_uri(uri, client_key=key, **options)
        case "bunker":
            return RemoteSigner.from_uri(f"bunker:{rest}", uri_keys=_uri_keys(sessions), **options)
        case "nostrconnect":
            return _invited(rest, on_invite, options)
        case "session":
            return (sessions or Sessions()).signer(rest, **options)
        case "nip05":
            return _named(rest, _uri_keys(sessions), options)
    if found := list(entry_points(group=GROUP, name=kind)):
        return cast("AbstractAsyncContextManager[Signer]", found[0].load()(rest))
    if kind == "nse":
        raise ClientError("nse: needs the package nostr-bunker-signer, which is not installed")
    raise InvalidURI(f"{kind[:20]}: is no kind of signer that is known here")


def parse_signer(text: str) -> tuple[str, str]:
    """Return the kind of signer that `text` names (see above), and which one.

    The kind is a scheme in lower case, else `nbunksec` or `nip05`; a session without a name is the
    default one.
    """
    text = text.strip()
    if is_nbunksec(text):
        return "nbunksec", text
    scheme, separator, rest = text.partition(":")
    kind = scheme.lower()
    if kind == "session" and separator:
        return kind, rest or DEFAULT_NAME
    known = kind in ("bunker", "nostrconnect", "nse") or bool(entry_points(group=GROUP, name=kind))
    if separator and (known or ("@" not in text and "." not in scheme)):
        return kind, rest
    return "nip05", text


def sync_signer_from(
    text: str,
    *,
    sessions: Sessions | None = None,
    on_invite: Invite | None = None,
    **options: Unpack[Options],
) -> SyncOf[Signer]:
    """As `signer_from`, for programs without asyncio."""
    return SyncOf(signer_from(text, sessions=sessions, on_invite=on_invite, **options))


@asynccontextmanager
async def pair(
    relays: Iterable[str],
    show: Invite,
    *,
    timeout_pairing: float = PAIRING_TIMEOUT,
    client_key: SecretKey | None = None,
    permissions: Iterable[Permission] = (),
    metadata: ClientMetadata | None = None,
    **options: Unpack[Options],
) -> AsyncIterator[RemoteSigner]:
    """Invite a remote signer: `show` the URI and its QR code, wait, yield the signer that came.

    Raises RelayUnreachable before anything is shown, and PairingFailed when nobody came.
    """
    async with Pairing(
        relays, client_key=client_key, permissions=permissions, metadata=metadata, **options
    ) as pairing:
        show(QR(str(pairing.uri)))
        yield await pairing.wait(timeout_pairing)


class BunkerClient(RemoteSigner):
    """Pattern B, your own relay: relay and signer are known from configuration."""

    @classmethod
    def for_relay(
        cls,
        relay_url: str,
        signer_npub: str,
        *,
        client_key: SecretKey | None = None,
        secret: str | None = None,
        permissions: Iterable[Permission] = (),
        metadata: ClientMetadata | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Return the signer whose own key (not the user's) is `signer_npub` at `relay_url`.

        The signer has to know `client_key`, or `secret`. Raises InvalidURI or InvalidRequest.
        """
        with client_errors():
            uri = BunkerURI(parse_pubkey(signer_npub), (parse_relay_url(relay_url),), secret)
        return cls.from_uri(
            uri, client_key=client_key, permissions=permissions, metadata=metadata, **options
        )


@asynccontextmanager
async def _invited(
    rest: str, on_invite: Invite | None, options: Options
) -> AsyncIterator[RemoteSigner]:
    """Make an invitation from the relays, permissions and name in the URI, and wait."""
    authority, _, query = rest.removeprefix("//").partition("?")
    if authority:
        raise InvalidURI(
            "this nostrconnect URI is another client's; to invite a signer yourself, give "
            "nostrconnect://?relay=wss://... without a key"
        )
    pairs = parse_qsl(query)
    relays = [value for key, value in pairs if key == "relay"]
    if not relays:
        raise InvalidURI("nostrconnect URI names no relay")
    if on_invite is None:
        raise ClientError("a nostrconnect URI has to be shown to the user: give on_invite")
    values = dict(pairs)
    permissions = parse_permissions(values.get("perms", ""))
    metadata = metadata_from(values)
    async with pair(
        relays, on_invite, permissions=permissions, metadata=metadata, **options
    ) as signer:
        yield signer


@asynccontextmanager
async def _named(text: str, keys: URIKeys, options: Options) -> AsyncIterator[RemoteSigner]:
    """Look a NIP-05 name up and connect to the signer that its domain names."""
    async with RemoteSigner.from_uri(await resolve(text), uri_keys=keys, **options) as signer:
        yield signer


def _uri_keys(sessions: Sessions | None) -> URIKeys:
    return (sessions or Sessions()).uri_keys


async def resolve(name: str) -> BunkerURI:
    """Return where the remote signer of a NIP-05 name is; raises ClientError."""
    with client_errors():
        identifier = parse_identifier(name)
    fetched = await fetch_json(identifier.url)
    with client_errors():
        document = parse_document(fetched.value, identifier.name)
    if not document.signer_relays:
        raise ClientError(f"{identifier.domain} names no remote signer for {identifier}")
    return BunkerURI(document.signer_pubkey, document.signer_relays)
