"""Who may come into the console: address, devices, passkeys, guard."""
