"""What the owner does with a store at the terminal, beside a relay that may be running."""
