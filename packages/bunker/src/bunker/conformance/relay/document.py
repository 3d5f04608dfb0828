"""NIP-11: the relay's document, which tells clients what they may send."""

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.auth import challenged
from bunker.conformance.relay.kit import RelayKit

NIP11 = "NIP-11"


@case("relay/nip11/document", Level.SHOULD, NIP11)
async def document(relay: RelayKit) -> None:
    """The document comes for its media type. Sent: GET, Accept: application/nostr+json."""
    await relay.document()


@case("relay/nip11/cors", Level.MUST, "NIP-11: relays MUST accept CORS requests")
async def cors(relay: RelayKit) -> None:
    """A web page may read it. Sent: GET with Origin: https://app.example."""
    await relay.document()
    reply = await relay.get(Accept="application/nostr+json", Origin="https://app.example")
    allowed = reply.headers.get("access-control-allow-origin", "")
    expect(allowed in ("*", "https://app.example"), f"Access-Control-Allow-Origin: {allowed!r}")


@case("relay/nip11/supported-nips", Level.SHOULD, "NIP-11, Supported NIPs")
async def supported_nips(relay: RelayKit) -> None:
    """supported_nips is a list of numbers. Sent: GET."""
    nips = (await relay.document()).get("supported_nips")
    if nips is None:
        raise NotOffered("the document has no supported_nips")
    expect(isinstance(nips, list), "not a list")
    expect(all(type(item) is int for item in nips), f"{nips} are not all numbers")


@case("relay/nip11/software-is-url", Level.MUST, "NIP-11, Software: MUST be a URL")
async def software_is_url(relay: RelayKit) -> None:
    """software is a URL, if it is there. Sent: GET."""
    software = (await relay.document()).get("software")
    if software is None:
        raise NotOffered("the document has no software")
    expect("://" in str(software), f"software is {software!r}")


@case("relay/nip11/max-message-length", Level.SHOULD, "NIP-11, Server limitations")
async def max_message_length(relay: RelayKit) -> None:
    """The document says how large a message may be. Sent: GET."""
    await relay.limitation("max_message_length")


@case("relay/nip11/names-42", Level.SHOULD, "NIP-11, Supported NIPs")
async def names_42(relay: RelayKit) -> None:
    """Whoever sends a challenge, at the start or when it is needed, says NIP 42. Sent: GET."""
    await challenged(relay)
    expect(42 in (await relay.document()).get("supported_nips", []), "42 is not in supported_nips")
