"""The keys that sign, and whether they may be used."""
