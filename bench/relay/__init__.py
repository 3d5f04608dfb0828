"""What is measured of a relay, and the relays."""
