"""One event's way: what is taken, kept for a moment, and whom it goes to."""
