"""What is measured of a signer, and the signers."""
