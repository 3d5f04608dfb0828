"""Client keys that outlive a run: how they are sealed, and the master key that opens them."""
