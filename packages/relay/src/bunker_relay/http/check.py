"""`bunker relay check`: what a person should know about a relay before they sign through it."""

from bunker_core.errors import InvalidURI
from bunker_core.keys import SecretKey
from bunker_core.nips.relay_url import is_loopback, parse_relay_url
from bunker_relay.http.probe import ProbeError, keeps_requests, round_trip

_SLOW = 0.25  # seconds; a relay that batches shows itself well above a long way round the world


async def check_relay(url: str, timeout: float) -> list[str]:
    """Return what was found, one sentence a line; raises ProbeError when signing can't work."""
    try:
        url = parse_relay_url(url)
    except InvalidURI as error:
        raise ProbeError(str(error)) from None
    signer, client = SecretKey.generate(), SecretKey.generate()
    seconds = await round_trip(url, signer=signer, client=client, timeout=timeout)
    milliseconds = seconds * 1000
    lines = [f"ok: a signing request went through and back in {milliseconds:.1f} ms"]
    if seconds > _SLOW:
        lines.append("slow: people will wait for every signature; a relay nearer by would help")
    if url.startswith("ws://") and not is_loopback(url):
        lines.append("open to listeners: ws:// is not encrypted; who talks to which signer shows")
    if await keeps_requests(url, signer=signer, timeout=timeout):
        lines.append(
            "keeps requests: it stores kind 24133 and sends it again to a signer that restarts"
        )
    else:
        lines.append("ok: it keeps no signing request")
    return lines
