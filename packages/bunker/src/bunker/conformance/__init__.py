"""Judge any relay, signer or client of NIP-46 by the same cases."""
