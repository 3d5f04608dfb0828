"""QR codes: drawing them, and reading them from pictures in a process that is given up to it."""
