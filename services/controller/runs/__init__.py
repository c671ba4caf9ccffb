"""Runs in the database, and what a person does with them."""
