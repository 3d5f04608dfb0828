"""What the kit speaks itself: a client, a relay and NIP-46, as bare as a case needs them."""
