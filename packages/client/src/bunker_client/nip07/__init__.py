"""NIP-07: `window.nostr` in a browser, answered by a signer outside of it (pattern A, no relay).

    page            window.nostr.signEvent(...)
     -> extension   says which site it is, and shows the host's question to the user
     -> host        a process that the browser starts: decides, asks, uses the signer

The key is where it always is, sealed on this machine (`nse:`) or with a remote signer
(`session:`); the browser has none. What a site may do is decided and kept by the host.
"""
