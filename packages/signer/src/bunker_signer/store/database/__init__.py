"""The database under the store: its tables, its migrations, and how it is read and written."""
