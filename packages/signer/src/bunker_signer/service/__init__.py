"""A signer from its parts, on its event loop."""
