"""What a browser sees that opens the relay's address: no script, nothing from elsewhere."""

from html import escape
from typing import Final

from bunker_relay.config import Config, Profile

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PROFILES: Final = {
    Profile.OPEN: "Open: takes events of anyone.",
    Profile.PRIVATE: "Private: signing for its own signers, other events from its own pubkeys.",
    Profile.BUNKER: "Bunker: carries signing requests and nothing else. It has no database.",
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto;
  padding: 0 1rem; color: #222; background: #fff;
  overflow-wrap: anywhere }}
dt {{ font-weight: 600 }} dd {{ margin: 0 0 .7rem }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #181818 }} }}
</style>
<h1>{name}</h1>
<p>{description}</p>
<dl>
<dt>What this is</dt><dd>A Nostr relay. Give this address to a Nostr client or remote signer;
a browser alone can do nothing with it.</dd>
<dt>For whom</dt><dd>{profile}</dd>
<dt>Status</dt><dd>Running; {connections} connected.</dd>
</dl>
</html>
"""


def page(config: Config, connections: int) -> str:
    """Return the page as HTML."""
    profile = _PROFILES[config.profile]
    if config.profile is Profile.OPEN and config.gated:
        profile += " Signing requests are for its own signers and their clients alone."
    return _PAGE.format(
        name=escape(config.name),
        description=escape(config.description),
        profile=escape(profile),
        connections="1 client is" if connections == 1 else f"{connections} clients are",
    )
