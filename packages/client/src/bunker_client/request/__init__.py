"""One request to a remote signer: the link to its relays, the call, its progress."""
