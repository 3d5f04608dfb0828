"""QR codes: drawing them, and reading them from pictures in a confined process."""
