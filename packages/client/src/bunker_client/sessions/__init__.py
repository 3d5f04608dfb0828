"""Sessions that are kept, sealed."""
