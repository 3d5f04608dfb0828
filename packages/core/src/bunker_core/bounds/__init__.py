"""Memory and rates that a stranger cannot exceed."""
