"""One request: read, decided, recorded, answered (NIP-46)."""
