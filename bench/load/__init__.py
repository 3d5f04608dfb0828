"""What the load generator speaks and sends."""
