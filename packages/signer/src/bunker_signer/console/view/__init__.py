"""What the console shows, in words and drawings."""
