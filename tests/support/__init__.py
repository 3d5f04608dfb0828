"""What the tests of several packages share: processes, servers, sockets, and what to try."""
