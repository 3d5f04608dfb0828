"""How a running signer is controlled: a Unix socket in its data directory, for its owner alone."""
