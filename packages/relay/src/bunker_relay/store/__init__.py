"""What is kept: events in SQLite or PostgreSQL."""
