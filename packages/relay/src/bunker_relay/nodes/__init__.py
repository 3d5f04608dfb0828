"""Several processes as one relay: workers of one host, and hosts on a bus."""
