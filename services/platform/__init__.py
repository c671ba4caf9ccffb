"""All five services in one process, on SQLite and a directory."""
