"""How a client and a remote signer find each other: URIs and their pictures."""
