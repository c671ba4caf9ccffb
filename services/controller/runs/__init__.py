"""Runs in the database, and user operations on them."""
