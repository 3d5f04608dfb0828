"""What the tests of requests start from."""
