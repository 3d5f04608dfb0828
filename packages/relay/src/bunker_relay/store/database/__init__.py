"""The database under the store: how it is opened, its tables, and its migrations."""
